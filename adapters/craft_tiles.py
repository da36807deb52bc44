"""Where CRAFT looks: the places of a page that may hold text, each at the size at which CRAFT reads best.

CRAFT costs several hundred times as much a pixel as what finds such places, and most of a photo holds no text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["CANVAS", "Tile", "place_tiles", "plan_tiles"]

# A point of the map of text lines above this may be text, and a spot of such points may if it has one above that.
_MAYBE, _PEAK = 0.05, 0.1
# A point above this is text; spots of fewer points are noise.
_CLEARLY, _SMALLEST_LINE = 0.2, 6
# Where a spot is so many times as high as a line in it, it runs over several lines.
_SEVERAL = 2.0
# The map shows the inner part of lines: text is so many times as high.
_SHRUNK = 1.8
# Text is brought to this height, in pixels of the canvas, by factors within the limits.
_HEIGHT = 26.0
_SMALLEST_SCALE, _LARGEST_SCALE = 0.15, 2.0
# What lies around a place goes with it, in heights of its text.
_CONTEXT = 1.0
# Places are joined if the rectangle around both has at most so many times their area.
_JOIN = 1.1
# The side of a canvas in pixels. All are of one size, for which a network needs half the memory, and can be made once.
CANVAS = 512
# Places are cut so that each fits on a canvas, with so much overlap, and lie so far apart on it that they do not
# change what is found in each other.
_OVERLAP, _GAP = 128, 16


@dataclass(frozen=True)
class Tile:
    """A rectangle of the page.

    Attributes:
        left: first column, in pixels of the page.
        top: first row.
        right: column behind the last.
        bottom: row behind the last.
        scale: by which it is enlarged.
        x: where it lies on its canvas, once it is placed.
        y: likewise.
    """

    left: int
    top: int
    right: int
    bottom: int
    scale: float
    x: int = 0
    y: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the canvas."""
        return (
            max(1, round((self.right - self.left) * self.scale)),
            max(1, round((self.bottom - self.top) * self.scale)),
        )

    def holds(self, other: Tile) -> bool:
        """Whether the other one lies within this one."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


def plan_tiles(text_map: np.ndarray, shape: tuple[int, ...]) -> list[Tile]:
    """Choose the places to look at, the whole page first.

    Args:
        text_map: (h, w) float32 in [0, 1] over the whole page: where a cheaper detector sees lines of text.
        shape: of the page, height and width first.
    """
    height, width = shape[:2]
    # Of words so large that no other place shows them.
    overview = Tile(0, 0, width, height, min(1.0, CANVAS / max(height, width)))
    tiles = [overview]
    for scale, places in _places_by_scale(text_map, width, height).items():
        whole = overview.scale >= scale
        tiles += [] if whole else [part for place in _merged(places) for part in _cut(place)]
    return tiles


def _places_by_scale(text_map: np.ndarray, width: int, height: int) -> dict[float, list[Tile]]:
    to_page = np.array([width / text_map.shape[1], height / text_map.shape[0]])
    places: dict[float, list[Tile]] = {}
    for spot in _spots(text_map):
        text_height = _SHRUNK * spot.height * float(to_page.mean())
        exponent = round(2 * np.log2(np.clip(_HEIGHT / text_height, _SMALLEST_SCALE, _LARGEST_SCALE)))
        margin = _CONTEXT * text_height
        (left, top), (right, bottom) = spot.low * to_page - margin, spot.high * to_page + margin
        place = Tile(
            max(0, int(left)), max(0, int(top)), min(width, int(right) + 1), min(height, int(bottom) + 1),
            2 ** (exponent / 2),
        )  # fmt: skip
        places.setdefault(place.scale, []).append(place)
    return places


@dataclass(frozen=True, eq=False)
class _Spot:
    """Where the map shows text.

    Attributes:
        low: its least column and row, (2,).
        high: the column and the row behind its last, (2,).
        height: of what the map shows of its lines, in points of the map.
    """

    low: np.ndarray
    high: np.ndarray
    height: float


def _spots(text_map: np.ndarray) -> list[_Spot]:
    """The places that may hold text; in place of one that runs over several lines, its lines."""
    import cv2

    spots = []
    count, labels, stats, _ = cv2.connectedComponentsWithStats((text_map > _MAYBE).astype(np.uint8))
    lines = _lines(text_map, labels)
    for label in range(1, count):
        x, y, w, h = (int(value) for value in stats[label][:4])
        inside = labels[y : y + h, x : x + w] == label
        if text_map[y : y + h, x : x + w][inside].max() < _PEAK:
            continue
        points = np.argwhere(inside)[:, ::-1].astype(np.float32)
        whole = _Spot(np.array((x, y)), np.array((x + w, y + h)), min(cv2.minAreaRect(points)[1]) + 1)
        lower = [line for line in lines.get(label, []) if line.height * _SEVERAL < whole.height]
        spots += lower
        if len(lower) < max(1, len(lines.get(label, []))):
            spots.append(whole)
    return spots


def _lines(text_map: np.ndarray, labels: np.ndarray) -> dict[int, list[_Spot]]:
    """What is clearly text, by the label of what it is a part of."""
    import cv2

    lines: dict[int, list[_Spot]] = {}
    count, parts, stats, _ = cv2.connectedComponentsWithStats((text_map > _CLEARLY).astype(np.uint8))
    for part in range(1, count):
        x, y, w, h, area = (int(value) for value in stats[part])
        if area < _SMALLEST_LINE:
            continue
        inside = parts[y : y + h, x : x + w] == part
        to_border = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)
        height = 2 * float(np.median(to_border[1:-1, 1:-1].max(axis=0 if w >= h else 1)))
        row, column = np.unravel_index(int(inside.argmax()), inside.shape)
        label = int(labels[y + row, x + column])
        lines.setdefault(label, []).append(_Spot(np.array((x, y)), np.array((x + w, y + h)), height))
    return lines


def _merged(places: list[Tile]) -> list[Tile]:
    """Join places of one scale that overlap, where that costs no more than looking at them one by one."""
    joined: list[Tile] = []
    for place in sorted(places, key=lambda place: (place.top, place.left)):
        while True:
            for index, other in enumerate(joined):
                both = _around(place, other)
                if _area(both) <= _JOIN * (_area(place) + _area(other)):
                    place = both
                    del joined[index]
                    break
            else:
                joined.append(place)
                break
    return joined


def _around(one: Tile, other: Tile) -> Tile:
    left, top = min(one.left, other.left), min(one.top, other.top)
    return Tile(left, top, max(one.right, other.right), max(one.bottom, other.bottom), one.scale)


def _area(tile: Tile) -> int:
    return (tile.right - tile.left) * (tile.bottom - tile.top)


def _cut(tile: Tile) -> list[Tile]:
    """Cut a place that is too large into parts that overlap."""
    largest, overlap = int(CANVAS / tile.scale), int(_OVERLAP / tile.scale)
    columns, rows = (
        _starts(tile.right - tile.left, largest, overlap),
        _starts(tile.bottom - tile.top, largest, overlap),
    )
    return [
        Tile(
            tile.left + x, tile.top + y, min(tile.right, tile.left + x + largest),
            min(tile.bottom, tile.top + y + largest), tile.scale,
        )
        for y in rows
        for x in columns
    ]  # fmt: skip


def _starts(length: int, largest: int, overlap: int) -> list[int]:
    if length <= largest:
        return [0]
    count = int(np.ceil((length - overlap) / (largest - overlap)))
    return [round(index * (length - largest) / (count - 1)) for index in range(count)]


def place_tiles(tiles: list[Tile]) -> list[list[Tile]]:
    """Lay tiles side by side on as few canvases as their sizes allow, in rows from the tallest to the lowest.

    Returns:
        the tiles of each canvas of ``CANVAS`` by ``CANVAS`` pixels.
    """
    canvases: list[list[Tile]] = []
    waiting = sorted(tiles, key=lambda tile: -tile.size[1])
    while waiting:
        canvas: list[Tile] = []
        top = 0
        while fitting := [tile for tile in waiting if top + tile.size[1] <= CANVAS]:
            left = 0
            for tile in fitting:
                if left + tile.size[0] <= CANVAS:
                    canvas.append(replace(tile, x=left, y=top))
                    waiting.remove(tile)
                    left += tile.size[0] + _GAP
            top += fitting[0].size[1] + _GAP
        canvases.append(canvas)
    return canvases
