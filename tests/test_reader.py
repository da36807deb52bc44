import json
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.errors import Clip4StrError, ImageError
from clip4str_plugin.page import Page
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.reader import Reader
from clip4str_plugin.reading.recognizer import Recognition, Recognizer
from clip4str_plugin.reading.segmentation import Pieces


class ColourDetector:
    """Finds what it is told to find, page by page of the same content."""

    def __init__(self, found):
        self.found = found
        self.batches = []

    def __call__(self, pages):
        self.batches.append(len(pages))
        return [self.found(page) if callable(self.found) else self.found for page in pages]


class ColourRecognizer:
    """Reads a crop as the red and green of its middle: (3, 7, ..) is the word "3-7"."""

    def __call__(self, crops, color="rgb"):
        return [self.read(crop) for crop in crops]

    def read(self, crop):
        red, green, blue = crop[crop.shape[0] // 2, crop.shape[1] // 2]
        if blue == 1:
            return Recognition("", 0.0, ())
        text = f"{red}-{green}"
        return Recognition(text, 1 - green / 256, (0.9,) * len(text))


def box(left, top, width, height):
    return np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]], np.float32)


def paint(page, polygon, colour):
    image = Image.fromarray(page)
    ImageDraw.Draw(image).polygon([tuple(point) for point in polygon.tolist()], fill=colour)
    page[:] = np.asarray(image)


@pytest.fixture
def grid():
    """A table, two words a cell; "L-W" is word W of line L of its column, of two columns, the right one from 10."""
    page = np.full((400, 1000, 3), 255, np.uint8)
    polygons = []
    for column, left in enumerate((50, 600)):
        for line in range(3):
            for word in range(2):
                polygon = box(left + 150 * word, 60 + 50 * line, 130, 30)
                paint(page, polygon, (10 * column + line, word, 0))
                polygons.append(polygon)
    order = np.random.default_rng(0).permutation(len(polygons))
    scores = 0.5 + np.arange(len(polygons)) / 100
    return page, Detections([polygons[i] for i in order], scores[order], "word")


def reader_of(found, recognizer=None, **options):
    options.setdefault("min_confidence", 0.0)
    return Reader(ColourDetector(found), recognizer or ColourRecognizer(), **options)


# ---------------------------------------------------------------- order


def test_words_come_in_reading_order_row_by_row_of_a_table(grid):
    page, detections = grid
    (result,) = reader_of(detections).stream([page])
    assert result.text == "0-0 0-1 10-0 10-1\n1-0 1-1 11-0 11-1\n2-0 2-1 12-0 12-1"
    assert [word.line for word in result.words] == [0] * 4 + [1] * 4 + [2] * 4
    assert [[len(line) for line in block] for block in result.blocks] == [[4, 4, 4]]


def test_everything_stays_with_its_word(grid):
    page, detections = grid
    (result,) = reader_of(detections).stream([page])
    expected = [0.5 + index / 100 for index in range(12)]
    columns = sorted(result.words, key=lambda word: int(word.text.split("-")[0]))
    np.testing.assert_allclose([word.objectness for word in columns], expected, atol=1e-6)
    for word in result.words:
        line, number = map(int, word.text.split("-"))
        assert word.confidence == 1 - number / 256
        assert len(word.char_confidences) == len(word.text)
        left = (600 if line >= 10 else 50) + 150 * number
        np.testing.assert_array_equal(word.polygon, box(left, 60 + 50 * (line % 10), 130, 30))


def test_what_encloses_nothing_and_what_reads_as_nothing_is_left_out():
    page = np.zeros((100, 400, 3), np.uint8)
    boxes = [box(10, 10, 80, 30), box(110, 10, 80, 30), box(210, 10, 80, 0.2), box(310, 10, 80, 30)]
    for index, polygon in enumerate(boxes):
        paint(page, polygon, (index, 0, 1 if index == 1 else 0))
    (result,) = reader_of(Detections(boxes, [0.1, 0.2, 0.3, 0.4])).stream([page])
    assert [word.text for word in result.words] == ["0-0", "3-0"]
    np.testing.assert_allclose([word.objectness for word in result.words], [0.1, 0.4])


