"""A page turned and flattened until its lines of text are level, so that they can be compared by their height."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clip4str_plugin.geometry.grouping import Runs

__all__ = ["LevelWords", "level_words", "text_direction"]

# Words that turn from the page's direction by more than the angle of this cosine run another way ...
_LEVEL = 0.75
# ... if they are at least this long, in heights: the direction of shorter ones is uncertain.
_LONG = 1.6
# A line runs the page's way if more than this share of its words do.
_MOST = 0.8
# Words come with this margin to the left and right, in heights, or miss their true place by so much.
_MARGIN = 0.08
# Half the width of the peak of directions, and how near to it a word's must be to count, in degrees.
_PEAK, _NEAR = 20, 25
# How far flattening may go, as standard deviations in shares of half the page's size: slope, bend, and perspective;
# and by how many heights the ends of a line miss its true place.
_SLOPE, _BEND, _CONVERGENCE, _NOISE = 0.1, 0.03, 0.05, 0.15


@dataclass(frozen=True, eq=False)
class LevelWords:
    """Words in a frame of their page where text runs to the right, and its lines are level; (N,) each.

    Attributes:
        left, right, top, bottom: the box around each word; left and right without the margin that words come with.
        middle: how far down the middle of the word lies.
        height: of the word's own polygon.
        level: whether it runs the page's way; where it does not, the rest says only where it is.
        number: whether it is a number.
    """

    left: np.ndarray
    right: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    middle: np.ndarray
    height: np.ndarray
    level: np.ndarray
    number: np.ndarray

    def runs_level(self, chain: Sequence[int]) -> bool:
        """Whether a line of words runs the page's way, from its start to its end."""
        return bool(self.level[list(chain)].mean() > _MOST)


def level_words(runs: Runs, chains: Sequence[Sequence[int]], texts: Sequence[str]) -> LevelWords:
    """Turn and flatten the words of a page.

    Args:
        runs: of the words.
        chains: lines of the indices of words.
        texts: one per word.
    """
    starts, ends, heights = runs.starts, runs.ends, runs.heights
    lengths = np.hypot(*(ends - starts).T)
    along = text_direction(ends - starts, heights)
    frame = np.stack([along, [-along[1], along[0]]])
    turned = (ends - starts) @ along >= _LEVEL * lengths
    level = turned | (lengths < _LONG * heights)
    for chain in chains:  # a short word runs as its line does
        length = float(np.hypot(*(ends[chain[-1]] - starts[chain[0]])))
        bent = runs.entering[chain[0]] @ runs.leaving[chain[-1]] < _LEVEL
        if len(chain) > 1 and length > 3 * heights[chain].max() and not bent:
            level[chain] = (ends[chain[-1]] - starts[chain[0]]) @ along >= _LEVEL * length

    counts = [len(outline) for outline in runs.outlines]
    points = np.concatenate(runs.outlines) @ frame.T
    begin, end = starts @ frame.T, ends @ frame.T
    bend = _flattening(begin, end, heights, [chain for chain in chains if level[chain].all()])
    points = np.stack([points[:, 0], bend(points)], axis=1)
    first = np.cumsum([0, *counts[:-1]])
    (left, top), (right, bottom) = (edge.reduceat(points, first, axis=0).T for edge in (np.minimum, np.maximum))
    return LevelWords(
        left=np.minimum(left + _MARGIN * heights, (left + right) / 2),
        right=np.maximum(right - _MARGIN * heights, (left + right) / 2),
        top=top,
        bottom=bottom,
        middle=bend((begin + end) / 2),
        height=heights,
        level=level,
        number=np.array([_is_number(text) for text in texts], dtype=bool),
    )


def text_direction(runs: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The direction that most of a page's text has.

    Args:
        runs: (N, 2), from the start of each word to its end, in pixels.
        heights: (N,) of the words.

    Returns:
        (2,) a unit vector.
    """
    lengths = np.hypot(*runs.T)
    # Words hardly longer than high may stand either way.
    weights = lengths * np.where(lengths >= _LONG * heights, 1.0, 0.05) + 1e-9
    degrees = np.degrees(np.arctan2(runs[:, 1], runs[:, 0]))
    votes = np.bincount(np.round(degrees).astype(int) % 360, weights, 360)
    window = np.hanning(2 * _PEAK + 3)[1:-1]
    peaks = np.convolve(np.concatenate([votes[-_PEAK:], votes, votes[:_PEAK]]), window, "valid")
    off = (degrees - int(peaks.argmax()) + 180) % 360 - 180
    near = np.abs(off) < _NEAR
    if not near.any():
        return np.array([1.0, 0.0])
    # The weighted median: a few slanted words do not turn it.
    order = np.argsort(off[near])
    reached = np.cumsum(weights[near][order])
    angle = np.radians(off[near][order][np.searchsorted(reached, reached[-1] / 2)] + int(peaks.argmax()))
    return np.array([np.cos(angle), np.sin(angle)])


def _flattening(
    begin: np.ndarray, end: np.ndarray, heights: np.ndarray, chains: Sequence[Sequence[int]]
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that takes places (N, 2) to how far down they are, so that both ends of a line are as far down.

    That is y plus a polynomial in x and y, fitted to the ends of all lines: skew, perspective and bent pages come out
    level. Lines that do not fit in lose their say (Huber's weights).
    """
    centre = (begin.mean(axis=0) + end.mean(axis=0)) / 2
    size = max(float(np.abs(np.concatenate([begin, end]) - centre).max()), 1.0)

    def terms(places: np.ndarray) -> np.ndarray:
        x, y = ((places - centre) / size).T
        return np.stack([x, x * x, x * y, x * x * y], axis=1)

    spread = np.array([_SLOPE, _BEND, _CONVERGENCE, _BEND]) * size
    first, last = ([chain[side] for chain in chains] for side in (0, -1))
    change = terms(end[last]) - terms(begin[first])
    drop = end[last][:, 1] - begin[first][:, 1]
    noise = _NOISE * heights[first]
    weights = np.ones(len(chains))
    bend = np.zeros(4)
    for _ in range(6):
        scaled = change * (weights / noise)[:, None]
        matrix = scaled.T @ (change / noise[:, None]) + np.diag(1 / spread**2)
        bend = -np.linalg.solve(matrix, scaled.T @ (drop / noise))
        off = np.abs(drop + change @ bend) / noise
        weights = np.minimum(1.0, 1.5 / np.maximum(off, 1e-9))

    return lambda places: places[:, 1] + terms(places) @ bend


def _is_number(text: str) -> bool:
    """Whether at least half of the letters and digits are digits."""
    signs = [char for char in text if char.isalnum()]
    return bool(signs) and 2 * sum(char.isdigit() for char in signs) >= len(signs)
