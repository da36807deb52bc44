"""The long sides of curved text: where a polygon's two ends are, and what runs between them."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.geometry.polygons import clockwise, signed_area

if TYPE_CHECKING:
    import shapely

__all__ = ["along_arc", "long_sides", "outline_of", "paired_across", "resampled"]

# The outline is sampled at this many places; every fourth may be an end.
_SAMPLES = 256
_STEP = 4
# The distance across the text is taken at this many places between two ends.
_CROSSINGS = 12
# A side of curved text may be this much shorter than the rest of the outline: tight arcs have a short inner side.
_SHORTEST_SIDE = 0.2
# Points closer than this to the outline without them, in shares of the text's height, say nothing about its shape.
_FLAT = 0.03
# Of points closer than this, in heights, one goes: the notches of pixels would send smooth curves astray.
_NOTCH = 0.1
# Repair may take this share of the area; where it would take more, the points' own order tells more than their area.
_REPAIR_LOSS = 0.1
# Crossings can be as many as the square of the points; no text takes this many to describe.
_MOST_REPAIRED = 50
# Text may run the other way if the distance across it would then be at most this many times larger.
_AMBIGUOUS = 2.0
# Vectors across the text that differ by less than this share of their length count as parallel.
_PARALLEL = 0.05
# Ends that stand less than this off the right angle (radians) count as straight across the text.
_SLANTED = 0.35
# Opposite points are moved until they are this straight across the text (radians), in so many rounds at most.
_SLANT_TOLERANCE = 0.03
_PAIRING_ROUNDS = 8
# Corners are looked for this far from the middle of an end, and their turn is taken over arms this long; in heights.
_REACH = 2.5
_ARM = 0.35


def outline_of(points: np.ndarray, flat: float = _FLAT) -> np.ndarray:
    """Reduce a polygon to the points that shape it: clockwise, slight crossings repaired, points on a line dropped.

    Args:
        points: (K, 2) float64, K > 4, any winding and starting point
        flat: points closer than this to the outline without them, in shares of the text's height, are dropped

    Returns:
        (K', 2) float64, K' <= K; four points if the polygon is nearly a quadrilateral
    """
    import cv2
    import shapely

    half = np.hypot(*(points - np.roll(points, 1, axis=0)).T).sum() / 2
    # A ribbon of length l and height h has half the perimeter l + h and the area l * h.
    height = (half - max(0.0, half * half - 4 * abs(signed_area(points))) ** 0.5) / 2
    centre = points.mean(axis=0)
    reduced = cv2.approxPolyDP((points - centre).astype(np.float32)[:, None], flat * height, closed=True)
    points = _apart(reduced[:, 0].astype(np.float64), _NOTCH * flat / _FLAT * height) + centre
    if 4 < len(points) <= _MOST_REPAIRED and not (shape := shapely.Polygon(points)).is_valid:
        points = _repaired(shape, points)
    return clockwise(points)


def _apart(points: np.ndarray, distance: float) -> np.ndarray:
    """The points without those closer than `distance` to the one kept before them."""
    steps = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    if (steps >= distance).all():
        return points
    kept = [0]
    for index in range(1, len(points)):
        if min(np.hypot(*(points[index] - points[other])) for other in (kept[-1], 0)) >= distance:
            kept.append(index)
    return points[kept]


def _repaired(shape: "shapely.Polygon", points: np.ndarray) -> np.ndarray:
    """The outline of the largest part of a crossed polygon; its own points if crossings cut off more than a little."""
    import shapely

    try:
        parts = shapely.get_parts(shapely.make_valid(shape))
    except shapely.errors.GEOSException:
        return points
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    largest = max(polygons, key=lambda part: part.area, default=None)
    whole = sum(part.area for part in polygons)
    if largest is None or largest.interiors or largest.area < (1 - _REPAIR_LOSS) * whole:
        return points
    return np.asarray(largest.exterior.coords)[:-1]


def long_sides(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the two ends of a ribbon and the two sides between them.

    The ends are the two places between which both ways round the outline keep closest together, which holds for
    ribbons of any bend. There, the corners are where the outline turns into the direction of the text.

    Args:
        outline: (K, 2) float64, clockwise, K > 4, as `outline_of` gives it

    Returns:
        both sides, (n, 2) and (m, 2) float64, n and m >= 1, running in the same direction; looking along it, the
        second lies to the right of the first
    """
    closed = np.concatenate([outline, outline[:1]])
    place = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    samples = resampled(closed, place, np.arange(_SAMPLES) * place[-1] / _SAMPLES)
    one_way, other_way = _crossings()
    z = samples[:, 0] + 1j * samples[:, 1]
    across = np.abs(z[one_way] - z[other_way])
    width = across.mean(axis=1)

    pairs = _pairs()
    best = int(width.argmin())
    # Text hardly longer than high may run the other way: with one end on each of the two sides found.
    low, high = pairs[best]
    one_side, other_side = high - low, _SAMPLES - high + low
    between = np.abs((pairs - low) % _SAMPLES - one_side / 2) < one_side / 2.5
    beyond = np.abs((pairs - high) % _SAMPLES - other_side / 2) < other_side / 2.5
    crosswise = (between & beyond[:, ::-1]).any(axis=1)
    candidates = [best]
    if crosswise.any():
        other = int(np.where(crosswise, width, np.inf).argmin())
        if width[other] < _AMBIGUOUS * width[best]:
            candidates.append(other)

    scored = []
    for candidate in candidates:
        first, second = pairs[candidate] * (place[-1] / _SAMPLES)
        # Near the ends the outline is the end itself, so the text's height shows a little farther in.
        start, start_score = _corners(closed, place, first, across[candidate, _CROSSINGS // 4])
        end, end_score = _corners(closed, place, second, across[candidate, -_CROSSINGS // 4])
        scored.append((start_score + end_score, start, end))
    _, (start_right, start_left), (end_left, end_right) = max(scored)
    return _walk(outline, start_left, end_left), _walk(outline, end_right, start_right)[::-1]


def along_arc(side: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points at given shares of the arc length of the smooth curve through a side's points.

    Between neighbours runs a cubic whose tangents are those of the parabola through each point and its neighbours
    (Bessel's), over chord lengths, so that uneven points do no harm.

    Args:
        side: (n, 2) float64, n >= 1
        shares: (m,) from 0 to 1

    Returns:
        (m, 2) float64
    """
    chords = np.diff(side, axis=0)
    length = np.hypot(*chords.T)
    if len(side) > 2:
        slope = chords / length[:, None]
        before, after = length[:-1, None], length[1:, None]
        inner = (slope[:-1] * after + slope[1:] * before) / (before + after)
        tangent = np.concatenate([2 * slope[:1] - inner[:1], inner, 2 * slope[-1:] - inner[-1:]])
        t = (np.arange(8) / 8)[:, None]
        scaled = length[:, None, None]
        pieces = (
            side[:-1, None] * ((1 + 2 * t) * (1 - t) ** 2)
            + tangent[:-1, None] * scaled * (t * (1 - t) ** 2)
            + side[1:, None] * (t * t * (3 - 2 * t))
            - tangent[1:, None] * scaled * (t * t * (1 - t))
        )
        side = np.concatenate([pieces.reshape(-1, 2), side[-1:]])
        length = np.hypot(*np.diff(side, axis=0).T)
    place = np.concatenate([[0.0], np.cumsum(length)])
    return resampled(side, place, shares * place[-1])


def paired_across(top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move points along two sides until each pair bounds the same slice of the text.

    Where one side is the other one moved, as on a flag, letters were moved too, not turned: equal shares of the
    lengths are opposite each other, and slices are even in the direction across the movement. Otherwise slices are
    even along the middle, and straight across it. Slanted ends keep their slant, which passes evenly into the other
    end's.

    Args:
        top: (n, 2) float64, n > 2, evenly spaced along its side
        bottom: the same for the other side

    Returns:
        n points on each side
    """
    shares = np.linspace(0, 1, len(top))
    across, middle = bottom - top, (top + bottom) / 2
    mean = across.mean(axis=0)
    if np.hypot(*across.std(axis=0)) < _PARALLEL * np.hypot(*mean):
        advance = np.maximum.accumulate(np.abs((middle - middle[0]) @ np.array([mean[1], -mean[0]])))
        place = np.interp(shares * advance[-1], advance, shares)
        return resampled(top, shares, place), resampled(bottom, shares, place)

    sides, places = np.stack([top, bottom]), np.stack([shares, shares])
    speeds = np.gradient(sides, shares, axis=1)
    for _ in range(_PAIRING_ROUNDS):
        paired = np.stack([resampled(side, shares, place) for side, place in zip(sides, places)])
        middle, across = paired.mean(axis=0), paired[1] - paired[0]
        direction = np.gradient(middle, axis=0)
        slant = _turn(direction, across) - np.pi / 2
        ends = np.where(np.abs(slant[[0, -1]]) > _SLANTED, slant[[0, -1]], 0)
        wanted = ends[0] + (ends[1] - ends[0]) * shares
        if np.abs(slant - wanted)[1:-1].max() < _SLANT_TOLERANCE:
            break
        # Newton's step for both points towards the line across the middle; their order on the side is kept.
        angle = np.arctan2(direction[:, 1], direction[:, 0]) + wanted
        along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        away = ((paired - middle) * along).sum(axis=2)
        speed = np.stack([resampled(speed, shares, place) for speed, place in zip(speeds, places)])
        advance = np.maximum((speed * along).sum(axis=2), 0.2 * np.hypot(*speed.T).T + 1e-9)
        places = np.maximum.accumulate(np.clip(places - np.clip(away / advance, -0.1, 0.1), 0, 1), axis=1)
        places[:, [0, -1]] = 0, 1
        travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(middle, axis=0).T))])
        even = np.interp(shares * travelled[-1], travelled, shares)
        places = np.stack([np.interp(even, shares, place) for place in places])
    top, bottom = (resampled(side, shares, place) for side, place in zip(sides, places))
    return top, bottom


def resampled(line: np.ndarray, place: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Points of a line, (n, 2), at places along it, (m,), where its own points have places, (n,)."""
    return np.stack([np.interp(wanted, place, line[:, 0]), np.interp(wanted, place, line[:, 1])], axis=1)


def _walk(outline: np.ndarray, first: int, last: int) -> np.ndarray:
    """The outline's points from one index to another, forwards, over the end if need be."""
    count = (last - first) % len(outline) + 1
    return outline[(first + np.arange(count)) % len(outline)]


def _corners(closed: np.ndarray, place: np.ndarray, middle: float, height: float) -> tuple[tuple[int, int], float]:
    """The two corners of an end: where the outline turns most, about the text's height apart, around its middle.

    Args:
        closed: the outline with its first point repeated, (K + 1, 2)
        place: how far along the outline each point lies, (K + 1,)
        middle: where along the outline the end was found, perhaps a little off its middle
        height: of the text near this end

    Returns:
        the point at which the outline, coming along one side, reaches the end, and the one at which it leaves it; and
        how good an end these make
    """
    around, height = place[-1], max(height, 1e-3)
    offset = (place[:-1] - middle + around / 2) % around - around / 2
    near = np.flatnonzero(np.abs(offset) <= _REACH * height)
    if len(near) < 2:
        near = np.argsort(np.abs(offset))[:2]
    near = near[np.argsort(offset[near])]
    here = closed[near]
    arm = _ARM * height
    before, after = (resampled(closed, place, (place[near] + step) % around) for step in (-arm, arm))
    turn = np.minimum(_turn(here - before, after - here), np.pi / 2)
    count = len(place) - 1
    bend = np.cumsum(np.abs(_turn(here - closed[near - 1 + (near == 0) * count], closed[near + 1] - here)))

    first, last = np.triu_indices(len(near), 1)
    apart = np.abs(np.log(np.maximum(np.hypot(*(here[last] - here[first]).T) / height, 1e-3)))
    beside = np.abs(offset[near[first]] + offset[near[last]]) / 2 / height
    score = turn[first] + turn[last] - apart - beside / 4 - (bend[last - 1] - bend[first])
    best = int(score.argmax())
    return (int(near[first[best]]), int(near[last[best]])), float(score[best])


def _turn(into: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Angles from one direction to the next, (n,) radians, positive to the right on the screen."""
    return np.arctan2(into[:, 0] * out[:, 1] - into[:, 1] * out[:, 0], (into * out).sum(axis=1))


@cache
def _pairs() -> np.ndarray:
    """Samples that may be the two ends, (P, 2), the first before the second."""
    first, second = np.triu_indices(_SAMPLES // _STEP, 1)
    share = (second - first) * _STEP / _SAMPLES
    fair = (share >= _SHORTEST_SIDE) & (share <= 1 - _SHORTEST_SIDE)
    return np.stack([first[fair], second[fair]], axis=1) * _STEP


@cache
def _crossings() -> tuple[np.ndarray, np.ndarray]:
    """For each pair of ends the samples on both ways between them that lie opposite each other, (P, crossings)."""
    first, second = _pairs().T[..., None]
    share = (np.arange(_CROSSINGS) + 0.5) / _CROSSINGS
    forward = first + (second - first) * share
    backward = first - (_SAMPLES - second + first) * share
    return forward.round().astype(int) % _SAMPLES, backward.round().astype(int) % _SAMPLES
