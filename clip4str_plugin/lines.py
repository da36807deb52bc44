"""Lines of text: cut into words, and put together from words."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clip4str_plugin.polygons import Start
from clip4str_plugin.strip import Strip

__all__ = ["group_lines", "split_lines"]

# A blank at least this wide, in shares of the height of the line, separates words.
_BLANK = 0.2


def split_lines(image: np.ndarray, line_polygons: Iterable[Any], *, start: Start = "any") -> list[list[np.ndarray]]:
    """Cut lines of text into words at their blanks.

    Args:
        image: page, uint8, (H, W) or (H, W, C), any colour order
        line_polygons: one polygon a line, (K, 2) pixels each
        start: what the first point of a polygon means, see `rectify`

    Returns:
        for each line its words in reading order, polygons (4, 2) float32, clockwise from the text's top left corner

    Raises:
        PolygonError, ImageError: as `rectify` does
    """
    return [_split_line(image, Strip.of(polygon, start)) for polygon in line_polygons]


def _split_line(image: np.ndarray, strip: Strip) -> list[np.ndarray]:
    crop = strip.crop(image)
    return [strip.polygon(left, right) for left, right in find_words(crop)]


def find_words(crop: np.ndarray) -> list[tuple[float, float]]:
    """Find the words of an upright line crop.

    Args:
        crop: uint8, (h, w) or (h, w, C)

    Returns:
        left and right end of each word, left to right, in shares of the width
    """
    import cv2

    height, width = crop.shape[:2]
    grey = crop if crop.ndim == 2 else crop.max(axis=2)
    _, ink = cv2.threshold(np.ascontiguousarray(grey), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if ink.mean() > 0.5:
        ink = 1 - ink
    columns = np.flatnonzero(ink.any(axis=0))
    if not len(columns):
        return [(0.0, 1.0)]
    breaks = np.flatnonzero(np.diff(columns) > max(2.0, _BLANK * height))
    starts = columns[np.concatenate([[0], breaks + 1])]
    ends = columns[np.concatenate([breaks, [len(columns) - 1]])] + 1
    return [(left / width, right / width) for left, right in zip(starts, ends)]


def group_lines(polygons: Sequence[Any]) -> list[list[int]]:
    """Put words into lines: words at any angle, lines from top to bottom, words in reading order.

    Args:
        polygons: one a word, (K, 2) pixels each, clockwise from the text's top left corner

    Returns:
        for each line the indices of its words
    """
    frames = [_Frame.of(polygon) for polygon in polygons]
    order = sorted(range(len(frames)), key=lambda index: tuple(frames[index].centre[::-1]))
    lines: list[list[int]] = []
    for index in order:
        best = min(lines, key=lambda line: _distance(frames, line, index), default=None)
        if best is None or _distance(frames, best, index) == np.inf:
            lines.append([index])
        else:
            best.append(index)
    for line in lines:
        direction = np.sum([frames[index].along for index in line], axis=0)
        line.sort(key=lambda index: float(frames[index].centre @ direction))
    return lines


class _Frame:
    """Centre, reading direction (unit), width and height of a word."""

    def __init__(self, centre: np.ndarray, along: np.ndarray, width: float, height: float):
        self.centre, self.along, self.width, self.height = centre, along, width, height

    @classmethod
    def of(cls, polygon: Any) -> "_Frame":
        strip = Strip.of(polygon, "top-left")
        left, right = (strip.top[0] + strip.bottom[0]) / 2, (strip.top[-1] + strip.bottom[-1]) / 2
        width, height = strip.size
        along = right - left
        return cls((left + right) / 2, along / max(np.hypot(*along), 1e-9), width, height)


def _distance(frames: list[_Frame], line: list[int], index: int) -> float:
    """Blank between a word and the nearest word of a line, infinite if the word does not stand on that line."""
    word, best = frames[index], np.inf
    for other in (frames[member] for member in line):
        if word.along @ other.along < 0.9 or not 0.5 < word.height / other.height < 2:
            continue
        offset = word.centre - other.centre
        along = abs(offset @ other.along) - (word.width + other.width) / 2
        across = abs(offset[0] * other.along[1] - offset[1] * other.along[0])
        if across < 0.5 * min(word.height, other.height) and along < 2 * max(word.height, other.height):
            best = min(best, along)
    return best
