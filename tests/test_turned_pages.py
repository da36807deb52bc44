"""Pages that lie on their side or head are read like upright ones."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from clip4str_plugin import Reader, Recognition
from clip4str_plugin.page import Page, Word
from clip4str_plugin.reading.detectors import orient_detections
from clip4str_plugin.reading.regions import cut_words
from clip4str_plugin.reading.turned_pages import seen_upright, turns_of_standing, turns_to_upright
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


def surely_from_dark_to_light(crops):
    """A recognizer to which words are written from dark to light."""
    return [Recognition("word", 0.9, (0.95 if crop[:, :20].mean() < crop[:, -20:].mean() else 0.3,)) for crop in crops]


def shaded_words(turns, size=(120, 30)):
    """The words of a turned page."""
    page = np.full((400, 400, 3), 255, np.uint8)
    words = []
    for left, top in [(20, 20), (200, 20), (20, 200), (200, 300)]:
        page[top : top + size[1], left : left + size[0]] = np.linspace(0, 250, size[0])[None, :, None]
        words.append(word("word", left, top, *size))
    lying = turned(Page(page, words), turns)
    polygons = [np.roll(each.polygon, 1, axis=0) for each in lying.words]
    return cut_words(np.ascontiguousarray(np.rot90(page, turns)), orient_detections(polygons, [1.0] * 4, "word"))


@pytest.mark.parametrize(("turns", "expected"), [(0, 0), (1, 3), (2, 0), (3, 1)])
def test_a_few_words_tell_how_a_page_lies_whose_words_stand_on_end(turns, expected):
    shown = []

    def read(crops):
        shown.extend(crops)
        return surely_from_dark_to_light(crops)

    assert turns_of_standing(shaded_words(turns), read) == expected
    assert len(shown) == (8 if expected else 0), "other pages cost nothing"


def test_words_that_read_alike_both_ways_or_are_no_words_do_not_tell():
    surely = [Recognition("8008", 0.9, (0.95,) * 4)]
    assert turns_of_standing(shaded_words(1), lambda crops: surely * len(crops)) == 0
    assert turns_of_standing(shaded_words(1, size=(35, 30)), surely_from_dark_to_light) == 0
    assert turns_of_standing(shaded_words(0) + shaded_words(1), surely_from_dark_to_light) == 0
    assert turns_of_standing([], surely_from_dark_to_light) == 0


@pytest.mark.parametrize("failure", [None, ValueError("out of order")])
@pytest.mark.parametrize("turns", [2, 3])
def test_where_the_turned_page_gives_nothing_the_words_stay_that_were_there(turns, failure):
    regions = shaded_words(turns)
    seen = []

    def detect(pages):
        seen.append(pages)
        if len(seen) == 1:
            return [orient_detections([region.polygon for region in regions], [1.0] * 4, "word")]
        if failure:
            raise failure
        return [orient_detections([], [], "word")]

    (page,) = Reader(detect, surely_from_dark_to_light).read(regions[0].page)
    assert len(seen) == 2, "the page was turned"
    assert [each.text for each in page.words] == ["word"] * 4
    assert page.error is None


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
