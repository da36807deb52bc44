"""Text along a circle or a line, from outlines that follow the letters rather than the text: bumpy, cut, uneven."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Arc", "fit_arc"]

# The area within an outline is looked at on a grid of about this many cells.
_CELLS = 1500
# A circle with a radius of so many times the extent is a straight line.
_STRAIGHT = 30.0
# Profiles of the two sides are taken at so many places along the text.
_PLACES = 48
# Letters within the sides pull less at them than those that stick out.
_INSIDE = 0.15
_ROUNDS = 6
# The circle is found in so many steps at most.
_STEPS = 4
# Sides of text at least this long, in heights, may bend off the circle.
_BENDING = 3.0
# No arc goes farther round than this, in radians.
_ROUND = np.radians(345)


@dataclass(frozen=True)
class Arc:
    """A stretch of text along a circle.

    Attributes:
        top: (N, 2) float64 pixels, one side, clockwise round the centre
        bottom: (N, 2), the other one, nearer to the centre, running in the same direction
        fill: the share of the area between them that the outline encloses, 0 to 1
        length: along the middle, in pixels
        height: mean distance across, in pixels
        squeeze: how much shorter the inner side is than the middle, 0 (as long) to 1 (a point)
    """

    top: np.ndarray
    bottom: np.ndarray
    fill: float
    length: float
    height: float
    squeeze: float


def fit_arc(outline: np.ndarray) -> Arc | None:
    """Fit a ring's sector to an outline; its sides may bend off the circle a little, but enclose the outline.

    The circle follows from the area within the outline (Taubin, "Estimation of planar curves, surfaces and nonplanar
    space curves", 1991), then from the distance of its points to both sides. Laid out along the circle the outline is
    nearly a rectangle, on whose long sides parabolas are put that follow the points farthest out.

    Args:
        outline: (K, 2) float64, clockwise

    Returns:
        the sector, or None if the outline does not go along a circle
    """
    cloud = _cells(outline)
    if len(cloud) < 8:
        return None
    origin = cloud.mean(axis=0)
    extent = float(np.sqrt(((cloud - origin) ** 2).sum(axis=1).mean())) * 2
    points = (outline - origin) / extent
    centre, radius = _taubin((cloud - origin) / extent)
    fitted = _both_sides(points, centre, radius)
    if fitted is not None:
        centre, radius = fitted
    unrolled = _unrolled(points, centre, radius)
    if unrolled is None:
        return None
    s, d = unrolled
    profile = _profile(s, d)
    if profile is None:
        return None
    places, high, low = profile
    thickness = high - low
    height, length = float(np.mean(thickness)), float(s.max() - s.min())
    if height <= 0 or length <= 0:
        return None
    shares = (places - places[0]) / max(places[-1] - places[0], 1e-9)
    degree = 2 if length >= _BENDING * height else 1
    upper, lower = _envelope(shares, high, degree), -_envelope(shares, -low, degree)
    at = np.linspace(s.min(), s.max(), _PLACES + 1)
    share_at = ((at - places[0]) / max(places[-1] - places[0], 1e-9)).clip(-0.1, 1.1)
    upper, lower = np.polyval(upper, share_at), np.polyval(lower, share_at)
    if (upper - lower).min() <= 0.2 * height or radius + lower.min() <= 0:
        return None
    height = float((upper - lower).mean())
    angle = at / radius

    def side(distance: np.ndarray) -> np.ndarray:
        away = (radius + distance)[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        return (away @ _frame(centre) + centre) * extent + origin

    fill = min(1.0, float(np.mean(thickness)) * length / max(float(np.trapezoid(upper - lower, at)), 1e-9))
    return Arc(side(upper), side(lower), fill, length * extent, height * extent, float(-lower.min() / radius))


def _cells(outline: np.ndarray) -> np.ndarray:
    """Points spread evenly over the area within an outline, (n, 2)."""
    import cv2

    low, high = outline.min(axis=0), outline.max(axis=0)
    area = abs(cv2.contourArea((outline - low).astype(np.float32)))
    cell = max(np.sqrt(area / _CELLS), float((high - low).max()) / 250, 1e-6)
    size = np.ceil((high - low) / cell).astype(int) + 1
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [np.rint((outline - low) / cell * 16 - 8).astype(np.int32)], 1, shift=4)
    y, x = np.nonzero(mask)
    return np.stack([x + 0.5, y + 0.5], axis=1) * cell + low


def _taubin(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the circle along points around the origin."""
    middle = points.mean(axis=0)
    x, y = (points - middle).T
    z = x * x + y * y
    mean = z.mean()
    scaled = np.stack([(z - mean) / (2 * np.sqrt(mean)), x, y], axis=1)
    # The smallest of three directions: with 3 x 3 moments, as exact as needed here.
    vectors = np.linalg.eigh(scaled.T @ scaled / len(points))[1]
    a, b, c = vectors[:, 0]
    a = a / (2 * np.sqrt(mean))
    if abs(a) < 1 / (2 * _STRAIGHT):
        a = np.copysign(1 / (2 * _STRAIGHT), a)
    norm = np.hypot(b, c)
    if norm < 1e-9:
        return middle + np.array([_STRAIGHT, 0.0]), _STRAIGHT
    constant = -mean * a
    centre = np.array([-b, -c]) / (2 * a)
    radius = np.sqrt(max(float(centre @ centre) - constant / a, 1e-12))
    if radius > _STRAIGHT:
        centre, radius = centre * (_STRAIGHT / np.hypot(*centre)), _STRAIGHT
    return centre + middle, float(radius)


def _both_sides(points: np.ndarray, centre: np.ndarray, radius: float) -> tuple[np.ndarray, float] | None:
    """Centre and middle radius of the ring along whose two sides an outline's points lie, from a first guess.

    Both sides share the centre, and their distance may grow along the way. Gauss-Newton steps on the distances.
    """
    before, after = (np.roll(points, turn, axis=0) - points for turn in (1, -1))
    reach = np.hypot(*before.T) + np.hypot(*after.T)
    for _ in range(_STEPS):
        offset = points - centre
        distance = np.hypot(*offset.T)
        away = distance - radius
        half = float(np.abs(away).mean())
        side = np.where(away > 0, 1.0, -1.0)
        on_side = np.abs(away) > 0.4 * half
        if min(np.count_nonzero(on_side & (away > 0)), np.count_nonzero(on_side & (away <= 0))) < 2:
            return None
        along, out = _frame(centre) @ offset.T
        weight = np.sqrt(np.minimum(reach, 4 * half)) * on_side
        parts = np.stack([-offset[:, 0] / distance, -offset[:, 1] / distance, -np.ones(len(points)), -side], axis=1)
        parts = np.concatenate([parts, (-side * np.arctan2(along, out))[:, None]], axis=1) * weight[:, None]
        # Too flat an arc leaves its centre open: the smallest step keeps it where it is.
        step = np.linalg.lstsq(parts, -away * weight, rcond=1e-5)[0]
        centre, radius = centre + step[:2], radius + float(step[2])
        if radius <= 0:
            return None
        if radius > _STRAIGHT:
            centre, radius = centre * (_STRAIGHT / max(float(np.hypot(*centre)), 1e-9)), _STRAIGHT
        if np.abs(step[:3]).max() < 1e-3:
            break
    return centre, radius


def _frame(centre: np.ndarray) -> np.ndarray:
    """Unit vectors of a circle's clockwise direction and of the way out, where it passes the origin, (2, 2)."""
    out = -centre / max(float(np.hypot(*centre)), 1e-9)
    return np.array([[-out[1], out[0]], out])


def _unrolled(points: np.ndarray, centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Where points lie along a circle, from its middle, and how far outside of it; None if they go all round."""
    along, out = _frame(centre) @ (points - centre).T
    angle = np.arctan2(along, out)
    steps = np.diff(angle, append=angle[:1])
    steps = (steps + np.pi) % (2 * np.pi) - np.pi
    if abs(steps.sum()) > 1:
        return None
    angle = angle[0] + np.concatenate([[0.0], np.cumsum(steps[:-1])])
    if np.ptp(angle) > _ROUND:
        return None
    angle -= 2 * np.pi * np.round((angle.max() + angle.min()) / (4 * np.pi))
    return angle * radius, np.hypot(along, out) - radius


def _profile(s: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """How far an unrolled outline reaches to both sides of the circle: places along it, highest and lowest there."""
    places = s.min() + (np.arange(_PLACES) + 0.5) / _PLACES * np.ptp(s)
    step, rise = np.roll(s, -1) - s, np.roll(d, -1) - d
    share = (places - s[:, None]) / np.where(step == 0, 1e-9, step)[:, None]
    crossed = (share >= 0) & (share <= 1)
    if not crossed.any(axis=0).all():
        return None
    at = d[:, None] + share * rise[:, None]
    high, low = np.where(crossed, at, -np.inf).max(axis=0), np.where(crossed, at, np.inf).min(axis=0)
    return places, high, low


def _envelope(x: np.ndarray, y: np.ndarray, degree: int) -> np.ndarray:
    """Coefficients of a polynomial over points (highest power first) that all but a few lie under."""
    powers = np.vander(x, degree + 1)
    outside = np.ones(len(x), bool)
    for _ in range(_ROUNDS):
        weighted = powers.T * np.where(outside, 1.0, _INSIDE)
        coefficients = np.linalg.solve(weighted @ powers, weighted @ y)
        left_over = y - powers @ coefficients
        # Rounding alone puts half of the points of an even side outside.
        before, outside = outside, left_over > 1e-6
        if (before == outside).all():
            break
    coefficients[-1] += max(0.0, float(np.partition(left_over, -len(x) // 10)[-len(x) // 10]))
    return coefficients
