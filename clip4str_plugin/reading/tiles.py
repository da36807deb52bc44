"""Large pages: looked at whole and, where their text is small, closer and closer in overlapping tiles.

Detectors shrink a page to a longest side. What becomes too small to be found that way is found in tiles of the page at
a larger scale. What is too large for a tile is taken from the look before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from clip4str_plugin.errors import DetectorError
from clip4str_plugin.geometry.polygons import minimum_area_rectangle
from clip4str_plugin.reading.detectors import Detections, Detector

if TYPE_CHECKING:
    from shapely import Polygon

__all__ = ["detect_pages", "one_per_place"]

# The longest side, in pixels, that a detector is taken to look at without shrinking it, unless it says its `max_side`.
_MAX_SIDE = 2048
# Text lower than this, in pixels of what the detector looks at, may be missed. A page is looked at closer if this share
# of what was found is lower.
_LEGIBLE = 16
_SMALL_SHARE = 0.25
# Pages this much longer than wide are looked at closer whatever was found: shrunk to a strip, their text is lost.
_ELONGATED = 3.0
# Pages shrunk more than this are as well: letters of ordinary size in a scan leave no trace at all.
_SHRUNK = 1 / 3
# Pages are cut into no more tiles than this side by side: a strip of a few rows may have millions of columns, and each
# tile takes the time of one that is an eighth as high as wide.
_MOST_TILES = 100
# Neighbouring tiles share this part of the longest side; text higher than half of that may lie whole in no tile.
_OVERLAP = 0.2
# Regions that come so close to the border of their tile, in pixels of the tile, may go on behind it.
_BORDER = 8
# A region lies in another one if this share of its area does; it is part of it if it has this share of its height.
_WITHIN = 0.5
_SAME_HEIGHT = 0.5
# Two pieces of a line lie in one rectangle at most so many times as high as the higher one.
_COLLINEAR = 1.4


class _Cuttable(Protocol):
    @property
    def cut(self) -> bool: ...


FoundT = TypeVar("FoundT", bound=_Cuttable)


def detect_pages(detector: Detector, pages: Sequence[np.ndarray]) -> list[Detections]:
    """Find the text of pages of any size.

    Pages whose sides are within the detector's ``max_side`` (2048 if it has no such attribute) go to it as they are.
    Others are looked at again at up to twice the scale each time, a tile after the other.

    Args:
        detector: any detector. One that chooses among several is asked for the same one again (its method ``named``).
        pages: uint8 RGB arrays (H, W, 3), of any sizes.

    Raises:
        DetectorError: the detector gives too few or too many results.
    """
    found = _detect(detector, pages)
    limit = int(getattr(detector, "max_side", _MAX_SIDE))
    return [
        _look_closer(detector, page, whole, limit) if max(page.shape[:2]) > limit else whole
        for page, whole in zip(pages, found)
    ]


def _detect(detector: Detector, pages: Sequence[np.ndarray]) -> list[Detections]:
    found = list(detector(pages))
    if len(found) != len(pages):
        raise DetectorError(f"the detector gave {len(found)} results for {len(pages)} pages")
    return found


def _look_closer(detector: Detector, page: np.ndarray, whole: Detections, limit: int) -> Detections:
    """Replace what was found on the shrunk page as long as its text is small."""
    if whole.rivals is not None:  # a photo: its words were looked for at the scale that they need
        return whole
    named = getattr(detector, "named", None)
    if named is not None and whole.detector:
        detector = named(whole.detector)
    short, long = sorted(page.shape[:2])
    scale, found = limit / long, whole
    closest = min(1.0, _MOST_TILES * (1 - _OVERLAP) * limit / long)
    elongated = long >= _ELONGATED * short
    while scale < closest and (elongated or scale < _SHRUNK or _is_small(found, scale)):
        # As close as the shorter side allows costs an elongated page no more than another page.
        scale, elongated = min(closest, max(2 * scale, limit / short)), False
        found = _look_in_tiles(detector, page, found, scale, limit)
    return found


def _is_small(found: Detections, scale: float) -> bool:
    """Whether much of the text is too small to be found reliably at this scale."""
    return (
        len(found) > 0
        and float(np.quantile([_height(polygon) for polygon in found.polygons], _SMALL_SHARE)) * scale < _LEGIBLE
    )


def _look_in_tiles(detector: Detector, page: np.ndarray, before: Detections, scale: float, limit: int) -> Detections:
    import cv2

    overlap = _OVERLAP * limit / scale
    large = [index for index, polygon in enumerate(before.polygons) if _height(polygon) > overlap / 2]
    found = [_Found(before.polygons[index], float(before.scores[index]), False, -1) for index in large]
    lines = bool(large) and before.granularity == "line"
    for number, tile in enumerate(_plan(page.shape, limit / scale, overlap)):
        part = page[tile.top : tile.bottom, tile.left : tile.right]
        size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
        image = np.ascontiguousarray(part) if scale == 1 else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        (seen,) = _detect(detector, [image])
        lines |= seen.granularity == "line" and len(seen) > 0
        for polygon, score in zip(seen.polygons, seen.scores):
            placed = polygon * (part.shape[1] / size[0], part.shape[0] / size[1]) + (tile.left, tile.top)
            cut = tile.cuts(placed, page.shape, _BORDER / scale)
            found.append(_Found(placed.astype(np.float32), float(score), cut, number))
    kept = _settle(_join(_settle(found)))
    polygons, scores = [item.polygon for item in kept], np.array([item.score for item in kept], np.float32)
    return replace(before, polygons=polygons, scores=scores, granularity="line" if lines else "word")


@dataclass(frozen=True)
class _Tile:
    """A part of the page in its pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def cuts(self, polygon: np.ndarray, shape: tuple[int, ...], slack: float) -> bool:
        """Whether a region touches a border of the tile that is none of the page."""
        (left, top), (right, bottom) = polygon.min(axis=0), polygon.max(axis=0)
        return bool(
            (self.left > 0 and left < self.left + slack)
            or (self.top > 0 and top < self.top + slack)
            or (self.right < shape[1] and right > self.right - slack)
            or (self.bottom < shape[0] and bottom > self.bottom - slack)
        )


