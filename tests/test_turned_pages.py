"""Pages that lie on their side or head are read like upright ones."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from clip4str_plugin import Reader
from clip4str_plugin.page import Page, Word
from clip4str_plugin.reading.turned_pages import seen_upright, turns_to_upright
from tests.host_helpers import photo

# Most of these read as well upside down, as numbers or words.
NUMBERS = "66.98  1081  0.60  SIS  80.09  9901"


def word(text, left, top, width, height):
    quad = np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]], np.float32)
    return Word(text, 0.9, quad, 0, 0, 1.0)


def turned(page, turns):
    """A page as a reader sees it that finds everything on the turned page."""
    upright = Page(np.ascontiguousarray(np.rot90(page.image, turns)))
    return seen_upright(page, -turns % 4, upright)


@pytest.fixture
def page():
    words = [word("Twentyfour", 10, 20, 80, 10), word("letters", 100, 20, 50, 10), word("printed", 10, 40, 60, 10)]
    return Page(np.zeros((100, 200, 3), np.uint8), words, {"detect": 1.0}, left_out=[word("x", 190, 90, 5, 5)])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_words_are_turned_with_the_page_and_tell_how_it_stands(page, turns):
    lying = turned(page, turns)
    assert turns_to_upright(lying.words) == -turns % 4
    marks = np.zeros(page.image.shape[:2], np.uint8)
    for each in page.words + page.left_out:
        cv2.fillPoly(marks, [each.polygon.astype(int)], 255)
    for each in lying.words + lying.left_out:
        x, y = np.floor(each.polygon.mean(axis=0)).astype(int)
        assert np.rot90(marks, turns)[y, x] == 255
    back = seen_upright(lying, turns, page)
    for each, known in zip(back.words + back.left_out, page.words + page.left_out, strict=True):
        np.testing.assert_array_equal(each.polygon, known.polygon)


def test_neither_a_few_letters_nor_numbers_turn_a_page(page):
    lying = turned(page, 1).words
    assert turns_to_upright([replace(lying[0], text="Off")]) == 0
    assert turns_to_upright([replace(each, text="1" * len(each.text)) for each in lying]) == 0
    assert turns_to_upright([*lying, *page.words]) == 0
    assert turns_to_upright([]) == 0


def test_the_time_of_both_readings_counts(page):
    assert seen_upright(page, 2, page).seconds == {"detect": 2.0}


@pytest.mark.slow
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_page_reads_like_an_upright_one(turns):
    page = cv2.resize(photo("printed_page.png"), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    page = cv2.copyMakeBorder(page, 20, 120, 20, 20, cv2.BORDER_REPLICATE)
    cv2.putText(page, NUMBERS, (40, len(page) - 50), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 2, cv2.LINE_AA)
    reader = Reader("rapidocr")
    upright, lying, as_it_lies = (
        reader.read(page)[0],
        reader.read(np.ascontiguousarray(np.rot90(page, turns)))[0],
        Reader("rapidocr", reader.recognizer, orientation="off").read(np.ascontiguousarray(np.rot90(page, turns)))[0],
    )
    assert NUMBERS.split() == [word.text for word in upright.words[-6:]]
    assert lying.text == upright.text
    assert as_it_lies.text != upright.text
    assert lying.image.shape == np.rot90(page, turns).shape
    back = seen_upright(lying, turns, upright)
    for each, known in zip(back.words, upright.words, strict=True):
        np.testing.assert_allclose(each.polygon, known.polygon, atol=3)