def test_lines_are_cut_into_words():
    image = Image.new("RGB", (600, 120), "white")
    ImageDraw.Draw(image).text((30, 40), "three short words", fill="black", font=ImageFont.load_default(36))
    line = box(26, 36, 330, 44)

    class CountingRecognizer:
        def __call__(self, crops, color="rgb"):
            return [Recognition(f"{index}:{crop.shape[1]}", 0.5, (0.5,)) for index, crop in enumerate(crops)]

    (result,) = reader_of(Detections([line], [0.7], "line"), CountingRecognizer()).stream([np.asarray(image)])
    assert [word.text.split(":")[0] for word in result.words] == ["0", "1", "2"]
    assert {word.line for word in result.words} == {0}
    np.testing.assert_allclose([word.objectness for word in result.words], 0.7)
    lefts = [word.box[0] for word in result.words]
    assert lefts == sorted(lefts)


@pytest.mark.parametrize(("text", "kept"), [("_Mr._", "Mr."), ("__1992", "1992"), ("under_score", "under_score")])
def test_the_rule_that_a_word_stands_on_is_not_read(text, kept):
    reading = Recognition(text, 0.9, tuple(0.9 + 0.001 * number for number in range(len(text))))
    boxes = Detections([box(20, 20, 60, 20)], [0.9])
    (result,) = reader_of(boxes, lambda crops: [reading] * len(crops)).stream([np.zeros((60, 100, 3), np.uint8)])
    assert result.text == kept
    begin = text.index(kept)
    assert result.words[0].char_confidences == reading.char_confidences[begin : begin + len(kept)]


