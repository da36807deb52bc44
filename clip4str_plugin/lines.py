"""Lines of text: cut into words, and put together from words."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from clip4str_plugin.grouping import group_lines
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
