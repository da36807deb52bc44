"""Letters whose small and large form look alike: their size beside other words tells which one it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["SeenWord", "settle_case"]

# Small and large, they differ in nothing but size.
_ALIKE = frozenset("cosuvwxz")
# Words with one of these are not as high as a capital: they hang below the line or rise above it.
_UNEVEN = frozenset("gjpqyJQ,;()[]{}|/\\$@_'\"^`~*")
# Words of these alone are as high as a small letter.
_SMALL = frozenset("acemnorsuvwxz")
# A letter at least this high beside a capital is one, and one of at most so much is small; in between it stays.
_LARGE_FROM, _SMALL_TO = 0.88, 0.83
# A small letter's height beside a capital's, where only small ones are there to compare with.
_X_HEIGHT = 0.73
# So many of the nearest words are compared with, where the line has none; they must be read this well.
_NEAREST, _SURE = 6, 0.8
# An upright oval this narrow is a zero, and one so wide the letter ...
_ZERO, _LETTER = 0.78, 0.85
# ... unless it is lower than this, in pixels, so that its width is uncertain, and most of the words nearest to it, so
# many, are numbers.
_COARSE, _NEIGHBOURS = 16, 4


@dataclass(frozen=True, eq=False)
class SeenWord:
    """A word as it was read, and what it looks like.

    Attributes:
        reading: what it says.
        crop: uint8 (h, w, 3) or (h, w), upright, at the scale of its page.
        middle: of it on the page, (2,) pixels.
        line: of words of one line the same number.
    """

    reading: Recognition
    crop: np.ndarray
    middle: np.ndarray
    line: int


def settle_case(words: Sequence[SeenWord]) -> Mapping[int, Recognition]:
    """Settle whether words made of c, o, s, u, v, w, x, z alone are in capitals, and whether an o is a zero.

    Args:
        words: of a page.

    Returns:
        the readings that change, by their words' indices
    """
    open_ones = [index for index, word in enumerate(words) if _is_open(word.reading.text)]
    if not open_ones:
        return {}
    capital: dict[int, float] = {}  # the height of a capital, as each word that tells it does
    for index, word in enumerate(words):
        share = _share_of_capital(word.reading.text)
        if share and word.reading.confidence >= _SURE and (shape := _largest_shape(word.crop)):
            capital[index] = shape[1] / share
    changed = {}
    for index in open_ones:
        word = words[index]
        beside = [height for other, height in capital.items() if words[other].line == word.line]
        if not beside:
            near = sorted(capital, key=lambda other: float(np.hypot(*(words[other].middle - word.middle))))
            beside = [capital[other] for other in near[:_NEAREST]]
        shape = _largest_shape(word.crop)
        if shape and beside:
            zero = shape[1] < _COARSE and _is_among_numbers(index, words)
            text = _with_case(word.reading.text, *shape, float(np.median(beside)), zero)
            if text != word.reading.text:
                changed[index] = replace(word.reading, text=text)
    return changed


def _letters(text: str) -> str:
    return text.rstrip(".:").replace("0", "o")


def _is_open(text: str) -> bool:
    letters = _letters(text)
    same = letters == letters.lower() or letters == letters.upper() or len(letters) == 1
    return (
        bool(letters)
        and len(letters) <= 3
        and same
        and set(letters.lower()) <= _ALIKE
        and text.count("0") in (0, len(letters) == 1)
    )


def _share_of_capital(text: str) -> float:
    """How high a word is beside a capital; 0 where it does not tell."""
    if not text or set(text) & _UNEVEN or _is_open(text) or not any(map(str.isalnum, text)):
        return 0.0
    if set(text.rstrip(".")) <= _SMALL:
        return _X_HEIGHT
    return 1.0 if any(char.isupper() or char.isdigit() or char in "bdfhkl" for char in text) else 0.0


def _is_among_numbers(index: int, words: Sequence[SeenWord]) -> bool:
    """Whether most of the words around one are numbers; others like it tell nothing."""
    others = [other for other, word in enumerate(words) if other != index and not _is_open(word.reading.text)]
    nearest = sorted(others, key=lambda other: float(np.hypot(*(words[other].middle - words[index].middle))))
    texts = [words[other].reading.text for other in nearest[:_NEIGHBOURS]]
    return 2 * sum(any(map(str.isdigit, text)) and not any(map(str.isalpha, text)) for text in texts) > _NEIGHBOURS


def _with_case(text: str, width: int, height: int, capital: float, zero: bool) -> str:
    ratio = height / capital
    letters = _letters(text)
    if zero and letters.lower() == "o":
        return text.replace(text[0], "0", 1)
    if ratio <= _SMALL_TO:
        return text.replace("0", "o").lower()
    if ratio < _LARGE_FROM:
        return text
    if letters.lower() == "o":
        if width <= _ZERO * height:
            return text.replace(text[0], "0", 1)
        if width >= _LETTER * height:
            return text.replace(text[0], "O", 1)
        return text if text[0] == "0" else text.upper()
    return text.upper()


def _largest_shape(crop: np.ndarray) -> tuple[int, int] | None:
    """Width and height of the tallest connected shape that ink makes in a crop, leaving out what runs off it."""
    import cv2

    if min(crop.shape[:2]) < 4:
        return None
    ink = ink_of(crop)
    stats = cv2.connectedComponentsWithStats(ink, connectivity=8)[2][1:]
    rows, columns = ink.shape
    inside = [
        (int(width), int(height))
        for left, top, width, height, _ in stats
        if top > 0 and top + height < rows and left > 0 and left + width < columns
    ]
    return max(inside, key=lambda size: size[1], default=None)


def ink_of(crop: np.ndarray) -> np.ndarray:
    """Return where a crop shows ink rather than ground: uint8 (h, w), 1 and 0; ink is the rarer of the two."""
    import cv2

    grey = np.ascontiguousarray(crop if crop.ndim == 2 else crop.max(axis=2) // 2 + crop.min(axis=2) // 2)
    _, ink = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return 1 - ink if 2 * int(ink.sum()) > ink.size else ink
