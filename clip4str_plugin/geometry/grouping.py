"""Words put together into lines, at any angle and along curves, and lines into reading order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clip4str_plugin.geometry.text_strip import TextStrip

__all__ = ["group_lines"]

# Between the words of a line there is at most this blank, in heights of the smaller word.
_WIDEST_BLANK = 2.0
# Words of a line overlap by this much of the smaller one's height at most ...
_OVERLAP = 0.75
# ... stray this far from each other's middle, and a little more across a wide blank ...
_STRAY, _DRIFT = 0.45, 0.15
# ... turn by less than the angle of this cosine, and differ in height by less than this factor.
_SAME_DIRECTION = 0.8
_SAME_HEIGHT = 2.2


def group_lines(polygons: Sequence[Any]) -> list[list[int]]:
    """Put words into lines: each word is followed by the nearest one in front of its end, if that one agrees.

    Lines may lie at any angle and bend. They come from top to bottom, those side by side from left to right, as seen
    along the direction most of the text on the page has.

    Args:
        polygons: one a word, (K, 2) pixels each, clockwise from the text's own top left corner

    Returns:
        for each line the indices of its words in reading order

    >>> group_lines([[[60, 0], [90, 0], [90, 20], [60, 20]], [[0, 2], [50, 2], [50, 22], [0, 22]]])
    [[1, 0]]
    """
    if not len(polygons):
        return []
    strips = [TextStrip.of(polygon, "top-left") for polygon in polygons]
    starts, ends = (np.array([strip.end(side)[0] for strip in strips]) for side in (0, 1))
    leaving, entering = (np.array([strip.end(side)[1] for strip in strips]) for side in (1, 0))
    heights = np.array([strip.height for strip in strips])

    following, preceding = _neighbours(starts, ends, entering, leaving, heights)
    lines, count = [], len(strips)
    first = [index for index in range(count) if preceding[index] < 0 or following[preceding[index]] != index]
    seen = np.zeros(count, bool)
    # Words in a ring have no first one: any of them will do.
    for index in [*first, *range(count)]:
        line = []
        while index >= 0 and not seen[index]:
            seen[index] = True
            line.append(index)
            after = following[index]
            index = after if after >= 0 and preceding[after] == index else -1
        if line:
            lines.append(line)
    return _in_reading_order(lines, starts, ends, heights)


def _neighbours(
    starts: np.ndarray, ends: np.ndarray, entering: np.ndarray, leaving: np.ndarray, heights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each word the best one to follow it and the best one to precede it, -1 if there is none; (N,) int each."""
    import shapely

    reach = np.hypot(_WIDEST_BLANK, _STRAY + _DRIFT * _WIDEST_BLANK) * heights
    word, next_word = shapely.STRtree(shapely.points(starts)).query(shapely.points(ends), "dwithin", reach)
    blank = starts[next_word] - ends[word]
    # The direction half way from one word to the next is that of the line between them.
    between = leaving[word] + entering[next_word]
    between /= np.maximum(np.hypot(*between.T), 1e-9)[:, None]
    along = (blank * between).sum(axis=1)
    across = np.abs(blank[:, 0] * between[:, 1] - blank[:, 1] * between[:, 0])
    low = np.minimum(heights[word], heights[next_word])
    fits = (
        (word != next_word)
        & ((leaving[word] * entering[next_word]).sum(axis=1) > _SAME_DIRECTION)
        & (np.maximum(heights[word], heights[next_word]) < _SAME_HEIGHT * low)
        & (along > -_OVERLAP * low)
        & (along < _WIDEST_BLANK * low)
        & (across < _STRAY * low + _DRIFT * np.maximum(along, 0))
    )
    cost = np.abs(along) + 2 * across
    following, preceding = np.full(len(starts), -1), np.full(len(starts), -1)
    # The dearest first, so that the cheapest of each word is written last and stays.
    for pair in sorted(np.flatnonzero(fits), key=lambda pair: -cost[pair]):
        following[word[pair]], preceding[next_word[pair]] = next_word[pair], word[pair]
    return following, preceding


def _in_reading_order(
    lines: list[list[int]], starts: np.ndarray, ends: np.ndarray, heights: np.ndarray
) -> list[list[int]]:
    """Lines from top to bottom, and from left to right where their middles lie less than half a height apart."""
    runs = (ends - starts).sum(axis=0)
    length = np.hypot(*runs)
    # Text in all directions at once has none in common: the page's own then counts.
    common = runs / length if length > 0.5 * np.hypot(*(ends - starts).T).sum() else np.array([1.0, 0.0])
    down = np.array([-common[1], common[0]])
    places = [(starts[line].mean(axis=0) + ends[line].mean(axis=0)) / 2 for line in lines]
    order = sorted(range(len(lines)), key=lambda index: float(places[index] @ down))
    rows: list[list[int]] = []
    for index in order:
        tolerance = heights[lines[index]].mean() / 2
        if rows and (places[index] - places[rows[-1][0]]) @ down < tolerance:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [lines[index] for row in rows for index in sorted(row, key=lambda index: float(places[index] @ common))]