def _plan(shape: tuple[int, ...], side: float, overlap: float) -> Iterator[_Tile]:
    """Cover the page with equal tiles of at most this side that share at least the overlap."""
    for top, bottom in _spans(shape[0], side, overlap):
        for left, right in _spans(shape[1], side, overlap):
            yield _Tile(left, top, right, bottom)


def _spans(length: int, side: float, overlap: float) -> list[tuple[int, int]]:
    count = 1 if length <= side else math.ceil((length - overlap) / (side - overlap))
    span = min(float(length), (length + (count - 1) * overlap) / count)
    starts = [round(index * (span - overlap)) for index in range(count)]
    return [(start, min(length, start + math.ceil(span))) for start in starts]


@dataclass(frozen=True, eq=False)
class _Found:
    """A region in pixels of the page, whether the border of its tile may cut it, and the number of its tile."""

    polygon: np.ndarray
    score: float
    cut: bool
    tile: int

    @property
    def shape(self) -> Polygon:
        from shapely import Polygon

        return Polygon(self.polygon).buffer(0)


def _settle(found: list[_Found]) -> list[_Found]:
    """Keep one of the regions that different looks show in one place.

    A region that is filled by whole ones of less than half its height is several lines in one; these are kept.
    """
    heights = [_height(item.polygon) for item in found]
    return one_per_place(
        found,
        [item.shape for item in found],
        rivals=lambda this, other: found[this].tile != found[other].tile,
        part=lambda this, other: heights[other] < _SAME_HEIGHT * heights[this],
    )


def one_per_place(
    found: Sequence[FoundT],
    shapes: Sequence[Polygon],
    *,
    rivals: Callable[[int, int], bool] = lambda this, other: True,
    part: Callable[[int, int], bool] = lambda this, other: True,
) -> list[FoundT]:
    """Keep one of the regions that lie in one place: whole ones before cut ones, then larger ones.

    Args:
        found: the regions; what is ``cut`` may go on behind the border of its tile.
        shapes: what they cover.
        rivals: whether only one of two, given by their indices, may stay.
        part: whether the second, that lies in the first, is part of it. A region filled by whole parts gives way.
    """
    from shapely import STRtree

    sized = (index for index, shape in enumerate(shapes) if shape.area >= 1)
    order = sorted(sized, key=lambda index: (found[index].cut, -shapes[index].area))
    rank = {index: place for place, index in enumerate(order)}
    tree = STRtree(shapes)
    gone: set[int] = set()
    for index in order:
        if index in gone:
            continue
        near = (int(other) for other in tree.query(shapes[index]))
        later = [i for i in near if rank.get(i, -1) > rank[index] and i not in gone and rivals(index, i)]
        shares = {i: float(shapes[i].intersection(shapes[index]).area) for i in later}
        inside = [i for i in later if shares[i] > _WITHIN * shapes[i].area]
        parts = [i for i in inside if not found[i].cut and part(index, i)]
        if sum(shares[i] for i in parts) > _WITHIN * shapes[index].area:
            gone.add(index)
        else:
            gone.update(inside)
    return [found[index] for index in sorted(order) if index not in gone]


def _join(found: list[_Found]) -> list[_Found]:
    """Put the pieces of lines together that are longer than neighbouring tiles overlap."""
    from shapely import STRtree

    shapes = [item.shape for item in found]
    tree = STRtree(shapes)
    pieces: list[_Found | None] = list(found)
    owner = list(range(len(found)))

    def root(index: int) -> int:
        while owner[index] != index:
            index = owner[index]
        return index

    for index, item in enumerate(found):
        if not item.cut:
            continue
        for other in sorted(int(i) for i in tree.query(shapes[index], predicate="intersects")):
            first, second = root(index), root(other)
            a, b = pieces[first], pieces[second]
            if first == second or a is None or b is None or found[other].tile == item.tile:
                continue
            joined = _joined(a, b)
            if joined is not None:
                pieces[first], pieces[second], owner[second] = joined, None, first
    return [piece for piece in pieces if piece is not None]


def _joined(a: _Found, b: _Found) -> _Found | None:
    """One region in place of two that lie along one line."""
    corners = minimum_area_rectangle(np.concatenate([a.polygon, b.polygon])).astype(np.float32)
    if _height(corners) > _COLLINEAR * max(_height(a.polygon), _height(b.polygon)):
        return None
    longer = max(a, b, key=lambda item: item.shape.area)
    # The corners run clockwise; the first edge is that along the top of the text.
    along = longer.polygon[1] - longer.polygon[0]
    first = int(np.argmax((np.roll(corners, -1, axis=0) - corners) @ along))
    return _Found(np.roll(corners, -first, axis=0), longer.score, False, -2)


def _height(polygon: np.ndarray) -> float:
    """The shorter side of the smallest rectangle around a region."""
    import cv2

    return float(min(cv2.minAreaRect(np.ascontiguousarray(polygon, np.float32))[1]))
