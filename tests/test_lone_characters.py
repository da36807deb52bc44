"""Characters that stand alone in the row of a line are found without a detector, and kept if they read surely."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin import Reader, Recognition
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.lone_characters import find_lone_characters, is_sure

FONT = ImageFont.load_default(26)
ROWS = ["Nasi goreng", "Teh tarik panas", "Kopi susu besar"]
TOPS = [40, 100, 160]


def drawn(draw=lambda pen: None, quantity="1"):
    """A bill of three rows, in which no detector finds the quantities before and the dash behind."""
    image = Image.new("RGB", (700, 240), "white")
    pen = ImageDraw.Draw(image)
    for top, text in zip(TOPS, ROWS):
        pen.text((150, top), text, "black", FONT)
        pen.text((60, top), quantity, "black", FONT)
    pen.text((560, TOPS[1]), "-", "black", FONT)
    draw(pen)
    return np.asarray(image)


def lines():
    """The outlines of the lines that are detected."""
    boxes = [(144, top - 2, 150 + FONT.getlength(text) + 6, top + 34) for top, text in zip(TOPS, ROWS)]
    return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32) for x0, y0, x1, y1 in boxes]


def found(image, outlines):
    """The middles of what is found, with the line of each, from the top left."""
    lone = find_lone_characters(image, outlines)
    return sorted((item.line, *np.round(item.polygon.mean(axis=0)).astype(int).tolist()) for item in lone)


def turned(points, turns, width, height):
    """Where points of a page lie when it is turned as by `np.rot90`."""
    for _ in range(turns):
        points, width, height = np.stack([points[:, 1], width - points[:, 0]], axis=1), height, width
    return points.astype(np.float32)


@pytest.mark.parametrize("ground", ["light", "dark"])
def test_quantities_and_dashes_are_found_beside_lines(ground):
    image = drawn() if ground == "light" else 255 - drawn()
    where = found(image, lines())
    assert [line for line, _, _ in where] == [0, 1, 1, 2]
    assert [x for _, x, _ in where] == pytest.approx([66, 66, 565, 66], abs=4)
    assert [y for _, _, y in where] == pytest.approx([56, 116, 116, 176], abs=6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_pages_may_be_turned(turns):
    upright = find_lone_characters(drawn(), lines())
    quads = [turned(line, turns, 700, 240) for line in lines()]
    again = find_lone_characters(np.ascontiguousarray(np.rot90(drawn(), turns)), quads)
    assert len(again) == len(upright) == 4
    places = [turned(item.polygon, turns, 700, 240) for item in upright]
    for place in places:
        # The corners keep their order: the text's top left is the first.
        assert min(float(np.abs(item.polygon - place).max()) for item in again) < 3


def test_what_lines_cover_is_theirs():
    quantities = [np.array([[50, t - 2], [80, t - 2], [80, t + 34], [50, t + 34]], np.float32) for t in TOPS]
    assert [line for line, _, _ in found(drawn(), lines() + quantities)] == [1]
    assert find_lone_characters(drawn(), []) == []


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda pen: [pen.line((x, 114, x + 12, 114), "black", 2) for x in range(400, 690, 24)], id="rule"),
        pytest.param(lambda pen: pen.line((600, 0, 600, 240), "black", 3), id="column"),
        pytest.param(lambda pen: pen.rectangle((480, 20, 530, 220), outline="black", width=3), id="box"),
        pytest.param(lambda pen: pen.text((600, TOPS[0] + 28), "1", "black", FONT), id="between rows"),
        pytest.param(lambda pen: pen.text((600, TOPS[0]), "1", (190, 190, 190), FONT), id="faint"),
    ],
)
def test_other_ink_is_left_alone(draw):
    lone = found(drawn(draw), lines())
    assert [item for item in lone if item[1] > 100 and abs(item[1] - 565) > 5] == []
    assert [line for line, x, _ in lone if x < 100] == [0, 1, 2]


@pytest.mark.parametrize("far", [np.nan, np.inf, 1e20, 5000, 0])
def test_other_outlines_may_be_anything(far):
    odd = np.array([[0, 0], [far, 0], [far, 0], [0, 0]], np.float32)
    assert len(find_lone_characters(drawn(), [*lines(), odd])) == 4
    assert find_lone_characters(np.zeros((1, 1, 3), np.uint8), [odd]) == []


def test_dirt_is_not_looked_at():
    specks = np.random.default_rng(0).integers(0, 240, (400, 2))
    image = drawn(lambda pen: [pen.rectangle((300 + x, y, 303 + x, y + 2), "black") for x, y in specks])
    assert find_lone_characters(image, lines()) == []


def test_only_few_characters_that_read_surely_are_kept():
    assert is_sure(Recognition("1", 0.9, (0.9,)))
    assert not is_sure(Recognition("1", 0.7, (0.7,)))
    assert not is_sure(Recognition("", 1.0, ()))
    assert not is_sure(Recognition("..", 0.99, (0.99, 0.99)))
    assert is_sure(Recognition("...", 0.99, (0.99, 0.99, 0.99)))
    assert not is_sure(Recognition("SALE", 0.99, (0.99,) * 4))


class Bill:
    """Finds the lines of a bill, as lines or words; the quantities show which way up it lies."""

    def __init__(self, granularity="line"):
        self.granularity = granularity

    def __call__(self, pages):
        return [self.find((page[:, :100] < 128).any()) for page in pages]

    def find(self, upright):
        quads = lines() if upright else [turned(line, 2, 700, 240)[[2, 3, 0, 1]] for line in lines()]
        return Detections(quads, np.ones(3), self.granularity)


@pytest.mark.parametrize("upside_down", [False, True])
def test_the_reader_reads_them_in_their_rows(upside_down):
    image = drawn(quantity="7")
    (page,) = Reader(Bill()).read(image[::-1, ::-1].copy() if upside_down else image)
    rows = page.text.splitlines()
    assert [row.split()[0] for row in rows] == ["7", "7", "7"]
    assert [row.endswith("-") for row in rows] == [False, True, False]


def test_detectors_of_words_find_them_themselves():
    (page,) = Reader(Bill("word")).read(drawn(quantity="7"))
    assert "7" not in page.text
