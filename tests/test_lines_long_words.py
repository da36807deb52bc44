"""Long words are read in parts and joined without doubling or loss."""

import string
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin import Reader, load_model
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.line_reading import read_lines
from clip4str_plugin.reading.long_words import join_readings, read_long_codes, read_long_words
from clip4str_plugin.reading.recognizer import Recognition, Recognizer

CHARACTERS = string.digits + string.ascii_lowercase + ".-/:"
CELL, HEIGHT = 12, 20


def drawn(text):
    """A crop that says its text in its pixels: a column of one grey for each character, with blanks between."""
    crop = np.full((HEIGHT, CELL * len(text), 3), 255, np.uint8)
    for index, char in enumerate(text):
        crop[2:-2, index * CELL + 2 : (index + 1) * CELL - 2] = 3 * CHARACTERS.index(char)
    return crop


def recognize(crops, most=25, sure=0.9):
    """Reads such crops; at most so many characters, like the network."""
    readings = []
    for crop in crops:
        row = crop[HEIGHT // 2, :, 0].astype(int)
        ink = np.concatenate([[False], row < 255, [False]])
        starts = np.flatnonzero(ink[1:] & ~ink[:-1])
        text = "".join(CHARACTERS[row[start] // 3] for start in starts)[:most]
        readings.append(Recognition(text, sure, (sure,) * len(text)))
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


@pytest.mark.parametrize(
    ("text", "said", "doubt", "again"),
    [
        ("iec-624-3-3:2013", "iec-624-33:2013", 0.5, True),
        ("iec-624-3-3:2013", "iec-624-33:2013", 0.9, False),  # sure enough
        ("a-word-in-parts", "a-wordin-parts", 0.5, False),
        ("62443-3-3", "62443-33", 0.5, False),  # not squeezed much
    ],
)
def test_long_codes_with_a_doubtful_character_are_read_in_parts(text, said, doubt, again):
    sure = (doubt, *(0.9,) * (len(said) - 1))
    reading = Recognition(said, float(np.prod(sure)), sure)
    (found,) = read_long_codes([drawn(text)], [reading], recognize)
    assert found.text == (text if again else said)


def test_ragged_ends_are_left_out():
    parts = [Recognition("wonderful,", 0.9, (0.9,) * 10), Recognition("|fulness", 0.7, (0.7,) * 8)]
    joined = join_readings(parts, [(0, 100), (58, 138)])
    assert joined.text == "wonderfulness"
    assert joined.confidence == 0.7


def test_nothing_read_is_nothing():
    assert join_readings([Recognition("", 0.3, ())], [(0, 9)]) == Recognition("", 0.0, ())


def test_the_reader_reads_long_words_whole():
    """End to end, with the embedded model, from a word detector and from a line detector alike."""
    text = "https://github.com/opensource/project"
    font = ImageFont.load_default(40)
    page = Image.new("RGB", (900, 90), "white")
    ImageDraw.Draw(page).text((30, 20), text, fill="black", font=font)
    left, top, right, bottom = font.getbbox(text)
    box = np.array([[left + 24, top + 14], [right + 36, top + 14], [right + 36, bottom + 26], [left + 24, bottom + 26]])
    recognizer = Recognizer(load_model("tiny"))
    # At most 25 characters, and one more where it sees no end.
    assert len(recognizer([np.asarray(page)[box[0, 1] : box[2, 1], box[0, 0] : box[2, 0]]])[0].text) <= 26
    for granularity in ("word", "line"):
        found = Detections([box.astype(np.float32)], np.ones(1, np.float32), granularity)
        read = next(iter(Reader(lambda pages, found=found: [found], recognizer).stream([np.asarray(page)])))
        assert SequenceMatcher(None, "".join(word.text for word in read.words), text).ratio() > 0.9


def test_line_crops_hold_long_words_too():
    class Reads:
        def __call__(self, crops, color="rgb"):
            return recognize(crops, sure=0.99)  # doubtful words are read again, cut otherwise

    text = "0123456789" * 4
    (line,) = read_lines(Reads(), [drawn(text)])
    assert line.text == text
