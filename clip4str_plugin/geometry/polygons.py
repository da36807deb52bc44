"""Check polygons, bring them into one winding, and put the corners of quads into reading order."""

from typing import Any, Literal

import numpy as np

from clip4str_plugin.errors import PolygonError

__all__ = [
    "Start",
    "checked_polygon",
    "clockwise",
    "enclose",
    "from_complex",
    "last_ones",
    "minimum_area",
    "minimum_area_rectangle",
    "next_ones",
    "order_quad",
    "runs_forward",
    "signed_area",
    "to_complex",
]

Start = Literal["any", "top-left"]

# Beyond this no page reaches, and sums of squares still fit float32 without losing whole pixels.
_FARTHEST = 1e7
# Points closer than this, in pixels, are one.
_SAME = 1e-3
# A quad at least this many times taller than wide holds a turned line of text, not an upright letter.
_TALL = 1.5
# Reading directions this close to vertical (sine of the angle to it) count as downwards, whichever way they lean.
_VERTICAL = 0.2
# Three corners of a quad must make up this share of its area: a perspective 1 : 20 at the most.
_FLAT_CORNER = 0.04


def checked_polygon(polygon: Any) -> np.ndarray:
    """Check a polygon and drop repeated points and the closing one.

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
        points = points[(np.abs(points - last_ones(points)) > _SAME).any(axis=1)]
    if len(points) < 3:
        raise PolygonError(f"a polygon needs at least three distinct points, got {len(points)}")
    return points


def minimum_area(points: np.ndarray) -> float:
    """Area of the smallest rectangle, at any angle, around points, (K, 2), in square pixels."""
    import cv2

    width, height = cv2.minAreaRect((points - points[0]).astype(np.float32))[1]
    return width * height


def minimum_area_rectangle(points: np.ndarray) -> np.ndarray:
    """Smallest rectangle, at any angle, around points.

    Args:
        points: (K, 2) pixels

    Returns:
        its corners, (4, 2) float64, clockwise on the screen
    """
    import cv2

    centre = points.mean(axis=0)
    return clockwise(cv2.boxPoints(cv2.minAreaRect((points - centre).astype(np.float32))) + centre)


def enclose(points: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The smallest rectangle around points.

    Args:
        points: (K, 2).
        ends: (4, 2), roughly where the text has its top left, top right, bottom right and bottom left.

    Returns:
        (4, 2) float32, in that order.
    """
    corners = minimum_area_rectangle(points)
    turns = [np.roll(corners, -turn, axis=0) for turn in range(4)]
    return min(turns, key=lambda turn: float(np.hypot(*(turn - ends).T).sum())).astype(np.float32)


def clockwise(points: np.ndarray) -> np.ndarray:
    """The points, reversed if they run anticlockwise on the screen (y downwards); the first one stays first."""
    return last_ones(points[::-1]) if signed_area(points) < 0 else points


def to_complex(points: np.ndarray) -> np.ndarray:
    """Points (K, 2) as complex numbers x + iy, (K,): a product with one then turns them."""
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]


def from_complex(points: np.ndarray) -> np.ndarray:
    """Complex numbers (K,) as points, (K, 2) float64."""
    return points.view(np.float64).reshape(-1, 2)


def next_ones(items: np.ndarray) -> np.ndarray:
    """For each item of a closed row the one after it; like `np.roll(items, -1, axis=0)`, but quick."""
    return np.concatenate([items[1:], items[:1]])


def last_ones(items: np.ndarray) -> np.ndarray:
    """For each item of a closed row the one before it."""
    return np.concatenate([items[-1:], items[:-1]])


def signed_area(points: np.ndarray) -> float:
    """Area within the points in square pixels, positive when they run clockwise on the screen (shoelace formula)."""
    x, y = (points - points[0]).T  # the first point adds nothing then
    return float(x[:-1] @ y[1:] - y[:-1] @ x[1:]) / 2


def order_quad(points: np.ndarray, top_left: np.ndarray | None = None) -> np.ndarray:
    """Put the corners of a quadrilateral into reading order.

    Unless a corner is known, the shape decides: text runs along the long sides when these are at least 1.5 times
    the short ones, else along the sides closer to horizontal; and rightwards, or downwards when nearly vertical.

    Args:
        points: corners, (3 or more, 2), any winding, even crossed; if their hull has not four corners, the smallest
            rectangle around them counts
        top_left: the corner nearest to this point, (2,), is the top left one of the text, whatever its angle

    Returns:
        top left, top right, bottom right, bottom left of the text, (4, 2) float64
    """
    import cv2

    centre = points.mean(axis=0)
    corners = cv2.convexHull((points - centre).astype(np.float32)).reshape(-1, 2).astype(np.float64) + centre
    corners = clockwise(corners) if _has_four_corners(corners) else minimum_area_rectangle(points)
    if top_left is not None:
        return np.roll(corners, -int(((corners - top_left) ** 2).sum(axis=1).argmin()), axis=0)
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


def _has_four_corners(hull: np.ndarray) -> bool:
    """Whether a convex hull is a quadrilateral of which no corner all but lies on the line between its neighbours."""
    if len(hull) != 4:
        return False
    x, y = (hull[[1, 2, 3, 0]] - hull).T
    corners = np.abs(x * y[[1, 2, 3, 0]] - y * x[[1, 2, 3, 0]]) / 2
    return bool(corners.min() > _FLAT_CORNER * abs(signed_area(hull)))


def runs_forward(direction: np.ndarray) -> bool:
    """Whether text is likelier to run along `direction` (x, y) than against it: rightwards, or down if vertical."""
    x, y = direction
    return bool(y > 0 if abs(x) < _VERTICAL * np.hypot(x, y) else x > 0)
