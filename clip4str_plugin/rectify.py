"""From a polygon on a page to an upright crop."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clip4str_plugin.errors import ImageError, PolygonError
from clip4str_plugin.polygons import Start, checked_polygon, minimum_area_rectangle, order_quad

__all__ = ["Strip", "rectify"]

# Larger crops are made smaller: for recognition they are more than enough, and OpenCV's warps stop at 32767 pixels.
_LARGEST_SIDE = 8192
_LARGEST_AREA = 1 << 22


def rectify(image: np.ndarray, polygon: Any, *, start: Start = "any") -> np.ndarray:
    """Cut the text within a polygon out of a page and straighten it.

    Four corners are warped by the perspective they define. The crop is as wide and tall as the longer of each two
    opposite sides, but never over 8192 pixels or 4 megapixels. Beyond the page its border is repeated; what lies
    farther outside than half the height of the text is left off.

    Coordinates count from the outer corner of the first pixel, so `[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]` with
    whole numbers gives exactly `image[y0:y1, x0:x1]`.

    Args:
        image: page, uint8, (H, W) or (H, W, C), any colour order, views welcome
        polygon: (K, 2) pixels, K >= 3, any winding
        start: `"any"`: the points may start anywhere; text is taken to run along the long sides, rightwards, or
            downwards if they are nearly vertical. `"top-left"`: the first point is the text's own top left corner,
            at any angle.

    Returns:
        the crop, uint8, (h, w) or (h, w, C), contiguous, in the page's colour order

    Raises:
        PolygonError: the polygon is malformed, thinner than a pixel or off the page
        ImageError: the page is not a uint8 picture

    >>> import numpy as np
    >>> page = np.zeros((100, 200, 3), np.uint8)
    >>> rectify(page, [[20, 30], [120, 40], [118, 70], [18, 60]]).shape
    (30, 100, 3)
    """
    return Strip.of(polygon, start).crop(image)


@dataclass(frozen=True)
class Strip:
    """A stretch of text on a page: its top and bottom side, both in reading direction.

    Attributes:
        top: (N, 2) float64 pixels, left to right along the text
        bottom: (N, 2), as many points, left to right too
    """

    top: np.ndarray
    bottom: np.ndarray

    @classmethod
    def of(cls, polygon: Any, start: Start = "any") -> "Strip":
        """The strip within a polygon; arguments and errors as in `rectify`."""
        points = checked_polygon(polygon)
        quad = order_quad(points if len(points) == 4 else minimum_area_rectangle(points), start)
        strip = cls(quad[:2], quad[:1:-1])
        if min(strip.size) < 1:
            raise PolygonError("the polygon is thinner than a pixel: {:.2f} x {:.2f}".format(*strip.size))
        return strip

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the straightened text in pixels."""
        width = max(np.hypot(*np.diff(side, axis=0).T).sum() for side in (self.top, self.bottom))
        return float(width), float(np.hypot(*(self.bottom - self.top).T).max())

    def at(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where on the page a point of the straightened text lies.

        Args:
            u: position along the text, 0 = left end, 1 = right end
            v: position across it, 0 = top, 1 = bottom, to be broadcast against `u`

        Returns:
            x and y in pixels, float64
        """
        (a, b, c), (d, e, f), (g, h, i) = _square_to_quad(self.top, self.bottom)
        weight = g * u + (h * v + i)
        return (a * u + (b * v + c)) / weight, (d * u + (e * v + f)) / weight

    def polygon(self, left: float, right: float) -> np.ndarray:
        """The part from `left` to `right`, shares of the width, as (4, 2) float32, clockwise from its top left."""
        x, y = self.at(np.array([left, right, right, left]), np.array([0, 0, 1, 1]))
        return np.stack([x, y], axis=1).astype(np.float32)

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Straighten the strip; see `rectify`."""
        import cv2

        _check_page(image)
        left, upper, right, lower = self._visible(image.shape)
        width, height = self.size[0] * (right - left), self.size[1] * (lower - upper)
        scale = min(1.0, _LARGEST_SIDE / max(width, height), (_LARGEST_AREA / (width * height)) ** 0.5)
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        # Pixel centres lie half a pixel inside the grid of the coordinates, in the crop as on the page.
        u = left + (right - left) * (np.arange(columns) + 0.5) / columns
        v = upper + (lower - upper) * (np.arange(rows) + 0.5) / rows
        x, y = self.at(u[None, :], v[:, None])

        # Only the part of the page in question, which may be too large for a warp as a whole.
        x0, x1 = np.clip([x.min() - 3, x.max() + 3], 0, image.shape[1]).astype(int)
        y0, y1 = np.clip([y.min() - 3, y.max() + 3], 0, image.shape[0]).astype(int)
        region = np.ascontiguousarray(image[y0:y1, x0:x1])
        if scale < 1:
            region = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        map_x, map_y = ((x - x0) * scale - 0.5).astype(np.float32), ((y - y0) * scale - 0.5).astype(np.float32)
        crop = cv2.remap(region, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return crop.reshape(rows, columns, *image.shape[2:])

    def _visible(self, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
        """The part worth cropping on a page of this shape: left, upper, right, lower as shares of the strip."""
        import cv2

        quad = np.concatenate([self.top, self.bottom[::-1]])
        page = np.array([[0, 0], [shape[1], 0], [shape[1], shape[0]], [0, shape[0]]], dtype=np.float64)
        if (quad >= 0).all() and (quad <= page[2]).all():
            return 0.0, 0.0, 1.0, 1.0
        area, inside = cv2.intersectConvexConvex(quad.astype(np.float32), page.astype(np.float32))
        if area < 1:
            raise PolygonError(f"the polygon lies outside the page of {shape[1]} x {shape[0]} pixels")
        points = np.concatenate([inside.reshape(-1, 2), np.ones((len(inside), 1))], axis=1)
        points = points @ np.linalg.inv(_square_to_quad(self.top, self.bottom)).T
        shares = points[:, :2] / points[:, 2:]
        width, height = self.size
        margin = np.array([height / width, 1.0]) / 2
        (left, upper), (right, lower) = shares.min(axis=0) - margin, shares.max(axis=0) + margin
        return max(0.0, left), max(0.0, upper), min(1.0, right), min(1.0, lower)


def _check_page(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise ImageError(f"a page must be a uint8 array, got {getattr(image, 'dtype', type(image).__name__)}")
    if image.ndim not in (2, 3) or not image.size or (image.ndim == 3 and image.shape[2] > 4):
        raise ImageError(f"a page must have the shape (H, W) or (H, W, 1 to 4) and pixels, got {image.shape}")


def _square_to_quad(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Perspective that takes the unit square to four corners, (3, 3).

    Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3.
    """
    (x0, y0), (x1, y1) = top
    (x3, y3), (x2, y2) = bottom
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    determinant = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / determinant, (dx1 * sy - sx * dy1) / determinant
    return np.array([[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1]])
