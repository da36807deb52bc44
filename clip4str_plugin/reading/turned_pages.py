"""Pages that lie on their side or head: which way their text runs, and what was read on them, turned back.

Numbers, and words like `SIS`, read as surely upside down. On a turned page only the words beside them tell how they
stand, so that such a page is turned before it is read, or read once more if only that shows how it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.page import Page, Word
from clip4str_plugin.reading.orientation import stands_on_end
from clip4str_plugin.reading.views import certainty

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition
    from clip4str_plugin.reading.regions import Region

__all__ = ["seen_upright", "turns_of_standing", "turns_to_upright"]

# So many letters, and this share of all, must run the same way: a sign on end turns no photo that has other words.
_LETTERS, _MOST = 4, 2 / 3
# Words at least this many times as long as high tell whether they stand on end. So many of them, the largest, up to the
# second length, are read both ways; the right way is read this surely, and this much more surely than the other one.
_LONG, _TRIED, _LONGEST = 1.5, 8, 6.0
_WELL_READ, _CLEARER = 0.8, 0.2


def turns_of_standing(regions: Sequence[Region], recognize: Callable[[list[np.ndarray]], Sequence[Recognition]]) -> int:
    """By how many quarter turns, anticlockwise, a page must be turned on which the words stand on end.

    Args:
        regions: the words of a page.
        recognize: reads crops; a ``Recognizer``, say.

    Returns:
        1 or 3; 0 where they do not, or where a few of them do not show whether they run up or down
    """
    words = [region for region in regions if region.likely and _length(region) >= _LONG]
    standing = [region for region in words if stands_on_end(region.polygon)]
    tried = [region for region in standing if _length(region) <= _LONGEST]
    tried = sorted(tried, key=lambda region: region.crop.size, reverse=True)[:_TRIED]
    if len(standing) < _MOST * len(words) or len(tried) < 2:
        return 0
    crops = [region.crop for region in tried]
    readings = recognize(crops + [np.ascontiguousarray(np.rot90(crop, 2)) for crop in crops])
    ways = readings[: len(crops)], readings[len(crops) :]
    sure = [float(np.mean([certainty(reading) for reading in way])) for way in ways]
    if max(sure) < _WELL_READ or max(sure) - min(sure) < _CLEARER:
        return 0
    down = np.median([_along(region.polygon)[1] for region in tried]) > 0
    return 1 if down == (sure[0] > sure[1]) else 3


def _length(region: Region) -> float:
    return region.crop.shape[1] / region.crop.shape[0]


def turns_to_upright(words: Sequence[Word]) -> int:
    """By how many quarter turns, anticlockwise, a page must be turned so that most of its words run to the right."""
    letters = [0, 0, 0, 0]
    for word in words:
        along = _along(word.polygon)
        steep = abs(along[1]) > abs(along[0])
        turns = (1 if along[1] > 0 else 3) if steep else (0 if along[0] > 0 else 2)
        letters[turns] += sum(map(str.isalpha, word.text))
    most = max(letters)
    return letters.index(most) if most >= max(_LETTERS, _MOST * sum(letters)) else 0


def _along(polygon: np.ndarray) -> np.ndarray:
    """The direction in which the text of a polygon runs, (2,)."""
    half = len(polygon) // 2
    return polygon[half - 1] + polygon[half] - polygon[0] - polygon[-1]


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
