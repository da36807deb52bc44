"""Strips of text on a page, straight or curved: their geometry, and their pixels straightened."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, get_args

import numpy as np

from clip4str_plugin.errors import ImageError, PolygonError
from clip4str_plugin.geometry.arc import fit_arc
from clip4str_plugin.geometry.curve import along_arc, long_sides, outline_of, paired_across
from clip4str_plugin.geometry.polygons import (
    Start,
    checked_polygon,
    from_complex,
    minimum_area,
    minimum_area_rectangle,
    order_quad,
    runs_forward,
    signed_area,
    to_complex,
)

__all__ = ["CurvedStrip", "StraightStrip", "TextStrip"]

# Larger crops are made smaller: for recognition they are more than enough, and OpenCV's warps stop at 32767 pixels.
_LARGEST_SIDE = 8192
_LARGEST_AREA = 1 << 22
# Sides that bend less than this share of the height are taken as straight.
_NEARLY_STRAIGHT = 0.04
# To circles an outline is fitted with more of its points than to windings: single ones do no harm there.
_FINE = 0.01
# A simple shape of which an outline fills this share explains it ...
_FILLED = 0.88
# ... and this one, if no winding ribbon does and the text is long.
_FAIRLY_FILLED = 0.65
# That takes text at least so many heights long, and an inner side that is at most so much shorter than the middle: a 7
# is no arc.
_LONG, _GENTLE = 4.0, 0.28
# The inner side of an arc must keep a third of the length of its middle, or letters are smeared.
_SQUEEZED = 0.7
# An upright box must be filled this well compared with the smallest turned one.
_LEVEL = 0.8
# A winding ribbon is at least so many heights long, and its height strays from a parabola by no more than this.
_SHORTEST, _UNEVEN = 1.7, 0.05
# Points along a curved side: pixels apart, and how many at least and at most.
_SPACING, _FEWEST, _MOST = 4, 24, 256


@dataclass(frozen=True)
class TextStrip(ABC):
    """A stretch of text on a page: its top and bottom side, both in reading direction.

    Attributes:
        top: (N, 2) float64 pixels, left to right along the text
        bottom: (N, 2), as many points, left to right too, each opposite the one of `top`
        drawn: whether it follows from an outline of more than four corners, which may cut through letters
    """

    top: np.ndarray
    bottom: np.ndarray
    drawn: bool = False

    @staticmethod
    def of(polygon: Any, start: Start = "any") -> "TextStrip":
        """The strip within a polygon.

        Args:
            polygon: (K, 2) pixels, K >= 3, any winding
            start: what the first point means, see `clip4str_plugin.rectify`

        Raises:
            PolygonError: the polygon is malformed or thinner than a pixel
            ValueError: there is no such start
        """
        if start not in get_args(Start):
            raise ValueError(f"start is {start!r}; known are {', '.join(get_args(Start))}")
        points = checked_polygon(polygon)
        top_left = points[0] if start == "top-left" else None
        fine = points if len(points) == 4 else outline_of(points, _FINE)
        outline = fine if len(fine) <= 4 else outline_of(fine)
        if len(outline) <= 4:
            strip: TextStrip = _straight(outline, top_left)
        else:
            strip = _of_outline(fine, outline, top_left)
        if min(strip.size) < 1:
            raise PolygonError("the polygon is thinner than a pixel: {:.2f} x {:.2f}".format(*strip.size))
        return strip

    @cached_property
    @abstractmethod
    def size(self) -> tuple[float, float]:
        """Width and height of the straightened text in pixels."""

    @cached_property
    def height(self) -> float:
        """Mean distance between top and bottom in pixels."""
        return float(np.abs(to_complex(self.bottom - self.top)).sum()) / len(self.top)

    def end(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Middle of the left (0) or right (1) end, and the direction of reading there, a unit vector; both (2,)."""
        middle = (self.top + self.bottom) / 2
        # Over half a height, for the very end of a curve is uncertain.
        reach = int(np.ceil((len(middle) - 1) * min(1.0, self.height / self.size[0] / 2)))
        chord = middle[-1] - middle[-1 - reach] if side else middle[reach] - middle[0]
        return middle[-side], chord / max(float(np.hypot(*chord)), 1e-9)

    @abstractmethod
    def at(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where on the page a point of the straightened text lies.

        Args:
            u: position along the text, 0 = left end, 1 = right end
            v: position across it, 0 = top, 1 = bottom, to be broadcast against `u`

        Returns:
            x and y in pixels, float64
        """

    @abstractmethod
    def on_page(self, width: int, height: int) -> np.ndarray:
        """Points (u, v) that bound the part of the strip on a page, (n, 2); n = 0 if none is on it."""

    @abstractmethod
    def polygon(self, left: float, right: float) -> np.ndarray:
        """The part from `left` to `right`, shares of the width, as (K, 2) float32, clockwise from its top left."""

    @abstractmethod
    def grown(self, left: float, upper: float, right: float, lower: float) -> "TextStrip":
        """The strip with margins around it, in heights."""

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Straighten the strip; see `clip4str_plugin.rectify`."""
        import cv2

        _check_page(image)
        left, upper, right, lower = self._visible(*image.shape[1::-1])
        width, height = self.size[0] * (right - left), self.size[1] * (lower - upper)
        # Text longer than the way round the page shows no more than this much would.
        longest = min(_LARGEST_SIDE, 2 * (image.shape[0] + image.shape[1]))
        scale = min(1.0, longest / max(width, height), (_LARGEST_AREA / (width * height)) ** 0.5)
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        # Pixel centres lie half a pixel inside the grid of the coordinates, in the crop as on the page.
        u = left + (right - left) * (np.arange(columns) + 0.5) / columns
        v = upper + (lower - upper) * (np.arange(rows) + 0.5) / rows
        x, y = self.at(u[None, :], v[:, None])

        # Only the part of the page in question, which may be too large for a warp as a whole.
        x0, x1 = _span(x, image.shape[1])
        y0, y1 = _span(y, image.shape[0])
        region = np.ascontiguousarray(image[y0:y1, x0:x1])
        if scale < 1:
            smaller = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
            region = cv2.resize(region, smaller, interpolation=cv2.INTER_AREA)
        zoom_x, zoom_y = region.shape[1] / (x1 - x0), region.shape[0] / (y1 - y0)
        map_x = (x * zoom_x - (x0 * zoom_x + 0.5)).astype(np.float32)
        map_y = (y * zoom_y - (y0 * zoom_y + 0.5)).astype(np.float32)
        crop = cv2.remap(region, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return crop.reshape(rows, columns, *image.shape[2:])

    def lies_on(self, width: int, height: int) -> bool:
        """Whether no point is farther outside of a page of this size than half the height of the text."""
        outline, beyond = np.concatenate([self.top, self.bottom]), self.height / 2
        return bool(outline.min() >= -beyond and (outline.max(axis=0) <= (width + beyond, height + beyond)).all())

    def _visible(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part worth cropping on a page of this size: left, upper, right, lower as shares of the strip."""
        if self.lies_on(width, height):
            return 0.0, 0.0, 1.0, 1.0
        inside = self.on_page(width, height)
        if not len(inside):
            raise PolygonError(f"the polygon lies outside the page of {width} x {height} pixels")
        (left, upper), (right, lower) = inside.min(axis=0), inside.max(axis=0)
        margin = (lower - upper) / 2
        upper, lower = upper - margin, lower + margin
        margin *= self.size[1] / self.size[0]
        left, right = left - margin, right + margin
        return max(0.0, left), max(0.0, upper), min(1.0, right), min(1.0, lower)


class StraightStrip(TextStrip):
    """Text between four corners, in the perspective they define; `top` and `bottom` have two points each."""

    @cached_property
    def size(self) -> tuple[float, float]:
        """The longer of each two opposite sides."""
        along = np.hypot(*np.stack([self.top[1] - self.top[0], self.bottom[1] - self.bottom[0]], axis=1))
        return float(along.max()), float(np.hypot(*(self.bottom - self.top).T).max())

    def at(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `TextStrip.at`."""
        (a, b, c), (d, e, f), (g, h, i) = self._perspective()
        weight = g * u + (h * v + i)
        return (a * u + (b * v + c)) / weight, (d * u + (e * v + f)) / weight

    def on_page(self, width: int, height: int) -> np.ndarray:
        """See `TextStrip.on_page`."""
        import cv2

        quad = np.concatenate([self.top, self.bottom[::-1]]).astype(np.float32)
        page = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
        area, inside = cv2.intersectConvexConvex(quad, page)
        if area < 1:
            return np.empty((0, 2))
        points = np.concatenate([inside.reshape(-1, 2), np.ones((len(inside), 1))], axis=1)
        points = points @ np.linalg.inv(self._perspective()).T
        return points[:, :2] / points[:, 2:]

    def polygon(self, left: float, right: float) -> np.ndarray:
        """See `TextStrip.polygon`."""
        x, y = self.at(np.array([left, right, right, left]), np.array([0, 0, 1, 1]))
        return np.stack([x, y], axis=1).astype(np.float32)

    def grown(self, left: float, upper: float, right: float, lower: float) -> "StraightStrip":
        """See `TextStrip.grown`."""
        share = self.size[1] / self.size[0]
        x, y = self.at(np.array([[-left * share, 1 + right * share]] * 2), np.array([[-upper] * 2, [1 + lower] * 2]))
        top, bottom = np.stack([x, y], axis=2)
        return StraightStrip(top, bottom, self.drawn)

    def _perspective(self) -> np.ndarray:
        """The perspective that takes the unit square to the corners, (3, 3).

        Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3.
        """
        (x0, y0), (x1, y1) = self.top
        (x3, y3), (x2, y2) = self.bottom
        dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
        dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
        determinant = dx1 * dy2 - dx2 * dy1
        if not determinant:  # three of them on one line: no perspective has them, the parallelogram of the others does
            sx = sy = 0.0
            determinant = 1.0
        g, h = (sx * dy2 - dx2 * sy) / determinant, (dx1 * sy - sx * dy1) / determinant
        return np.array([[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1]])


class CurvedStrip(TextStrip):
    """Text between two curved sides; opposite points are joined by straight lines across the text."""

    @cached_property
    def size(self) -> tuple[float, float]:
        """Length of the line in the middle, and the greatest distance across it."""
        top, bottom = to_complex(self.top), to_complex(self.bottom)
        middle = (top + bottom) / 2
        return float(np.abs(middle[1:] - middle[:-1]).sum()), float(np.abs(bottom - top).max())

    def at(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `TextStrip.at`."""
        place = u * (len(self.top) - 1)
        top, bottom = (np.interp(place, np.arange(len(side)), to_complex(side)) for side in (self.top, self.bottom))
        across = bottom - top
        return top.real + across.real * v, top.imag + across.imag * v

    def on_page(self, width: int, height: int) -> np.ndarray:
        """See `TextStrip.on_page`."""
        u = np.linspace(0, 1, 4097)
        x, y = self.at(u[:, None], np.array([[0, 1]]))
        # Between one place and the next the strip lies within the rectangle around both.
        corners = np.stack([x[:-1], x[1:], y[:-1], y[1:]], axis=1).reshape(-1, 2, 4)
        (left, top), (right, bottom) = corners.min(axis=2).T, corners.max(axis=2).T
        columns = np.flatnonzero((right > 0) & (bottom > 0) & (left < width) & (top < height))
        if not len(columns):
            return np.empty((0, 2))
        return np.array([[u[columns[0]], 0], [u[columns[-1] + 1], 1]])

    def polygon(self, left: float, right: float) -> np.ndarray:
        """See `TextStrip.polygon`."""
        # A point every third of the height follows any bend that text has.
        width, height = self.size
        u = np.linspace(left, right, 2 + min(_MOST, int(3 * (right - left) * width / height)))
        x, y = self.at(np.concatenate([u, u[::-1]]), np.repeat([0, 1], len(u)))
        return np.stack([x, y], axis=1).astype(np.float32)

    def grown(self, left: float, upper: float, right: float, lower: float) -> "CurvedStrip":
        """See `TextStrip.grown`; beyond its ends the text is taken to go straight on."""
        top, bottom = to_complex(self.top), to_complex(self.bottom)
        across = bottom - top
        before, after = left * self.height, right * self.height
        first, last = (complex(*self.end(side)[1]) for side in (0, 1))
        top, bottom = (
            np.concatenate([line[:1] - before * first, line, line[-1:] + after * last])
            for line in (top - upper * across, bottom + lower * across)
        )
        # Between its ends the text keeps its pace, which on a flag is not that of the line in its middle.
        width, shares = self.size[0], np.arange(len(across)) / (len(across) - 1)
        place = np.concatenate([[-before], shares * width, [width + after]])
        even = shares * (before + width + after) - before
        top, bottom = (from_complex(np.interp(even, place, line)) for line in (top, bottom))
        return CurvedStrip(top, bottom, self.drawn)


def _of_outline(fine: np.ndarray, outline: np.ndarray, top_left: np.ndarray | None) -> TextStrip:
    """The simplest strip that explains an outline of more than four points: straight, along a circle, or winding.

    Args:
        fine: with all points that matter, (K, 2)
        outline: with those alone that shape it, (K', 2), K' <= K
        top_left: the text's top left corner, (2,), if it is known
    """
    area = abs(signed_area(outline))
    straight_fill = area / max(minimum_area(outline), 1e-9)
    arc = fit_arc(fine)
    if arc is not None and (arc.squeeze > _SQUEEZED or arc.fill < straight_fill):
        arc = None
    if arc is not None and arc.fill >= _FILLED:
        return _curved(arc.top, arc.bottom, top_left)
    if straight_fill < _FILLED and (winding := _winding_sides(outline)) is not None:
        return _curved(*winding, top_left)
    if arc is not None and arc.fill > _FAIRLY_FILLED and arc.length > _LONG * arc.height and arc.squeeze < _GENTLE:
        return _curved(arc.top, arc.bottom, top_left)
    # What hugs one letter or two has no sides to follow: it is seen as it stands, or turned if it is clearly turned.
    box_fill = area / max(float(np.prod(np.ptp(outline, axis=0))), 1e-9)
    if box_fill < _LEVEL * straight_fill:
        return _straight(minimum_area_rectangle(outline), top_left, drawn=True)
    (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
    box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return _straight(box, box[0] if top_left is None else top_left, drawn=True)


def _straight(outline: np.ndarray, top_left: np.ndarray | None, drawn: bool = False) -> "StraightStrip":
    quad = order_quad(outline, top_left)
    return StraightStrip(quad[:2], quad[:1:-1], drawn)


def _winding_sides(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Both sides of a ribbon of any bend, paired; None if its height is too uneven for text."""
    sides = long_sides(outline)
    length = max(float(np.abs(np.diff(side)).sum()) for side in sides)
    count = min(max(int(length / _SPACING), _FEWEST), _MOST)
    shares = np.arange(count) / (count - 1)
    top, bottom = paired_across(*(along_arc(side, shares) for side in sides))
    height = np.abs(bottom - top)
    mean = float(height.mean())
    travelled = float(np.abs(np.diff(top + bottom)).sum()) / 2
    # Text may grow along its way, and vary as in a lens; what is left over are the letters that an outline hugs.
    parabolas = _parabolas(count)
    uneven = height - parabolas @ (parabolas.T @ height)
    if travelled < _SHORTEST * mean or (uneven**2).mean() ** 0.5 > _UNEVEN * mean:
        return None
    return from_complex(top), from_complex(bottom)


@cache
def _parabolas(count: int) -> np.ndarray:
    """An orthonormal basis of the parabolas over so many even places, (count, 3)."""
    return np.linalg.qr(np.vander(np.linspace(-1, 1, count), 3))[0]


def _curved(top: np.ndarray, bottom: np.ndarray, top_left: np.ndarray | None) -> TextStrip:
    """The strip between two paired sides, in reading direction."""
    if top_left is not None:
        forward = np.hypot(*(top[0] - top_left)) <= np.hypot(*(bottom[-1] - top_left))
    else:
        # The middle third tells the direction of an arc, however far it goes round.
        third = len(top) // 3
        forward = runs_forward((top + bottom)[-third - 1] - (top + bottom)[third])
    if not forward:
        top, bottom = bottom[::-1], top[::-1]
    strip = CurvedStrip(np.ascontiguousarray(top), np.ascontiguousarray(bottom), drawn=True)
    if max(_sagitta(strip.top), _sagitta(strip.bottom)) <= _NEARLY_STRAIGHT * strip.height:
        return StraightStrip(top[[0, -1]], bottom[[0, -1]], drawn=True)
    return strip


def _span(places: np.ndarray, end: int) -> tuple[int, int]:
    """The pixels from 0 to `end` that a warp looks at: those around the places, at least one."""
    first = min(max(int(places.min()) - 3, 0), end - 1)
    return first, max(min(int(places.max()) + 4, end), first + 1)


def _sagitta(side: np.ndarray) -> float:
    """How far a side's points stray from the straight line between its ends, in pixels."""
    z = to_complex(side) - complex(*side[0])
    chord = complex(z[-1])
    return float(np.abs((z * chord.conjugate()).imag).max() / max(abs(chord), 1e-9))


def _check_page(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise ImageError(f"a page must be a uint8 array, got {getattr(image, 'dtype', type(image).__name__)}")
    if image.ndim not in (2, 3) or not image.size or (image.ndim == 3 and image.shape[2] > 4):
        raise ImageError(f"a page must have the shape (H, W) or (H, W, 1 to 4) and pixels, got {image.shape}")