@pytest.mark.parametrize(("least", "kept"), [(0.0, ["0", "1", "2"]), (0.5, ["1", "2"]), (0.9, ["2"])])
def test_words_that_are_read_badly_are_left_out(least, kept):
    class UnsureRecognizer:
        def __call__(self, crops, color="rgb"):
            sure = {0: 0.05, 1: 0.5, 2: 0.95}
            numbers = [int(crop[crop.shape[0] // 2, crop.shape[1] // 2, 0]) for crop in crops]
            return [Recognition(str(n), sure[n], (sure[n],)) for n in numbers]

    page = np.full((300, 300, 3), 255, np.uint8)
    boxes = [box(10, 20 + 60 * n, 90, 30) for n in range(3)]
    for number, polygon in enumerate(boxes):
        paint(page, polygon, (number, 0, 0))
    options = {"min_confidence": least, "orientation": "off"}
    reader = reader_of(Detections(boxes, [0.9] * 3), UnsureRecognizer(), **options)
    (result,) = reader.stream([page])
    assert [word.text for word in result.words] == kept
    assert sorted(word.text for word in result.left_out) == sorted({"0", "1", "2"} - set(kept))
    assert all(word.doubtful for word in result.left_out)
    reader = reader_of(Detections(boxes, [0.9] * 3), UnsureRecognizer(), **options, keep_doubtful=True)
    (result,) = reader.stream([page])
    assert [word.text for word in result.words] == ["0", "1", "2"]
    assert [word.text for word in result.words if not word.doubtful] == kept
    assert not result.left_out


def test_min_confidence_out_of_range():
    with pytest.raises(ValueError, match="min_confidence is 50"):
        reader_of(Detections([], []), min_confidence=50)


def test_turned_text_keeps_its_direction():
    page = np.full((300, 300, 3), 255, np.uint8)
    upside_down = np.array([[250, 150], [50, 150], [50, 120], [250, 120]], np.float32)
    paint(page, upside_down, (1, 0, 0))
    paint(page, box(160, 120, 90, 30), (2, 0, 0))  # the left half, for who stands on his head

    class HalvesRecognizer:
        def __call__(self, crops, color="rgb"):
            return [Recognition(f"{crop[15, 20, 0]}{crop[15, -20, 0]}", 0.5, (0.5, 0.5)) for crop in crops]

    (result,) = reader_of(Detections([upside_down], [0.7]), HalvesRecognizer()).stream([page])
    assert result.text == "21"
    np.testing.assert_array_equal(result.words[0].quad, upside_down)


class ArrowRecognizer:
    """Reads the colours of both ends of a crop, sure of it only if the dark end comes first."""

    def __call__(self, crops, color="rgb"):
        readings = []
        for crop in crops:
            first, last = (int(crop[crop.shape[0] // 2, column, 0]) for column in (5, -5))
            sure = 0.95 if first < last else 0.2
            readings.append(Recognition(f"{first}>{last}", sure, (sure,) * 3))
        return readings


def arrows(*ends, blank=40):
    """A line of words, each a rectangle of two halves; (first, last) colour of each from left to right."""
    page = np.full((100, 40 + (120 + blank) * len(ends), 3), 255, np.uint8)
    boxes = [box(20 + (120 + blank) * index, 30, 120, 40) for index in range(len(ends))]
    for polygon, (first, last) in zip(boxes, ends):
        paint(page, polygon, (first, 0, 0))
        paint(page, polygon * (0.5, 1) + (polygon[1, 0] / 2, 0), (last, 0, 0))
    return page, boxes


@pytest.mark.parametrize(
    ("mode", "text"), [("off", "100>10 20>120"), ("auto", "20>120\n10>100"), ("on", "20>120\n10>100")]
)
def test_words_upside_down_are_read_the_other_way(mode, text):
    page, boxes = arrows((100, 10), (20, 120), blank=200)
    reader = reader_of(Detections(boxes, [0.5, 0.6]), ArrowRecognizer(), orientation=mode)
    (result,) = reader.stream([page])
    assert sorted(result.text.split()) == sorted(text.split())
    if mode != "off":
        turned = next(word for word in result.words if word.text == "10>100")
        np.testing.assert_array_equal(turned.polygon, np.roll(boxes[0], -2, axis=0))


def test_words_detected_in_a_row_run_the_same_way():
    page, boxes = arrows((100, 10), (20, 120), (110, 30))
    (result,) = reader_of(Detections(boxes, [0.5] * 3), ArrowRecognizer()).stream([page])
    assert result.text == "30>110 120>20 10>100", "two of three say that it is upside down"


def test_the_words_of_a_detected_line_run_the_same_way(monkeypatch):
    page, boxes = arrows((100, 10), (20, 120), (110, 30))
    ends = [((each[:, 0].min() - 20) / 440, (each[:, 0].max() - 20) / 440) for each in boxes]
    monkeypatch.setattr("clip4str_plugin.reading.regions.find_pieces", lambda crops: [Pieces(ends, [1.0, 1.0], 11.0)])
    line = Detections([box(20, boxes[0][:, 1].min(), 440, np.ptp(boxes[0][:, 1]))], [0.5], "line")
    (result,) = reader_of(line, ArrowRecognizer()).stream([page])
    assert result.text == "30>110 120>20 10>100", "two of three say that it is upside down"


def test_a_doubtful_blank_is_settled_by_reading(monkeypatch):
    """A recognizer that is sure of wide crops joins, one that is sure of narrow crops cuts."""
    monkeypatch.setattr(
        "clip4str_plugin.reading.regions.find_pieces", lambda crops: [Pieces([(0.0, 0.5), (0.5, 1.0)], [0.6], 6.0)]
    )
    page = np.full((100, 300, 3), 255, np.uint8)
    line = Detections([box(20, 20, 240, 40)], [0.5], "line")

    def recognizer(sure_of_wide):
        def recognize(crops, color="rgb"):
            sure = [0.99 if (crop.shape[1] > 200) == sure_of_wide else 0.9 for crop in crops]
            return [
                Recognition("x" * (crop.shape[1] // 40), p**3, (p,) * (crop.shape[1] // 40))
                for crop, p in zip(crops, sure)
            ]

        return recognize

    for sure_of_wide, text in ((True, "xxxxxx"), (False, "xxx xxx")):
        (result,) = reader_of(line, recognizer(sure_of_wide), orientation="off").stream([page])
        assert result.text == text


@pytest.mark.parametrize(("sure", "text"), [(0.95, "Jones"), (0.5, "ones")])
def test_a_first_letter_that_is_lost_by_reading_the_whole_word_is_kept_if_it_was_sure(monkeypatch, sure, text):
    monkeypatch.setattr(
        "clip4str_plugin.reading.regions.find_pieces", lambda crops: [Pieces([(0.0, 0.2), (0.2, 1.0)], [0.6], 6.0)]
    )
    page = np.full((100, 300, 3), 255, np.uint8)
    line = Detections([box(20, 20, 240, 40)], [0.5], "line")

    def recognize(crops, color="rgb"):
        letter, rest = Recognition("J", sure, (sure,)), Recognition("ones", 0.96, (0.99,) * 4)
        return [letter if crop.shape[1] < 100 else rest for crop in crops]

    (result,) = reader_of(line, recognize, orientation="off", other_views=False).stream([page])
    assert result.text == text


def test_narrow_words_are_not_tried_on_end(grid):
    """Their outlines tell their direction."""

    class TurnsTallCrops:
        upright = ColourRecognizer()

        def __call__(self, crops, color="rgb"):
            raise AssertionError("not upright")

    (result,) = reader_of(grid[1], TurnsTallCrops()).stream([grid[0]])
    assert result.error is None
    assert len(result.words) == 12


def test_a_piece_without_pixels_costs_nothing_else(monkeypatch):
    """The second likely word lies beside the page, and an alternative is a part of it."""
    pieces = Pieces([(0.0, 0.4), (2.0, 2.5), (2.5, 3.0), (0.5, 1.0)], [0.95, 0.4, 0.95], 6.0)
    monkeypatch.setattr("clip4str_plugin.reading.regions.find_pieces", lambda crops: [pieces])
    page = np.full((100, 300, 3), 255, np.uint8)
    line = Detections([box(20, 20, 240, 40)], [0.5], "line")

    def recognize(crops, color="rgb"):
        return [Recognition("abc", 0.7, (0.9,) * 3) for _ in crops]

    (result,) = reader_of(line, recognize, orientation="off").stream([page])
    assert result.error is None
    assert result.text == "abc abc"


def test_orientation_is_checked():
    with pytest.raises(ValueError, match="orientation is 'sideways'"):
        reader_of(Detections([], []), orientation="sideways")


def test_curved_polygons():
    angles = np.linspace(np.pi, 2 * np.pi, 7)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    polygon = (np.concatenate([150 * arc, 110 * arc[::-1]]) + 200).astype(np.float32)
    page = np.full((400, 400, 3), 255, np.uint8)
    paint(page, polygon, (1, 2, 0))
    (result,) = reader_of(Detections([polygon], [0.5])).stream([page])
    (word,) = result.words
    np.testing.assert_array_equal(word.polygon, polygon)
    assert word.quad.shape == (4, 2)
    assert word.quad[0] == pytest.approx([50, 50], abs=1)
    document = reader_of(Detections([polygon], [0.5]))([page])
    assert len(document.pages[0].blocks[0].lines[0].words[0].geometry) == 4


# ---------------------------------------------------------------- docTR's document


def test_document(grid):
    page, detections = grid
    document = reader_of(detections)([page, page])
    assert document.render().startswith("0-0 0-1 10-0 10-1\n1-0 1-1 11-0 11-1")
    first, second = document.pages
    assert (first.dimensions, first.page_idx, second.page_idx) == ((400, 1000), 0, 1)
    np.testing.assert_array_equal(first.page, page)
    word = first.blocks[0].lines[1].words[1]
    assert (word.value, word.confidence) == ("1-1", 1 - 1 / 256)
    assert word.objectness_score == pytest.approx(0.53)
    np.testing.assert_allclose(word.geometry, [[0.2, 0.275], [0.33, 0.275], [0.33, 0.35], [0.2, 0.35]], atol=1e-6)
    restored = type(document).from_dict(json.loads(json.dumps(document.export())))
    assert restored.render() == document.render()


def test_document_with_upright_boxes_exports_to_xml(grid):
    page, detections = grid
    document = reader_of(detections)([page], straight=True)
    np.testing.assert_allclose(
        document.pages[0].blocks[0].lines[0].words[0].geometry, [[0.05, 0.15], [0.18, 0.225]], atol=1e-6
    )
    ((xml, _),) = document.export_as_xml()
    assert b">10-1<" in xml
    assert document.pages[0].synthesize().shape == page.shape


def test_page_without_text():
    page = np.zeros((50, 60, 3), np.uint8)
    document = reader_of(Detections([], []))([page])
    assert document.render() == ""
    assert document.export()["pages"][0]["blocks"] == []
    assert document.export_as_xml()


def test_geometry_stays_on_the_page():
    page = np.zeros((50, 60, 3), np.uint8)
    document = reader_of(Detections([box(-10, -10, 100, 100)], [0.5]))([page])
    points = np.array(document.pages[0].blocks[0].lines[0].words[0].geometry)
    assert points.min() == 0
    assert points.max() == 1


def test_a_page_that_failed_can_still_be_converted():
    assert Page(None, error="x").to_doctr(3).page_idx == 3


# ---------------------------------------------------------------- streaming


def test_pages_are_detected_in_small_batches_and_given_at_once(grid):
    page, detections = grid
    pulled = []

    def pages():
        for index in range(16):
            pulled.append(index)
            yield page

    reader = reader_of(detections, page_batch_size=2)
    stream = reader.stream(pages())
    assert not pulled
    next(stream)
    time.sleep(0.05)
    assert len(pulled) <= 10, "the batch that was read and the four that may follow"
    assert len(list(stream)) == 15
    assert reader.detector.batches == [2] * 8


def test_the_next_pages_are_detected_while_words_are_read(grid):
    page, detections = grid
    detected = threading.Semaphore(0)

    class WaitingRecognizer(ColourRecognizer):
        waited = False

        def __call__(self, crops, color="rgb"):
            if not self.waited:
                self.waited = True
                assert detected.acquire(timeout=10), "nobody detects on the next page meanwhile"
            return super().__call__(crops)

    def found(image):
        if image[0, 0, 0] > 0:
            detected.release()
        return detections

    numbered = [page.copy() for _ in range(4)]
    for index, image in enumerate(numbered):
        image[0, 0] = index
    results = list(reader_of(found, WaitingRecognizer(), page_batch_size=1, other_views=False).stream(numbered))
    assert [result.image[0, 0, 0] for result in results] == [0, 1, 2, 3]
    assert [result.error for result in results] == [None] * 4
    assert all(len(result.words) == 12 for result in results)


def test_pages_are_worked_on_in_several_threads_but_given_in_order(grid):
    page, detections = grid
    both = threading.Barrier(2)
    inside = threading.Lock()

    class Detector:
        def __call__(self, pages):
            assert inside.acquire(blocking=False), "a detector is called by one thread at a time"
            time.sleep(0.001)
            inside.release()
            return [detections for _ in pages]

    class Recognizing(Recognizer):
        def __call__(self, crops, color="rgb"):
            both.wait(timeout=10)  # two threads read at the same time
            return ColourRecognizer()(crops)

        upright = __call__

    numbered = [page.copy() for _ in range(6)]
    for index, image in enumerate(numbered):
        image[0, 0] = index
    reader = Reader(Detector(), Recognizing("tiny"), page_batch_size=1, other_views=False)
    assert [result.image[0, 0, 0] for result in reader.stream(numbered)] == list(range(6))


def test_a_recognizer_of_others_is_called_by_one_thread_at_a_time(grid):
    page, detections = grid
    inside = threading.Lock()

    class Single(ColourRecognizer):
        def __call__(self, crops, color="rgb"):
            assert inside.acquire(blocking=False)
            time.sleep(0.001)
            inside.release()
            return super().__call__(crops)

    results = list(reader_of(detections, Single(), page_batch_size=1).stream([page] * 6))
    assert [result.error for result in results] == [None] * 6


def test_pages_detected_together_are_read_together(grid):
    page, detections = grid
    empty = np.full_like(page, 255)
    sizes = []

    class CountingRecognizer(ColourRecognizer):
        def __call__(self, crops, color="rgb"):
            sizes.append(len(crops))
            return super().__call__(crops)

    def found(image):
        return Detections([], []) if image[75, 80, 0] == 255 else detections

    results = list(
        reader_of(found, CountingRecognizer(), page_batch_size=3, orientation="off", other_views=False).stream(
            [page, empty, page]
        )
    )
    assert sizes == [24]
    assert [len(result.words) for result in results] == [12, 0, 12]
    assert results[0].text == results[2].text


def test_a_stream_that_is_dropped_ends_its_threads(grid):
    page, detections = grid
    stream = reader_of(detections, page_batch_size=1).stream(iter([page] * 50))
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "clip4str-prefetch"]


def test_memory_holds_few_pages(grid):
    page, detections = grid
    given = []
    most = 0

    class Tracked(np.ndarray):
        pass

    def pages():
        nonlocal most
        for _ in range(30):
            copy = page.copy().view(Tracked)
            given.append(weakref.ref(copy))
            most = max(most, sum(reference() is not None for reference in given))
            yield copy
            del copy

    for result in reader_of(detections, page_batch_size=2).stream(pages()):
        assert len(result.words) == 12
        del result
    assert most <= 11, "four batches, the one that is handed over, and the page that was just made"


def test_seconds(grid):
    page, detections = grid
    for result in reader_of(detections).stream([page, page]):
        assert list(result.seconds) == ["detect", "rectify", "recognize"]
        assert all(0 <= seconds < 10 for seconds in result.seconds.values())


def test_no_pages():
    assert list(reader_of(Detections([], [])).stream([])) == []
    assert reader_of(Detections([], []))([]).pages == []


def test_several_threads(grid):
    page, detections = grid
    reader = reader_of(detections)
    texts = []
    threads = [threading.Thread(target=lambda: texts.extend(p.text for p in reader.stream([page] * 5))) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 20
    assert len(set(texts)) == 1


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_page_the_detector_fails_on_does_not_cost_the_others(grid, batch):
    page, detections = grid
    bad = page.copy()
    bad[0, 0] = 99

    def found(image):
        if image[0, 0, 0] == 99:
            raise RuntimeError("out of luck\nand more")
        return detections

    results = list(reader_of(found, page_batch_size=batch).stream([page, bad, page, page, bad]))
    assert [result.error is None for result in results] == [True, False, True, True, False]
    assert [len(result.words) for result in results] == [12, 0, 12, 12, 0]
    assert results[1].error == "no text could be detected: RuntimeError: out of luck and more"
    np.testing.assert_array_equal(results[1].image, bad)


def test_a_page_the_recognizer_fails_on_does_not_cost_the_others(grid):
    page, detections = grid
    bad = np.full_like(page, 200)

    class MoodyRecognizer(ColourRecognizer):
        def __call__(self, crops, color="rgb"):
            if any(crop.min() == 200 for crop in crops):
                raise ValueError("no thanks")
            return super().__call__(crops)

    results = list(reader_of(detections, MoodyRecognizer()).stream([page, bad, page]))
    assert [len(result.words) for result in results] == [12, 0, 12]
    assert results[1].error == "the text could not be read: ValueError: no thanks"


def test_pages_of_a_wrong_kind_are_named(grid):
    page, detections = grid
    wrong = [page.astype(np.float32), page[..., 0], np.zeros((0, 10, 3), np.uint8), "page.png"]
    results = list(reader_of(detections).stream([*wrong, page]))
    assert [len(result.words) for result in results] == [0, 0, 0, 0, 12]
    assert "uint8 RGB" in results[0].error
    assert "uint8 RGB" in results[3].error
    assert "holds no pixel" in results[2].error


def test_a_detector_that_miscounts_is_not_believed(grid):
    page, detections = grid
    reader = Reader(lambda pages: [detections], ColourRecognizer())
    results = list(reader.stream([page, page]))
    assert [len(result.words) for result in results] == [12, 12], "one by one it is right"
    results = list(Reader(lambda pages: [], ColourRecognizer()).stream([page]))
    assert "0 results for 1 pages" in results[0].error


def test_calling_a_reader_raises(grid):
    page, detections = grid
    with pytest.raises(Clip4StrError, match="page 1: no text could be detected"):
        reader_of(detections)([page, page[..., 0]])


def test_interrupts_are_not_caught(grid):
    page, _ = grid

    def found(image):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(reader_of(found).stream([page]))


def test_batch_size_is_checked():
    with pytest.raises(ValueError, match="page_batch_size is 0"):
        reader_of(Detections([], []), page_batch_size=0)


def test_long_words_are_not_left_out_for_their_length():
    page = np.full((60, 400, 3), 255, np.uint8)
    for length, kept in ((8, 0), (16, 1)):
        text = "x" * length
        reader = Reader(
            lambda pages: [Detections([box(10, 10, 300, 30)], np.ones(1, np.float32), "word")],
            Fixed(Recognition(text, 0.2, (0.2 ** (1 / length),) * length)),
            orientation="off",
        )
        (read,) = reader.stream([page])
        assert len(read.words) == kept


class Fixed:
    """Reads everything as the same."""

    def __init__(self, reading):
        self.reading = reading

    def __call__(self, crops):
        return [self.reading for _ in crops]


# ---- what can be read --------------------------------------------------------------------------------------


def test_read_takes_files_folders_images_and_arrays(tmp_path):
    page = np.full((40, 60, 3), 255, np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(page).save(tmp_path / name)
    reader = reader_of(Detections([], []))
    several = [tmp_path, str(tmp_path / "a.png"), Image.fromarray(page), page, page[..., 0], tmp_path / "missing.png"]
    pages = reader.read(several)
    assert [(result.width, result.height) for result in pages] == [(60, 40)] * 6 + [(0, 0)]
    assert [Path(result.source).name for result in pages] == ["a.png", "b.png", "a.png", "", "", "", "missing.png"]
    assert "there is no such file" in pages[-1].error


def test_read_says_what_it_cannot_take():
    reader = reader_of(Detections([], []))
    (page,) = reader.read(np.zeros((5, 5, 7), np.uint8))
    assert "(5, 5, 7)" in page.error
    with pytest.raises(TypeError, match="a float cannot be read"):
        reader.read(1.5)
    with pytest.raises(ImageError, match="list of pages"):
        list(reader.stream(np.zeros((5, 5, 3), np.uint8)))


def test_a_page_is_saved_in_the_format_of_its_suffix(tmp_path):
    (page,) = reader_of(Detections([], [])).read(np.full((40, 60, 3), 255, np.uint8))
    page.save(tmp_path / "page.json")
    assert json.loads((tmp_path / "page.json").read_text())
    with pytest.raises(ValueError, match=r"page\.docx: no format has this suffix"):
        page.save(tmp_path / "page.docx")
