"""Polygons as they come in: checked, in one winding, and, where they have four corners, in reading order."""

from typing import Any, Literal

import numpy as np

from clip4str_plugin.errors import PolygonError

__all__ = ["Start", "checked_polygon", "minimum_area_rectangle", "order_quad"]

Start = Literal["any", "top-left"]

# Beyond this no page reaches, and sums of squares still fit float32 without losing whole pixels.
_FARTHEST = 1e7
# A quad at least this many times taller than wide holds a turned line of text, not an upright letter.
_TALL = 1.5
# Reading directions this close to vertical (sine of the angle to it) count as downwards, whichever way they lean.
_VERTICAL = 0.2


def checked_polygon(polygon: Any) -> np.ndarray:
    """Check a polygon and drop what says nothing: repeated points and the closing one.

    Args:
        polygon: at least three points (x, y) in pixels, any winding, array-like of shape (K, 2)

    Returns:
        the distinct points in their own order, (K', 2) float64, K' >= 3

    Raises:
        PolygonError: not (K, 2), fewer than three distinct points, NaN, infinite or absurdly far coordinates
    """
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PolygonError(f"a polygon must be an array of (x, y) points, got {polygon!r:.80}") from error
    if points.ndim != 2 or points.shape[1] != 2:
        raise PolygonError(f"a polygon must have the shape (K, 2), got {points.shape}")
    if not (np.abs(points) <= _FARTHEST).all():
        raise PolygonError(f"a polygon's coordinates must be finite and within ±{_FARTHEST:.0f} pixels")
    if len(points):
        points = points[(np.abs(points - np.roll(points, 1, axis=0)) > 1e-6).any(axis=1)]
    if len(points) < 3:
        raise PolygonError(f"a polygon needs at least three distinct points, got {len(points)}")
    return points


def minimum_area_rectangle(points: np.ndarray) -> np.ndarray:
    """Smallest rectangle, at any angle, around points.

    Args:
        points: (K, 2) pixels

    Returns:
        its corners, (4, 2) float64, clockwise on the screen
    """
    import cv2

    return clockwise(cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))).astype(np.float64))


def clockwise(points: np.ndarray) -> np.ndarray:
    """The points, reversed if they run anticlockwise on the screen (y downwards); the first one stays first."""
    return np.roll(points[::-1], 1, axis=0) if signed_area(points) < 0 else points


def signed_area(points: np.ndarray) -> float:
    """Area within the points in square pixels, positive when they run clockwise on the screen (shoelace formula)."""
    x, y = (points - points[0]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def order_quad(points: np.ndarray, start: Start = "any") -> np.ndarray:
    """Put the corners of a quadrilateral into reading order.

    With `start="any"` only the shape counts: text runs along the long sides when these are at least 1.5 times the
    short ones, else along the sides closer to horizontal; and it runs rightwards, or downwards when nearly vertical.
    With `start="top-left"` the first point is the top left corner of the text, whatever its angle.

    Args:
        points: four corners, (4, 2), any winding, even crossed or with a dent: then the rectangle around them counts
        start: what the first point means

    Returns:
        top left, top right, bottom right, bottom left of the text, (4, 2) float64
    """
    import cv2

    corners = cv2.convexHull(points.astype(np.float32), clockwise=True).reshape(-1, 2).astype(np.float64)
    corners = clockwise(corners) if len(corners) == 4 else minimum_area_rectangle(points)
    if start == "top-left":
        return np.roll(corners, -int(((corners - points[0]) ** 2).sum(axis=1).argmin()), axis=0)
    edges = np.roll(corners, -1, axis=0) - corners
    # Directions of the two pairs of opposite sides: (0 -> 1 with 3 -> 2) and (1 -> 2 with 0 -> 3).
    along = edges[:2] - edges[2:]
    length = np.hypot(*along.T)
    if length.max() >= _TALL * length.min():
        axis = int(length.argmax())
    else:
        axis = int(np.abs(along[:, 0] / np.maximum(length, 1e-9)).argmax())
    first = axis if runs_forward(along[axis]) else axis + 2
    return np.roll(corners, -first, axis=0)


def runs_forward(direction: np.ndarray) -> bool:
    """Whether text is likelier to run along `direction` (x, y) than against it: rightwards, or down if vertical."""
    x, y = direction
    return bool(y > 0 if abs(x) < _VERTICAL * np.hypot(x, y) else x > 0)
