import json

import numpy as np
import pytest
from PIL import Image

from clip4str_plugin.cli import main, options
from clip4str_plugin.geometry.rectification import other_views, straighten
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.orientation import oriented
from clip4str_plugin.reading.recognizer import Recognition
from clip4str_plugin.reading.region_reading import read_regions
from clip4str_plugin.reading.regions import Region, cut_words
from clip4str_plugin.reading.segmentation import Pieces
from clip4str_plugin.reading.word_views import read_other_views
from clip4str_plugin.reading.words import read_from_other_views, read_words


def reading(text, sure):
    return Recognition(text, sure ** max(len(text), 1), (sure,) * len(text))


class Wide:
    """Reads a crop as "level" if it is as large as a word, and as "tilted" where it grew by turning."""

    def __init__(self, level=0.8, tilted=0.9):
        self.level, self.tilted, self.batches = level, tilted, []

    def __call__(self, crops):
        self.batches.append([crop.shape for crop in crops])
        return [
            reading("level", self.level) if crop.shape[0] == 20 else reading("tilted", self.tilted) for crop in crops
        ]


CROP = np.full((20, 60, 3), 200, np.uint8)


def test_doubtful_crops_share_a_batch_for_each_view():
    recognize = Wide()
    first = [reading("level", 0.8), reading("clear", 0.99), reading("", 0.0), reading("level", 0.8)]
    assert [r.text for r in read_other_views([CROP] * 4, first, recognize)] == ["tilted", "clear", "", "tilted"]
    assert [len(batch) for batch in recognize.batches] == [2, 2]
    for height, width, channels in recognize.batches[0] + recognize.batches[1]:
        assert height > 20
        assert width > 60
        assert channels == 3


def test_no_further_view_is_read_once_one_is_clear():
    recognize = Wide(tilted=0.97)
    assert read_other_views([CROP], [reading("level", 0.8)], recognize)[0].text == "tilted"
    assert len(recognize.batches) == 1


@pytest.mark.parametrize(
    ("text", "sure", "others", "kept"),
    [
        ("level", 0.92, 0.99, "level"),
        ("level", 0.92, 0.8, "tilted"),
        ("level", 0.8, 0.99, "tilted"),
        ("38.07", 0.92, 0.99, "tilted"),
    ],
)
def test_on_pages_that_are_read_well_fewer_words_but_no_fewer_numbers_are_doubtful(text, sure, others, kept):
    words = [oriented(reading(text, sure)), *(oriented(reading("w" * 10, others)) for _ in range(10))]
    page, recognize = [0] * len(words), Wide(tilted=0.97)
    assert read_from_other_views([CROP] * len(words), words, recognize, pages=page)[0].reading.text == kept
    assert read_from_other_views([CROP], words[:1], recognize, pages=[0])[0].reading.text == "tilted", "a short page"


@pytest.mark.parametrize("shape", [(20, 40_000, 3), (40_000, 20, 3), (1, 30, 3)])
def test_crops_much_longer_than_wide_are_not_turned(shape):
    """Turned, the first ones would take a gigabyte each."""
    recognize, first = Wide(), [reading("level", 0.8)]
    assert read_other_views([np.zeros(shape, np.uint8)], first, recognize) == first
    assert recognize.batches == []


def test_the_upright_box_around_a_long_diagonal_is_no_view():
    """Hundreds of these may be looked at together."""
    page = np.zeros((1500, 1500, 3), np.uint8)
    bent = np.array([[100, 115], [115, 100], [750, 725], [1400, 1385], [1385, 1400], [725, 750]], np.float32)
    short = np.array([[100, 140], [130, 100], [160, 120], [190, 160], [160, 200], [130, 170]], np.float32)
    for polygon, count in ((bent, 1), (short, 2)):
        piece = straighten(page, polygon)
        assert piece.strip.drawn
        assert len(other_views(page, piece.strip)) == count
        assert sum(view.crop.size for view in other_views(page, piece.strip)) < 20 * piece.crop.size


@pytest.mark.parametrize(("tilted", "kept"), [(0.805, "level"), (0.82, "tilted")])
def test_it_must_be_clearly_more_certain(tilted, kept):
    assert read_other_views([CROP], [reading("level", 0.8)], Wide(tilted=tilted))[0].text == kept


