"""Letters with blanks between them are words of one letter; letters of a word that is set wide are not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin import Reader, Recognition
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.segmentation import Pieces
from clip4str_plugin.reading.spread_letters import find_spread_letters


def drawn(text, gap=None, size=36, colours=("white", "black")):
    """A line as a detector cuts it; with a gap, in letter heights, that much room between any two characters."""
    font = ImageFont.load_default(size)
    image = Image.new("RGB", (2000, round(1.4 * size)), colours[0])
    draw, x = ImageDraw.Draw(image), 10.0
    for char in [text] if gap is None else text:
        draw.text((x, 4), char, colours[1], font)
        x += font.getlength(char) + (gap or 0) * 0.72 * size
    return np.asarray(image.crop((0, 0, round(x) + 10, image.height)))


@pytest.mark.parametrize("text", ["INVOICE", "abcdefg", "3x4=2"])
@pytest.mark.parametrize("colours", [("white", "black"), ("black", "yellow")])
def test_blanks_part_letters(text, colours):
    ends = np.array(find_spread_letters(drawn(text, 0.5, colours=colours), text))
    assert len(ends) == len(text)
    assert (np.diff(ends.ravel()) > 0).all()
    assert (np.abs(ends - 0.5) <= 0.5).all()


@pytest.mark.parametrize("gap", [0, 0.1, 0.2])
@pytest.mark.parametrize("text", ["INVOICE", "HOTEL", "Total"])
def test_letters_of_a_word_that_is_set_wide_stay(text, gap):
    assert find_spread_letters(drawn(text, gap), text) == []


@pytest.mark.parametrize(
    ("text", "read"), [("ABC", "ABCD"), ("A", "A"), ("AB", ""), ("III", "III"), ("J.R.", "J.R."), ("***", "***")]
)
def test_what_is_not_sure_stays(text, read):
    assert find_spread_letters(drawn(text, 0.5), read) == []


def test_a_rule_beside_a_letter_is_no_letter():
    crop = drawn("o", 0.5).copy()
    crop[8:40, 2:4] = 0
    assert find_spread_letters(crop, "No") == []


def test_crops_without_ink_are_harmless():
    assert find_spread_letters(np.zeros((20, 60, 3), np.uint8), "ab") == []
    assert find_spread_letters(np.zeros((2, 3, 3), np.uint8), "ab") == []


@pytest.mark.parametrize("upside_down", [False, True])
def test_a_reader_gives_each_letter_its_place(upside_down, monkeypatch):
    monkeypatch.setattr("clip4str_plugin.reading.regions.find_pieces", lambda crops: [Pieces([(0.0, 1.0)], [], 5.0)])
    crop = drawn("XYZ", 0.5)
    height, width = crop.shape[:2]
    middles = [np.mean(ends) * width for ends in find_spread_letters(crop, "XYZ")]
    if upside_down:
        crop, middles = crop[::-1, ::-1], [width - middle for middle in middles]
    line = Detections([np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)], [0.9], "line")

    def recognize(crops):
        """Be sure of crops that stand upright: with less room to the left of the ink."""
        ink = [np.flatnonzero((each.min(axis=2) < 128).any(axis=0)) for each in crops]
        sure = [0.99 if mine[0] < each.shape[1] - 1 - mine[-1] else 0.3 for each, mine in zip(crops, ink)]
        return [Recognition("XYZ", p**3, (p, p - 0.01, p - 0.02)) for p in sure]

    (page,) = Reader(lambda pages: [line], recognize, min_confidence=0.0).stream([crop])
    words = {word.text: word for word in page.words}
    assert list(words) == ["X", "Y", "Z"]
    assert [round(word.confidence, 2) for word in page.words] == [0.99, 0.98, 0.97]
    np.testing.assert_allclose([word.polygon[:, 0].mean() for word in page.words], middles, atol=2)
