"""Text along a circle or a line, from outlines that follow the letters rather than the text: bumpy, cut, uneven."""

import cmath
from dataclasses import dataclass

import numpy as np

from clip4str_plugin.geometry.polygons import from_complex, last_ones, next_ones, to_complex

__all__ = ["Arc", "fit_arc"]

# Gauss's rule integrates up to the fifth power exactly at these shares of an edge, with these weights.
_GAUSS_SHARES = np.array([[0.5 - 0.15**0.5], [0.5], [0.5 + 0.15**0.5]])
_GAUSS_WEIGHTS = np.array([[5.0], [8.0], [5.0]]) / 18
# A circle with a radius of so many times the extent is a straight line.
_STRAIGHT = 30.0
# Profiles of the two sides are taken in the middle of so many equal parts of the text, and the sides are given at their
# ends.
_PLACES = 48
_MIDDLES, _ENDS = (np.arange(_PLACES) + 0.5) / _PLACES, np.arange(_PLACES + 1) / _PLACES
# Powers of both for polynomials of a degree, and the products of each two powers at the middles.
_POWERS = {degree: np.vander(_MIDDLES, degree + 1) for degree in (1, 2)}
_PRODUCTS = {degree: np.einsum("pi,pj->pij", powers, powers).reshape(_PLACES, -1) for degree, powers in _POWERS.items()}
_WANTED = {degree: np.vander(_ENDS, degree + 1) for degree in (1, 2)}
# Letters within the sides pull less at them than those that stick out.
_INSIDE = 0.15
_ROUNDS = 3
# The circle is found in so many steps at most.
_STEPS = 4
# A step this small, in extents, is the last one: the next would be about its square.
_SETTLED = 0.03
_DAMPING = 1e-9 * np.eye(5)
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
    # Points are complex numbers here, x + iy: their product turns, and their quotient tells the turn.
    points = to_complex(outline)
    circle = _taubin(points)
    if circle is None:
        return None
    origin, extent, centre, radius = circle
    points = (points - origin) / extent
    centre, radius = _both_sides(points, centre, radius)
    unrolled = _unrolled(points, centre, radius)
    if unrolled is None:
        return None
    along, away = unrolled
    first = float(along.min())
    length = float(along.max()) - first
    profile = _profile((along - first) / max(length, 1e-9), away)
    if profile is None:
        return None
    thickness = float(profile.sum()) / _PLACES
    if thickness <= 0 or length <= 0:
        return None
    upper, lower = _envelopes(profile, 2 if length >= _BENDING * thickness else 1)
    lower = -lower
    across = upper - lower
    if across.min() <= 0.2 * thickness or radius + lower.min() <= 0:
        return None
    height = float(across[0] + across[-1] + 2 * across[1:-1].sum()) / (2 * _PLACES)
    direction = _out(centre) * np.exp(1j / radius * (first + length * _ENDS))
    top, bottom = ((centre + (radius + side) * direction) * extent + origin for side in (upper, lower))
    fill = min(1.0, thickness / height)
    return Arc(
        from_complex(top), from_complex(bottom), fill, length * extent, height * extent, float(-lower.min() / radius)
    )


def _taubin(points: np.ndarray) -> tuple[complex, float, complex, float] | None:
    """The circle along the area within an outline.

    Args:
        points: (K,) complex128

    Returns:
        middle and extent of the area, and, in units of the extent from that middle, the circle's centre and radius;
        None if there is no area
    """
    import cv2

    # Integrals of powers over the area are sums over its edges (Green's theorem).
    corner = complex(points[0])
    points = points - corner
    after = next_ones(points)
    cross = (points.conj() * after).imag
    area = float(cross.sum()) / 2
    if area <= 0:
        return None
    middle = complex((cross * (points + after)).sum()) / (6 * area)
    points, after = points - middle, after - middle
    weight = (points.conj() * after).imag / area * _GAUSS_WEIGHTS
    z = points + (after - points) * _GAUSS_SHARES
    square = (z * z.conj()).real
    # The extent is twice the root of the mean square, so that this is 1/4 below.
    spread = float((weight * square).sum())
    if spread <= 0:  # the outline crosses itself
        return None
    extent = spread**0.5
    z, square = z / extent, square / extent**2
    third, turned = complex((weight * square * z).sum()) / 5, complex((weight * z * z).sum()) / 4
    moments = np.array(
        [
            [float((weight * square * square).sum()) / 6 - 1 / 16, third.real, third.imag],
            [third.real, 1 / 8 + turned.real / 2, turned.imag / 2],
            [third.imag, turned.imag / 2, 1 / 8 - turned.real / 2],
        ]
    )
    # The smallest of three directions: with 3 x 3 moments, as exact as needed here.
    a, b, c = cv2.eigen(moments)[2][2].tolist()
    if abs(a) < 1 / (2 * _STRAIGHT):
        a = 1 / (2 * _STRAIGHT) if a >= 0 else -1 / (2 * _STRAIGHT)
    centre = complex(b, c) / (-2 * a)
    radius = (abs(centre) ** 2 + 1 / 4) ** 0.5
    if radius > _STRAIGHT:
        centre, radius = centre * (_STRAIGHT / abs(centre)), _STRAIGHT
    return middle + corner, extent, centre, radius