def test_clear_crops_cost_nothing_and_nothing_is_looked_at_if_not_wanted():
    recognize = Wide(level=0.99)
    assert [item.reading.text for item in read_words([CROP], recognize, orientation="off")] == ["level"]
    assert len(recognize.batches) == 1
    recognize = Wide()
    assert [item.reading.text for item in read_words([CROP], recognize, orientation="off", other_views=False)] == [
        "level"
    ]
    assert len(recognize.batches) == 1


@pytest.mark.parametrize("slope", [-0.2, 0.2])
@pytest.mark.parametrize("shape", [(60, 160, 3), (60, 160)])
def test_sloping_text_is_shown_with_more_margin_and_level(slope, shape):
    crop = np.full(shape, 255, np.uint8)
    for x in range(10, 150):
        middle = round(30 + slope * (x - 80))
        crop[middle - 6 : middle + 6, x] = 0
    seen = []
    read_other_views([crop], [reading("x", 0.5)], lambda views: seen.extend(views) or [reading("", 0.0)] * len(views))
    wider, turned = seen
    np.testing.assert_array_equal(wider[15:-15, 15:-15], crop)
    assert (turned < 100).sum() > 0.9 * (crop < 100).sum()
    assert np.ptp(np.argwhere(turned < 100)[:, 0]) < 20 < np.ptp(np.argwhere(crop < 100)[:, 0])


@pytest.mark.parametrize(("option", "text"), [([], "tilted"), (["--no-other-views"], "level")])
def test_the_command_looks_again_unless_told_not_to(option, text, tmp_path, capsys, monkeypatch):
    for number in range(70):  # more than share a batch
        Image.fromarray(CROP).save(tmp_path / f"{number:02}.png")
    recognize = Wide()
    recognize.stream = recognize.__call__
    monkeypatch.setattr(options, "build_recognizer", lambda args: recognize)
    assert main(["recognize", str(tmp_path), "--format", "jsonl", *option]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["text"] for one in found] == [text] * 70
    assert [one["image"] for one in found] == sorted(one["image"] for one in found)


def test_an_outline_that_is_no_quad_gives_its_own_views():
    page = np.full((200, 300, 3), 128, np.uint8)
    angles = np.linspace(np.pi * 1.2, np.pi * 1.8, 7)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = np.array([150, 170]) + np.concatenate([arc * 130, arc[::-1] * 100])
    quad = [[10, 150], [90, 150], [90, 190], [10, 190]]
    for granularity in ("word", "line"):
        regions = cut_words(page, Detections([outline, quad], [1.0, 1.0], granularity))
        straight = [region.crop.shape for region in regions]
        seen = []

        def recognize(crops, seen=seen, straight=straight):
            seen.append([crop.shape for crop in crops])
            others = [crop.shape for crop in crops] != straight
            return [reading("better" if others else "first", 0.9 if others else 0.8) for _ in crops]

        ((first, second),) = read_regions([regions], recognize, "off")
        assert first[1].reading.text == "better"
        assert second[1].reading.text == "better"
        # A word that was detected has more margin; a word of a line has less above and below.
        height, width, _ = seen[1][1]
        before = straight[1]
        assert (width > before[1]) == (height > before[0]) == (granularity == "word")
        assert (height < before[0]) == (granularity == "line")
        seen.clear()
        read_regions([regions], recognize, "off", other_views=False)
        assert len(seen) == 1


def test_two_known_words_read_as_one_come_apart_at_a_faint_blank():
    page = np.full((60, 260, 3), 200, np.uint8)
    quad = np.array([[10, 10], [250, 10], [250, 50], [10, 50]], np.float32)
    pieces = Pieces([(0.0, 0.58), (0.59, 1.0)], [0.03], 6.0)
    region = Region(quad, 1.0, 0, page, pieces, (0, 1))
    ((first, second),) = read_regions([[region]], lambda crops: [reading("PacificHotel", 0.9) for _ in crops], "off")
    assert [word.reading.text for _, word in (first, second)] == ["Pacific", "Hotel"]
    assert [len(word.reading.char_confidences) for _, word in (first, second)] == [7, 5]
    (left, right) = (region.polygon for region, _ in (first, second))
    assert left[:, 0].min() == pytest.approx(10, abs=1)
    assert left[:, 0].max() < right[:, 0].min() + 1
    assert right[:, 0].max() == pytest.approx(250, abs=1)
