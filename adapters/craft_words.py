"""Words from CRAFT's maps of letters and links: quads, or polygons of more points along curved words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clip4str_adapters._bent_outlines import bent_outline
from clip4str_adapters._checks import check_number
from clip4str_plugin.geometry.polygons import order_quad

__all__ = ["MapWord", "Thresholds", "find_words"]

# Areas of fewer points than this are noise.
_SMALLEST = 10
# A word fills less than this share of the rectangle around it if it is curved, and its middle line leaves the chord by
# at least so many heights.
_STRAIGHT_FILL, _BEND = 0.85, 0.2
# Words at most this far from square are single letters or short ones: they get upright boxes.
_SQUARE = 1.1


@dataclass(frozen=True)
class Thresholds:
    """What counts as text in the maps; the values are those of the published code.

    Attributes:
        text: of the best point of a word.
        link: of the gap between letters of one word.
        low_text: of the points of a letter.
        grow: the border around a word that the maps leave out, as a multiple of what the published code adds.
    """

    text: float = 0.7
    link: float = 0.4
    low_text: float = 0.4
    grow: float = 1.0

    def __post_init__(self) -> None:
        for name in ("text", "link", "low_text"):
            check_number(name if name == "low_text" else f"{name}_threshold", getattr(self, name), 0, 1)


@dataclass(frozen=True, eq=False)
class MapWord:
    """A word in points of the maps.

    Attributes:
        polygon: (K, 2) float32, clockwise from the text's top left corner.
        score: of its best point, in [0, 1].
        height: of its letters.
    """

    polygon: np.ndarray
    score: float
    height: float


def find_words(text: np.ndarray, links: np.ndarray, thresholds: Thresholds) -> list[MapWord]:
    """Find the words in CRAFT's maps: letters that touch or are joined by links.

    Args:
        text: (H, W) float32, how central in a letter a point is.
        links: (H, W) float32, how central between two letters.
        thresholds: what counts.
    """
    import cv2

    is_text, is_link = text > thresholds.low_text, links > thresholds.link
    count, labels, stats, _ = cv2.connectedComponentsWithStats((is_text | is_link).astype(np.uint8), connectivity=4)
    is_gap = is_link & ~is_text
    words = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[label])
        if area < _SMALLEST:
            continue
        # The maps show the inner part of letters: as much as this has to be added.
        grow = int(thresholds.grow * 2 * np.sqrt(area * min(width, height) / (width * height)))
        x0, y0 = max(0, left - grow), max(0, top - grow)
        window = slice(y0, top + height + grow), slice(x0, left + width + grow)
        inside = labels[window] == label
        score = float(text[window][inside].max())
        letters = inside & ~is_gap[window]
        if score < thresholds.text or not letters.any():
            continue
        mask = cv2.dilate(letters.astype(np.uint8), np.ones((1 + grow, 1 + grow), np.uint8))
        points = np.argwhere(mask)[:, ::-1].astype(np.float32)
        quad = _quad(points)
        sides = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[1])
        straight = len(points) >= _STRAIGHT_FILL * (sides[0] + 1) * (sides[1] + 1)
        bent = None if straight else bent_outline(points, quad, bend=_BEND)
        polygon, word_height = (quad, float(sides[1])) if bent is None else bent
        words.append(MapWord((polygon + np.array([x0, y0])).astype(np.float32), min(score, 1.0), word_height))
    return words


def _quad(points: np.ndarray) -> np.ndarray:
    """The smallest rectangle around points, in reading order; upright if it is about square."""
    import cv2

    corners = cv2.boxPoints(cv2.minAreaRect(points))
    sides = np.linalg.norm(corners[1] - corners[0]) + 1e-5, np.linalg.norm(corners[2] - corners[1]) + 1e-5
    if max(sides) <= _SQUARE * min(sides):
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return order_quad(corners.astype(np.float64))
