"""Points beside words go with them, and boxes to check are words of their own."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.reading.line_marks import find_boxes, find_underscores, ink_of_line, without_marks
from clip4str_plugin.reading.line_splitting import find_words


def blank(*marks, rows=32, width=40):
    """Ink of a blank with marks in it, each (top, left, bottom, right)."""
    ink = np.zeros((rows, width), bool)
    for top, left, bottom, right in marks:
        ink[top:bottom, left:right] = True
    return ink


def test_a_point_goes_with_the_nearer_word():
    point = (22, 4, 25, 7)
    assert without_marks(0, 40, blank(point)) == (7, 40)
    assert without_marks(0, 40, np.fliplr(blank(point))) == (0, 33)
    ellipsis = [(22, left, 25, left + 3) for left in (4, 10, 16)]
    assert without_marks(0, 40, blank(*ellipsis)) == (19, 40)
    assert without_marks(10.5, 40, blank((22, 12, 25, 15))) == (15, 40)


@pytest.mark.parametrize(
    "mark",
    [
        (20, 0, 22, 40),  # a rule
        (0, 4, 4, 7),  # a letter of the line above
        (10, 18, 13, 21),  # far from both words
        (22, 4, 23, 5),  # dust
        (2, 4, 30, 7),  # a bar
    ],
)
def test_other_ink_stays_in_the_blank(mark):
    assert without_marks(0, 40, blank(mark)) == (0, 40)


def test_a_comma_on_a_rule_is_found():
    assert without_marks(0, 40, blank((26, 0, 28, 40), (22, 4, 26, 7))) == (7, 40)


def test_a_place_without_room_stays():
    assert without_marks(7.5, 7.5, blank()) == (7.5, 7.5)


@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (20, 230)])
def test_ink_is_what_differs_from_the_ground(ground, ink):
    crop = np.full((32, 60, 3), ground, np.uint8)
    crop[10:20, 10:15] = ink
    found = ink_of_line(crop)
    assert found[10:20, 10:15].all()
    assert found.sum() == 50


def checked_line(text="STORE"):
    """A line with a box before the word, nearly touching it."""
    image = Image.new("RGB", (220, 44), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((8, 8, 34, 34), outline="black", width=3)
    pen.text((40, 4), text, "black", ImageFont.load_default(30))
    return np.asarray(image)


def test_a_box_is_found_and_letters_are_none():
    line = checked_line()
    ((left, right),) = find_boxes(ink_of_line(line))
    assert abs(left * 44 / 32 - 8) < 3
    assert abs(right * 44 / 32 - 35) < 3
    assert find_boxes(ink_of_line(checked_line("BODQ0")[:, 36:])) == []


@pytest.mark.parametrize("room", [1, 2])
def test_what_stands_as_close_as_letters_do_is_no_box(room):
    ink = blank((8, 0, 26, 4), (10, 4 + room, 25, 20 + room), (8, 20 + 2 * room, 26, 30))
    ink[13:22, 7 + room : 17 + room] = False
    assert find_boxes(ink) == []
    ink[:, :4] = ink[:, 20 + 2 * room :] = False
    assert find_boxes(ink) == [(4 + room, 20 + room)]


def test_a_box_is_parted_from_its_word():
    words = find_words(checked_line())
    assert len(words) == 2
    assert abs(words[1][0] * 220 - 40) < 6


def test_an_underscore_joins_and_a_line_under_words_does_not():
    ink = blank((8, 0, 25, 10), (8, 26, 25, 36))
    gap = [(10.0, 26.0)]
    assert find_underscores(ink, gap) == [False]
    ink[27:29, 11:25] = True
    assert find_underscores(ink, gap) == [True]
    ink[27:29, 0:36] = True
    assert find_underscores(ink, gap) == [False]
    ink[27:29] = False
    ink[29:32, 12:24] = True  # of the line below
    assert find_underscores(ink, gap) == [False]
    ink[29:32] = False
    ink[27:29] = False
    ink[15:17, 12:24] = True  # a dash
    assert find_underscores(ink, gap) == [False]
