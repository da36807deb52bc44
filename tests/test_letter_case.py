"""Letters that look alike, small and large, are told apart by their size beside others."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.reading.letter_case import SeenWord, settle_case
from clip4str_plugin.reading.recognizer import Recognition


def seen(drawn, read=None, line=0, at=0, size=32, confidence=0.95, colours=("white", "black")):
    """A word as a line detector cuts it: the whole height of its line."""
    read = read or drawn
    font = ImageFont.load_default(size)
    image = Image.new("RGB", (round(font.getlength(drawn)) + 12, round(1.4 * size)), colours[0])
    ImageDraw.Draw(image).text((6, 2), drawn, colours[1], font)
    return SeenWord(
        Recognition(read, confidence, (confidence,) * len(read)), np.asarray(image), np.array([at, 0.0]), line
    )


def settled(words):
    changed = settle_case(words)
    return [changed[index].text if index in changed else word.reading.text for index, word in enumerate(words)]


@pytest.mark.parametrize("letter", "CSVWXZ")
@pytest.mark.parametrize("colours", [("white", "black"), ("navy", "white")])
def test_size_tells_capitals_from_small_letters(letter, colours):
    words = [seen("Kent", colours=colours)]
    for drawn in (letter, letter.lower()):
        for read in (letter, letter.lower()):
            assert settled([*words, seen(drawn, read, colours=colours)])[1] == drawn


def test_initials_of_a_line():
    assert settled([seen("W.", "w."), seen("S.", "s."), seen("Baker")]) == ["W.", "S.", "Baker"]
    assert settled([seen("vs.", "VS."), seen("Baker")]) == ["vs.", "Baker"]


def test_the_own_line_counts_and_else_the_nearest_words():
    large = [seen("KING", size=60, line=number, at=5) for number in range(2, 9)]
    assert settled([*large, seen("Beth", at=100), seen("S", "s")])[-1] == "S"
    assert settled([*large, seen("Beth", at=100), seen("S", line=1)])[-1] == "s", "beside these it is small"


def test_small_letters_are_compared_with_small_ones():
    assert settled([seen("name"), seen("o", "O"), seen("x", "X")]) == ["name", "o", "x"]


def test_zero_is_narrow():
    assert settled([seen("Beth"), seen("0", "O"), seen("O", "0"), seen("o", "0")]) == ["Beth", "0", "O", "o"]


@pytest.mark.parametrize(("size", "expected"), [(10, "0"), (40, "O")])
def test_beside_numbers_an_o_of_few_pixels_is_a_zero(size, expected):
    numbers = [seen(text, size=size, at=10 * number) for number, text in enumerate(["12", "7", "305", "48"], 1)]
    for read in ("o", "O", "0"):
        assert settled([*numbers, seen("O", read, size=size), seen("Beth", size=size, at=90)])[4] == expected
    names = [seen(text, size=size, at=10 * number) for number, text in enumerate(["Ann", "Eva", "Jim", "48"], 1)]
    assert settled([*names, seen("O", size=size)])[4] == "O"


@pytest.mark.parametrize("word", ["AK", "Cc", "so-so", "7", "100", "", "XXVIII"])
def test_other_words_stay(word):
    assert settle_case([seen("Beth"), seen("s", word)]) == {}


@pytest.mark.parametrize(
    "beside", [[], [("gypsy", 0.95)], [("Beth", 0.3)]], ids=["alone", "hanging letters", "read badly"]
)
def test_without_anything_to_compare_with_the_reading_stays(beside):
    words = [seen(text, confidence=confidence) for text, confidence in beside]
    assert settle_case([*words, seen("s", "S")]) == {}


def test_crops_without_ink_are_harmless():
    blank = SeenWord(Recognition("s", 0.9, (0.9,)), np.full((20, 20, 3), 255, np.uint8), np.zeros(2), 0)
    tiny = SeenWord(Recognition("o", 0.9, (0.9,)), np.zeros((1, 2, 3), np.uint8), np.zeros(2), 0)
    assert settle_case([seen("Beth"), blank, tiny]) == {}
