"""Boxes of text from the maps of "Differentiable Binarization" networks (Liao et al., AAAI 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clip4str_adapters._bent_outlines import bent_outline
from clip4str_adapters._checks import check_number
from clip4str_plugin.errors import DetectorError

__all__ = ["BoxSettings", "find_boxes"]

# Boxes with a shorter side than this, in points of the map, are noise, and grown ones with one shorter than the second.
_SHORTEST, _SHORTEST_GROWN = 3, 5
# Lines at least this many times as long as high may be bent, as on the open page of a book: if they fill less than this
# share of the rectangle around them, and their middle line leaves the chord by at least so many heights.
_LONG, _STRAIGHT_FILL, _BEND = 2.0, 0.82, 0.12


@dataclass(frozen=True)
class BoxSettings:
    """How boxes are taken from a map; the names are those of RapidOCR's configuration.

    Attributes:
        thresh: a point above this is text.
        box_thresh: the mean that a box must have within.
        max_candidates: so many spots of text are looked at, the largest ones. RapidOCR's own limit, 1000 of any size
            from the bottom of the page, costs dense and speckled pages their top.
        unclip_ratio: boxes of the inner part of text are grown by this times their area over their circumference.
        use_dilation: join spots that are a point apart.
        score_mode: take the mean within the box, "fast", or within the outline of the spot, "slow".
    """

    thresh: float = 0.3
    box_thresh: float = 0.5
    max_candidates: int = 5000
    unclip_ratio: float = 1.6
    use_dilation: bool = True
    score_mode: Literal["fast", "slow"] = "fast"

    def __post_init__(self) -> None:
        check_number("thresh", self.thresh, 0, 1)
        check_number("box_thresh", self.box_thresh, 0, 1)
        check_number("unclip_ratio", self.unclip_ratio, 0, 10)
        check_number("max_candidates", self.max_candidates, 1, 1_000_000, whole=True)
        if self.score_mode not in ("fast", "slow"):
            raise DetectorError(f"score_mode is {self.score_mode!r}; it must be 'fast' or 'slow'")


def find_boxes(text_map: np.ndarray, settings: BoxSettings) -> tuple[list[np.ndarray], np.ndarray]:
    """Find the boxes of a map.

    Args:
        text_map: (h, w) float32 in [0, 1], how likely a point is in the inner part of text.
        settings: see there.

    Returns:
        N polygons in points of the map, float32, which may lie beyond its border: the four corners of a rectangle, or
        an outline of more points along text that is bent; and (N,) float32 means.
    """
    import cv2

    is_text: np.ndarray = (text_map > settings.thresh).astype(np.uint8)
    if settings.use_dilation:
        is_text = cv2.dilate(is_text, np.ones((2, 2), np.uint8))
    outlines, _ = cv2.findContours(is_text, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes, scores = [], []
    for outline in _largest(outlines, settings.max_candidates):
        inner = cv2.minAreaRect(outline)
        if min(inner[1]) < _SHORTEST:
            continue
        corners = cv2.boxPoints(inner)
        bent = _bent(outline[:, 0], corners, settings.unclip_ratio)
        slow = settings.score_mode == "slow" or bent is not None
        score = _mean_within(text_map, outline[:, 0] if slow else corners)
        if score < settings.box_thresh:
            continue
        grown = cv2.minAreaRect(_grown(corners, settings.unclip_ratio))
        if min(grown[1]) >= _SHORTEST_GROWN:
            boxes.append((cv2.boxPoints(grown) if bent is None else bent).astype(np.float32))
            scores.append(score)
    return boxes, np.array(scores, np.float32)


def _bent(outline: np.ndarray, corners: np.ndarray, unclip_ratio: float) -> np.ndarray | None:
    """The outline of a bent line, grown as a straight one would be; None if the line is straight."""
    import cv2

    width, height = np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[1])
    if max(width, height) < _LONG * min(width, height) or cv2.contourArea(outline) > _STRAIGHT_FILL * width * height:
        return None
    quad = np.roll(corners, 0 if width > height else -1, axis=0)
    low = outline.min(axis=0)
    mask = np.zeros((outline.max(axis=0) - low + 1)[::-1], np.uint8)
    cv2.fillPoly(mask, [outline - low], 1)
    points = np.argwhere(mask)[:, ::-1] + low.astype(np.float64)
    bent = bent_outline(points, quad, bend=_BEND, degree=3, border=unclip_ratio)
    return None if bent is None else bent[0]


def _largest(outlines: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """The outlines that enclose most, in their order."""
    import cv2

    if len(outlines) <= count:
        return list(outlines)
    largest = np.argsort([-cv2.contourArea(outline) for outline in outlines], kind="stable")[:count]
    return [outlines[index] for index in sorted(largest)]


def _mean_within(text_map: np.ndarray, polygon: np.ndarray) -> float:
    import cv2

    far = np.array(text_map.shape[::-1]) - 1
    low = np.clip(np.floor(polygon.min(axis=0)), 0, far).astype(int)
    high = np.clip(np.ceil(polygon.max(axis=0)), 0, far).astype(int)
    window = text_map[low[1] : high[1] + 1, low[0] : high[0] + 1]
    mask = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(mask, [(polygon - low.astype(np.float32)).astype(np.int32)], 1)
    return cv2.mean(window, mask)[0]


def _grown(corners: np.ndarray, ratio: float) -> np.ndarray:
    """Move the sides of a rectangle outwards, and round its corners."""
    import cv2
    import pyclipper

    offset = pyclipper.PyclipperOffset()
    offset.AddPath(corners, pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    return np.array(offset.Execute(cv2.contourArea(corners) * ratio / cv2.arcLength(corners, True))[0], np.int32)