def _both_sides(points: np.ndarray, centre: complex, radius: float) -> tuple[complex, float]:
    """Centre and middle radius of the ring along whose two sides an outline's points lie, from a first guess.

    Both sides share the centre, and their distance may grow along the way. Gauss-Newton steps on the distances.
    """
    import cv2

    guess = centre, radius
    edge = np.abs(next_ones(points) - points)
    reach = edge + last_ones(edge)
    for _ in range(_STEPS):
        offset = points - centre
        distance = np.abs(offset)
        away = distance - radius
        far = np.abs(away)
        half = float(far.sum()) / len(points)
        side, on_side = np.sign(away), far > 0.4 * half
        if abs(float(side[on_side].sum())) > np.count_nonzero(on_side) - 4:
            return guess  # fewer than two points on a side
        weight = np.sqrt(np.minimum(reach, 4 * half)) * on_side
        direction = offset / distance
        angle = np.angle(direction / _out(centre))
        parts = np.array([direction.real, direction.imag, np.ones(len(points)), side, side * angle]) * weight
        # Too flat an arc leaves its centre open: what is added keeps it where it is.
        step = cv2.solve(parts @ parts.T + _DAMPING, parts @ (away * weight)[:, None], flags=cv2.DECOMP_CHOLESKY)[1]
        x, y, wider = step[:3, 0].tolist()
        centre, radius = centre + complex(x, y), radius + wider
        if radius <= 0:
            return guess
        if radius > _STRAIGHT:
            centre, radius = centre * (_STRAIGHT / max(abs(centre), 1e-9)), _STRAIGHT
        if max(abs(x), abs(y), abs(wider)) < _SETTLED:
            break
    return centre, radius


def _out(centre: complex) -> complex:
    """The direction from a circle's centre to the origin, of length 1; any where they are one."""
    return -centre / abs(centre) if centre else 1 + 0j


def _unrolled(points: np.ndarray, centre: complex, radius: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Where points lie along a circle, from its middle, and how far outside of it.

    None if they go all round, or through its centre.
    """
    offset = (points - centre) / _out(centre)
    if not offset.all():  # what lies in the centre lies in no direction
        return None
    steps = np.angle(next_ones(offset) / offset)
    if abs(float(steps.sum())) > 1:
        return None
    angle = cmath.phase(offset[0]) + np.cumsum(steps) - steps
    least, most = float(angle.min()), float(angle.max())
    if most - least > _ROUND:
        return None
    angle -= 2 * np.pi * round((least + most) / (4 * np.pi))
    return angle * radius, np.abs(offset) - radius


def _profile(along: np.ndarray, away: np.ndarray) -> np.ndarray | None:
    """How far an unrolled outline reaches outwards and inwards from the circle at even places along it.

    Args:
        along: of its points, 0 to 1, (K,)
        away: of its points, outwards, (K,)

    Returns:
        (2, _PLACES); None if the outline does not reach all places
    """
    step = next_ones(along) - along
    share = (_MIDDLES - along[:, None]) / (step + 1e-9 * (step == 0))[:, None]
    at = away[:, None] + share * (next_ones(away) - away)[:, None]
    missed = np.where((share >= 0) & (share <= 1), 0.0, np.inf)
    far = np.array([(at - missed).max(axis=0), -(at + missed).min(axis=0)])
    return far if np.isfinite(far).all() else None


def _envelopes(far: np.ndarray, degree: int) -> np.ndarray:
    """Polynomials along both sides that all but a few of the places lie within, (2, _PLACES + 1).

    Args:
        far: how far the outline reaches to both sides, (2, _PLACES)
        degree: of the polynomials, 1 or 2
    """
    powers, products, wanted = _POWERS[degree], _PRODUCTS[degree], _WANTED[degree]
    outside = np.ones(far.shape, bool)
    for _ in range(_ROUNDS):
        weight = _INSIDE + (1 - _INSIDE) * outside
        normal = (weight @ products).reshape(2, degree + 1, degree + 1)
        coefficients = np.linalg.solve(normal, ((weight * far) @ powers)[..., None])[..., 0]
        left_over = far - coefficients @ powers.T
        # Rounding alone puts half of the points of an even side outside.
        before, outside = outside, left_over > 1e-6
        if (before == outside).all():
            break
    out = np.partition(left_over, -_PLACES // 10)[:, -_PLACES // 10, None]
    return coefficients @ wanted.T + np.maximum(out, 0.0)
