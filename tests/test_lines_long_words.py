"""Long words are read in parts and joined without doubling or loss."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip4str_plugin.long_words import join_readings, read_long_words
from clip4str_plugin.recognizer import Recognition

CHARACTERS = string.digits + string.ascii_lowercase + ".-/:"
CELL, HEIGHT = 12, 20


def drawn(text):
    """A crop that says its text in its pixels: a column of one grey for each character, with blanks between."""
    crop = np.full((HEIGHT, CELL * len(text), 3), 255, np.uint8)
    for index, char in enumerate(text):
        crop[2:-2, index * CELL + 2 : (index + 1) * CELL - 2] = 3 * CHARACTERS.index(char)
    return crop


def recognize(crops, most=25):
    """Reads such crops; at most so many characters, like the network."""
    readings = []
    for crop in crops:
        row = crop[HEIGHT // 2, :, 0].astype(int)
        ink = np.concatenate([[False], row < 255, [False]])
        starts = np.flatnonzero(ink[1:] & ~ink[:-1])
        text = "".join(CHARACTERS[row[start] // 3] for start in starts)[:most]
        readings.append(Recognition(text, 0.9, (0.9,) * len(text)))
    return readings


def read(text):
    crops = [drawn(text)]
    return read_long_words(crops, recognize(crops), recognize)[0]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.text(CHARACTERS, min_size=26, max_size=90))
def test_long_words_come_out_whole(text):
    reading = read(text)
    assert reading.text == text
    assert len(reading.char_confidences) == len(text)


@pytest.mark.parametrize("text", ["0" * 30, "-12" * 12, "ab" * 20, "https://www.example.org/a/long/way/to/go.html"])
def test_repetitions_are_neither_doubled_nor_lost(text):
    assert read(text).text == text


def test_short_words_cost_nothing():
    def never(crops):
        raise AssertionError("no crop should be read again")

    crops = [drawn("short"), np.zeros((0, 5, 3), np.uint8)]
    readings = recognize([drawn("short"), drawn("a")])
    assert read_long_words(crops, readings, never) == readings


def test_ragged_ends_are_left_out():
    parts = [Recognition("wonderful,", 0.9, (0.9,) * 10), Recognition("|fulness", 0.7, (0.7,) * 8)]
    joined = join_readings(parts, [(0, 100), (58, 138)])
    assert joined.text == "wonderfulness"
    assert joined.confidence == 0.7


def test_nothing_read_is_nothing():
    assert join_readings([Recognition("", 0.3, ())], [(0, 9)]) == Recognition("", 0.0, ())
