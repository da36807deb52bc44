"""Rows of dots that lead from a word to another are no text."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.geometry.text_strip import TextStrip
from clip4str_plugin.reading.leaders import without_leaders
from clip4str_plugin.reading.line_splitting import find_words

FONT = ImageFont.load_default(30)


def page(*texts):
    """A page with texts at given columns."""
    image = Image.new("RGB", (800, 100), "white")
    pen = ImageDraw.Draw(image)
    for left, text in texts:
        pen.text((left, 30), text, "black", FONT)
    return np.asarray(image)


def left_of(image, left, right):
    """The left and right end that a line from one column to another has without leaders; None where nothing is left."""
    rest = without_leaders(image, TextStrip.of([[left, 28], [right, 28], [right, 68], [left, 68]], "top-left"))
    if rest is None:
        return None
    corners = rest[0].polygon(0, 1)
    return corners[:, 0].min(), corners[:, 0].max()


ENTRY = page((40, "Preface"), (170, "." * 60), (740, "12"))


def test_a_line_ends_where_a_leader_begins():
    left, right = left_of(ENTRY, 30, 190)
    assert left == pytest.approx(30, abs=1)
    assert 145 < right < 180
    left, right = left_of(ENTRY, 690, 790)
    assert 660 < left < 742
    assert right == pytest.approx(790, abs=1)


def test_a_leader_alone_is_no_line():
    assert left_of(ENTRY, 300, 500) is None


def test_a_leader_within_a_line_is_a_blank():
    first, last = find_words(ENTRY[28:68, 30:790])
    assert first[1] * 760 + 30 < 180
    assert last[0] * 760 + 30 > 660


@pytest.mark.parametrize("text", ["the end.", "and so on...", "...and on", "Nr. 1.", ":", "i.i.i.i.i.i"])
def test_points_of_words_stay(text):
    image = page((100, text))
    assert left_of(image, 90, 300) == pytest.approx((90, 300), abs=1)


def test_a_dotted_line_under_words_is_none_of_them():
    image = page((100, "filled in"), (90, "." * 40)).copy()
    image[35:60] = page((100, "filled in"))[35:60]
    assert left_of(image, 90, 300) == pytest.approx((90, 300), abs=1)
