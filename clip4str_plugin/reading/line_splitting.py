"""Lines of text cut into words at their blanks."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clip4str_plugin.geometry.grouping import group_lines
from clip4str_plugin.geometry.polygons import Start
from clip4str_plugin.geometry.text_strip import TextStrip

__all__ = ["find_words", "group_lines", "split_lines"]

# An answer above this is a word, one below a blank.
_WORD = 0.55
# Words get this margin on both sides, in heights, but never more than half of a blank.
_MARGIN = 0.08
# Words that cover less than this share of a line longer than so many heights are chance: it stays one word.
_FEWEST, _LONG = 0.15, 4.0
# Crops in one pass, and columns in it: memory does not grow with the number or length of lines.
_BATCH, _COLUMNS = 32, 40_000


def split_lines(image: np.ndarray, line_polygons: Iterable[Any], *, start: Start = "any") -> list[list[np.ndarray]]:
    """Cut lines of text into words at their blanks.

    Args:
        image: page, uint8, (H, W) or (H, W, C), any colour order
        line_polygons: one polygon a line, (K, 2) pixels each, straight or curved
        start: what the first point of a polygon means, see `rectify`

    Returns:
        for each line its words in reading order, polygons (K, 2) float32, clockwise from the text's top left corner;
        four points each on straight lines. A line in which nothing looks like text stays one word.

    Raises:
        PolygonError, ImageError: as `rectify` does
    """
    strips = [TextStrip.of(polygon, start) for polygon in line_polygons]
    found = find_words_in([strip.crop(image) for strip in strips])
    return [[strip.polygon(left, right) for left, right in words] for strip, words in zip(strips, found)]


def find_words(crop: np.ndarray) -> list[tuple[float, float]]:
    """Find the words of an upright line crop.

    Args:
        crop: uint8, (h, w) or (h, w, C), any colour order

    Returns:
        left and right end of each word, left to right, in shares of the width
    """
    return find_words_in([crop])[0]


def find_words_in(crops: Sequence[np.ndarray]) -> list[list[tuple[float, float]]]:
    """Find the words of several line crops, see `find_words`; lines of like length share a pass."""
    from clip4str_plugin.reading.splitter import HEIGHT, STRIDE, splitter_answers, to_strip

    found: list[list[tuple[float, float]]] = [[] for _ in crops]
    order = sorted(range(len(crops)), key=lambda index: crops[index].shape[1] / crops[index].shape[0])
    while order:
        # The longest first: it says how many fit.
        longest = to_strip(crops[order[-1]]).shape[2]
        batch = [order.pop() for _ in range(min(len(order), _BATCH, max(1, _COLUMNS // longest)))]
        strips = [to_strip(crops[index]) for index in batch]
        padded = np.stack([np.pad(s, ((0, 0), (0, 0), (0, longest - s.shape[2])), mode="edge") for s in strips])
        answers = splitter_answers(padded)
        for index, strip, answer in zip(batch, strips, answers):
            height, width = crops[index].shape[:2]
            columns = width * HEIGHT / height / STRIDE
            found[index] = _spans(answer[: strip.shape[2] // STRIDE], columns, HEIGHT / STRIDE)
    return found


def _spans(answer: np.ndarray, columns: float, height: float) -> list[tuple[float, float]]:
    """Words from the network's answers.

    Args:
        answer: (n,) from 0, a blank, to 1, a word
        columns: width of the line in answers
        height: of the line, in answers

    Returns:
        left and right end of each word in shares of the width
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], answer > _WORD, [False]]).astype(np.int8)))
    spans = [(float(left), float(right)) for left, right in edges.reshape(-1, 2)]
    covered = sum(right - left for left, right in spans) / columns
    if not spans or (covered < _FEWEST and columns > _LONG * height):
        return [(0.0, 1.0)]
    blanks = [after[0] - before[1] for before, after in itertools.pairwise(spans)]
    room, margin = [columns, *blanks, columns], _MARGIN * height
    return [
        (
            max(0.0, left - min(margin, room[number] / 2)) / columns,
            min(columns, right + min(margin, room[number + 1] / 2)) / columns,
        )
        for number, (left, right) in enumerate(spans)
    ]
