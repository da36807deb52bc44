"""Words put together into lines, at any angle and along curves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip4str_plugin.geometry.polygons import checked_polygon
from clip4str_plugin.geometry.text_strip import TextStrip

__all__ = ["Runs", "group_lines"]

# Between the words of a line there is at most this blank, in heights of the smaller word.
_WIDEST_BLANK = 2.0
# Words of a line overlap by this much of the smaller one's height at most ...
_OVERLAP = 0.75
# ... stray this far from each other's middle, and a little more across a wide blank ...
_STRAY, _DRIFT = 0.45, 0.15
# ... turn by less than the angle of this cosine, and differ in height by less than this factor.
_SAME_DIRECTION = 0.8
_SAME_HEIGHT = 2.2


@dataclass(frozen=True, eq=False)
class Runs:
    """Where words begin and end on a page, (N, 2) each, and how high they are, (N,), in pixels.

    Attributes:
        starts, ends: the middles of their left and right ends.
        entering, leaving: the direction of reading there, unit vectors.
        heights: how high they are.
        outlines: N polygons (K, 2).
    """

    starts: np.ndarray
    ends: np.ndarray
    entering: np.ndarray
    leaving: np.ndarray
    heights: np.ndarray
    outlines: list[np.ndarray]

    @classmethod
    def of(cls, polygons: Sequence[Any]) -> Runs:
        """The runs of polygons (K, 2), clockwise from the text's own top left corner.

        Raises:
            PolygonError: a polygon is malformed.
        """
        outlines = [checked_polygon(polygon) for polygon in polygons]
        values = np.empty((len(outlines), 9))
        quads = [index for index, outline in enumerate(outlines) if len(outline) == 4]
        corners = np.stack([outlines[index] for index in quads]) if quads else np.empty((0, 4, 2))
        starts, ends = (corners[:, 0] + corners[:, 3]) / 2, (corners[:, 1] + corners[:, 2]) / 2
        along = (ends - starts) / np.maximum(np.linalg.norm(ends - starts, axis=1), 1e-9)[:, None]
        heights = np.linalg.norm(corners[:, [3, 2]] - corners[:, [0, 1]], axis=2).mean(axis=1)
        values[quads] = np.concatenate([starts, ends, along, along, heights[:, None]], axis=1)
        for index in set(range(len(outlines))) - set(quads):
            strip = TextStrip.of(outlines[index], "top-left")
            (start, entering), (end, leaving) = strip.end(0), strip.end(1)
            values[index] = np.concatenate([start, end, entering, leaving, [strip.height]])
        return cls(values[:, :2], values[:, 2:4], values[:, 4:6], values[:, 6:8], values[:, 8], outlines)

    def take(self, indices: list[int]) -> Runs:
        """Some of them."""
        return Runs(
            self.starts[indices],
            self.ends[indices],
            self.entering[indices],
            self.leaving[indices],
            self.heights[indices],
            [self.outlines[index] for index in indices],
        )


def group_lines(words: Runs, lines: Sequence[int] | None = None) -> list[list[int]]:
    """Put words into lines: each word is followed by the nearest one in front of its end, if that one agrees.

    Lines may lie at any angle and bend.

    Args:
        words: of a page
        lines: for each word the number of the line it was cut from, where a detector found lines; words of one line
            stay together, whatever is between them

    Returns:
        for each line the indices of its words in reading order; the lines in no order

    >>> words = [[60, 0], [90, 0], [90, 20], [60, 20]], [[0, 2], [50, 2], [50, 22], [0, 22]]
    >>> group_lines(Runs.of(words))
    [[1, 0]]
    """
    if not len(words.starts):
        return []
    following, preceding = _neighbours(words)
    if lines is not None:
        for before, after in _cut_apart(words, lines):
            following[before], preceding[after] = after, before
    chains, count = [], len(words.starts)
    first = [index for index in range(count) if preceding[index] < 0 or following[preceding[index]] != index]
    seen = np.zeros(count, bool)
    # Words in a ring have no first one: any of them will do.
    for index in [*first, *range(count)]:
        chain = []
        while index >= 0 and not seen[index]:
            seen[index] = True
            chain.append(index)
            after = int(following[index])
            index = after if after >= 0 and preceding[after] == index else -1
        if chain:
            chains.append(chain)
    return chains


def _cut_apart(words: Runs, lines: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of words that follow each other in the line they were cut from."""
    members: dict[int, list[int]] = {}
    for index, line in enumerate(lines):
        members.setdefault(line, []).append(index)
    for cut in members.values():
        # A line that turned out to run the other way was cut from its end to its start.
        steps = np.diff(words.starts[cut] + words.ends[cut], axis=0)
        forward = (steps * (words.ends - words.starts)[cut[:-1]]).sum() >= 0
        yield from itertools.pairwise(cut if forward else cut[::-1])


def _neighbours(words: Runs) -> tuple[np.ndarray, np.ndarray]:
    """For each word the best one to follow it and the best one to precede it, -1 if there is none; (N,) int each."""
    import shapely

    starts, ends, heights = words.starts, words.ends, words.heights
    entering, leaving = words.entering, words.leaving
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
