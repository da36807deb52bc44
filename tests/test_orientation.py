"""Doubtful crops are read again in other directions; short upright strings do not flip."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from clip4str_plugin.geometry.rectification import rectify
from clip4str_plugin.geometry.stacked_letters import unstack
from clip4str_plugin.reading.orientation import resolve_orientation, stands_on_end, turn_polygon
from clip4str_plugin.reading.recognizer import Recognition
from clip4str_plugin.reading.words import read_words


@dataclass(frozen=True)
class Read:
    text: str
    confidence: float


def marked(width=90, height=30):
    """A crop whose top left corner is bright: the way up is where that corner is."""
    crop = np.zeros((height, width, 3), np.uint8)
    crop[: height // 3, : width // 6] = 255
    return crop


class Recognizer:
    """Reads confidently what stands upright, and what else as told."""

    def __init__(self, upright=("word", 0.95), otherwise=("p.lom", 0.4)):
        self.upright, self.otherwise, self.batches = upright, otherwise, []

    def __call__(self, crops):
        self.batches.append(len(crops))
        return [
            Read(*(self.upright if crop[1, 1].min() > 128 and crop.shape[1] > crop.shape[0] else self.otherwise))
            for crop in crops
        ]


@pytest.mark.parametrize(("turns", "kept"), [(0, 0), (2, 2)])
def test_a_word_upside_down_is_turned(turns, kept):
    recognize = Recognizer()
    crops = [np.ascontiguousarray(np.rot90(marked(), turns))]
    (settled,) = resolve_orientation(crops, recognize(crops), recognize)
    assert settled.reading == Read("word", 0.95)
    assert settled.turns == kept
    assert len(recognize.batches) == 1 + (turns != 0)


def test_all_doubtful_crops_share_one_batch_and_certain_ones_none():
    recognize = Recognizer()
    crops = [marked(), marked()[::-1, ::-1], marked(), marked()[::-1, ::-1]]
    settled = resolve_orientation(crops, recognize(crops), recognize)
    assert [one.turns for one in settled] == [0, 2, 0, 2]
    assert recognize.batches == [4, 2]


@pytest.mark.parametrize(("mode", "batches"), [("off", [1]), ("auto", [1, 1]), ("on", [1, 1])])
def test_modes(mode, batches):
    recognize = Recognizer()
    crops = [marked()[::-1, ::-1]]
    (settled,) = resolve_orientation(crops, recognize(crops), recognize, mode)
    assert recognize.batches == batches
    assert settled.reading.text == ("p.lom" if mode == "off" else "word")


@pytest.mark.parametrize("text", ["6", "9", "NO", "80", "[1999]"])
@pytest.mark.parametrize("confidence", [0.5, 0.7, 0.95])
def test_short_upright_strings_do_not_flip(text, confidence):
    flipped = Read("ON", min(0.99, confidence + 0.09))
    for mode in ("auto", "on"):
        (settled,) = resolve_orientation(
            [marked()], [Read(text, confidence)], lambda crops: [flipped] * len(crops), mode
        )
        assert settled.reading.text == text


def test_text_on_end_takes_the_better_of_all_directions():
    # Laid down by rectify as if it ran downwards, while it ran upwards.
    page = np.zeros((200, 100, 3), np.uint8)
    page[40:130, 30:60] = np.rot90(marked())
    crop = rectify(page, [[30, 40], [60, 40], [60, 130], [30, 130]])
    recognize = Recognizer(otherwise=("NO", 0.9))
    (settled,) = resolve_orientation([crop], recognize([crop]), recognize, turned=[True])
    assert (settled.reading.text, settled.turns, settled.stacked) == ("word", 2, False)


def test_a_stack_of_letters_is_read_side_by_side():
    page = np.full((150, 30, 3), 255, np.uint8)
    for index, letter in enumerate("HOTEL"):
        cv2.putText(page, letter, (4, 26 + 30 * index), cv2.FONT_HERSHEY_DUPLEX, 0.9, (0, 0, 0), 2)
    line = unstack(page)
    assert line is not None
    assert line.shape[1] == 5 * 30
    for index in range(5):
        letter, cell = page[30 * index : 30 * index + 30], line[:, 30 * index : 30 * index + 30]
        assert abs(int((letter < 128).sum()) - int((cell < 128).sum())) < 0.1 * (letter < 128).sum()

    def recognize(crops):
        return [Read("HOTEL", 0.9) if np.array_equal(crop, line) else Read("x", 0.3) for crop in crops]

    crop = rectify(page, [[0, 0], [30, 0], [30, 150], [0, 150]])
    (settled,) = resolve_orientation([crop], recognize([crop]), recognize, turned=[True])
    assert (settled.reading.text, settled.stacked) == ("HOTEL", True)


def test_polygons_follow_the_turns():
    page = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    quad = np.array([[20, 30], [110, 30], [110, 70], [20, 70]])
    crop = rectify(page, quad)
    for turns in range(4):
        again = rectify(page, turn_polygon(quad, turns), start="top-left")
        np.testing.assert_array_equal(again, np.rot90(crop, turns))


def test_what_stands_on_end():
    assert stands_on_end(np.array([[30, 0], [30, 90], [0, 90], [0, 0]]))
    assert not stands_on_end(np.array([[0, 0], [90, 20], [85, 50], [0, 30]]))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="mode"):
        resolve_orientation([], [], lambda crops: [], "sometimes")
    with pytest.raises(ValueError, match="as many"):
        resolve_orientation([marked()], [], lambda crops: [])
    assert resolve_orientation([], [], lambda crops: []) == []


def test_a_recognizer_that_turns_crops_itself_does_not_hide_their_direction():
    @dataclass(frozen=True)
    class Turned(Read):
        turns: int = 0

    def recognize(crops):
        """Tell any direction right, as recognizers that turn tall crops do, the tall ones best."""
        read = []
        for crop in crops:
            turns = next((k for k in range(4) if np.rot90(crop, k)[1, 1].min() > 128), None)
            if turns is None:  # letters cut apart, as if they stood one below the other
                read.append(Turned("", 0.0))
            elif crop.shape[0] > crop.shape[1]:
                read.append(Turned("word", 0.99, turns))
            else:
                read.append(Turned("word", 0.55 if turns else 0.95))
        return read

    # Text that runs upward, laid down the wrong way round: the crop is upside down.
    crops = [np.ascontiguousarray(marked()[::-1, ::-1])]
    (settled,) = resolve_orientation(crops, recognize(crops), recognize, turned=[True])
    assert (settled.reading.confidence, settled.turns) == (0.99, 2)
    # A tall crop that was read turned was turned.
    crops = [np.ascontiguousarray(np.rot90(marked(), 1))]
    (settled,) = resolve_orientation(crops, recognize(crops), recognize)
    assert settled.turns == 3


@pytest.mark.parametrize(
    ("text", "others", "on_end", "stays"),
    [("TO", 0.99, False, True), ("PAID", 0.99, False, False), ("TO", 0.6, False, False), ("TO", 0.99, True, False)],
    ids=["short", "tells its direction itself", "the page is read badly", "on end"],
)
def test_a_page_that_is_read_well_tells_the_direction_of_short_lines(text, others, on_end, stays):
    """What is read with doubt reads better upside down, by chance or rightly."""

    def recognize(crops):
        certain = [0.95 if crop[-1, -1].min() > 128 else 0.7 if crop[1, 1].min() > 128 else others for crop in crops]
        return [Recognition(text, value, (value,) * len(text)) for value in certain]

    crops = [marked(), *(np.zeros((30, 90, 3), np.uint8) for _ in range(60))]
    lone, *_ = read_words(
        crops, recognize, on_end=[on_end] + [False] * 60, lines=range(61), pages=[0] * 61, other_views=False
    )
    assert (lone.turns == 0) == stays
