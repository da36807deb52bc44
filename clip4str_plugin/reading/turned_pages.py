"""Pages that lie on their side or head: which way their text runs, and what was read on them, turned back.

Numbers, and words like `SIS`, read as surely upside down. On a turned page only the words beside them tell how they
stand, so that such a page is read once more, upright.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clip4str_plugin.page import Page, Word

__all__ = ["seen_upright", "turns_to_upright"]

# So many letters, and this share of all, must run the same way: a sign on end turns no photo that has other words.
_LETTERS, _MOST = 4, 2 / 3


def turns_to_upright(words: Sequence[Word]) -> int:
    """By how many quarter turns, anticlockwise, a page must be turned so that most of its words run to the right."""
    letters = [0, 0, 0, 0]
    for word in words:
        half = len(word.polygon) // 2
        along = word.polygon[half - 1] + word.polygon[half] - word.polygon[0] - word.polygon[-1]
        steep = abs(along[1]) > abs(along[0])
        turns = (1 if along[1] > 0 else 3) if steep else (0 if along[0] > 0 else 2)
        letters[turns] += sum(map(str.isalpha, word.text))
    most = max(letters)
    return letters.index(most) if most >= max(_LETTERS, _MOST * sum(letters)) else 0


def seen_upright(page: Page, turns: int, first: Page) -> Page:
    """A page that was read upright, back in the position in which it was read first, whose time counts as well."""
    height, width = (first.height, first.width) if turns == 2 else (first.width, first.height)

    def back(words: list[Word]) -> list[Word]:
        return [replace(word, polygon=_turned(word.polygon, -turns % 4, (height, width))) for word in words]

    seconds = {stage: first.seconds.get(stage, 0.0) + seconds for stage, seconds in page.seconds.items()}
    return replace(page, image=first.image, words=back(page.words), left_out=back(page.left_out), seconds=seconds)


def _turned(points: np.ndarray, turns: int, size: tuple[int, int]) -> np.ndarray:
    """Where points of a page of this height and width, (K, 2), lie when it is turned by quarters, anticlockwise."""
    (height, width), (x, y) = size, points.T
    x, y = ((x, y), (y, width - x), (width - x, height - y), (height - y, x))[turns]
    return np.stack([x, y], axis=1)
