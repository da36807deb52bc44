"""The long sides of curved text: where a polygon's two ends are, and what runs between them."""

from functools import cache

import numpy as np

from clip4str_plugin.geometry.polygons import clockwise, next_ones, to_complex

__all__ = ["along_arc", "long_sides", "outline_of", "paired_across"]

# The outline is sampled at this many places; every fourth may be an end.
_SAMPLES = 192
_STEP = 4
# The distance across the text is taken at this many places between two ends.
_CROSSINGS = 10
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
_AMBIGUOUS = 1.5
# Vectors across the text that differ by less than this share of their length count as parallel.
_PARALLEL = 0.05
# Ends that stand less than this off the right angle (radians) count as straight across the text.
_SLANTED = 0.35
# Opposite points are moved until they are this straight across the text (radians), in so many rounds at most.
_SLANT_TOLERANCE = 0.03
_PAIRING_ROUNDS = 8
# Hermite's basis: weights of a point, its tangent, the next point and its tangent at eighths of the way, (4, 8).
_WAY = np.arange(8) / 8
_HERMITE = np.stack(
    [
        (1 + 2 * _WAY) * (1 - _WAY) ** 2,
        _WAY * (1 - _WAY) ** 2,
        _WAY**2 * (3 - 2 * _WAY),
        -(_WAY**2) * (1 - _WAY),
    ]
)
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

    contour = (points - points[0]).astype(np.float32)
    half, area = cv2.arcLength(contour, closed=True) / 2, cv2.contourArea(contour)
    # A ribbon of length l and height h has half the perimeter l + h and the area l * h.
    height = (half - max(0.0, half * half - 4 * area) ** 0.5) / 2
    contour = cv2.approxPolyDP(contour, flat * height, closed=True)[:, 0].astype(np.float64)
    points = _apart(contour, _NOTCH * flat / _FLAT * height) + points[0]
    if 4 < len(points) <= _MOST_REPAIRED and _crosses_itself(to_complex(points)):
        points = _repaired(points)
    return clockwise(points)


def _apart(points: np.ndarray, distance: float) -> np.ndarray:
    """The points without those closer than `distance` to the one kept before them."""
    z = to_complex(points)
    if np.abs(next_ones(z) - z).min() >= distance:
        return points
    kept = [0]
    for index in range(1, len(z)):
        if min(abs(z[index] - z[other]) for other in (kept[-1], 0)) >= distance:
            kept.append(index)
    return points[kept]


def _crosses_itself(z: np.ndarray) -> bool:
    """Whether two edges of an outline cross, (K,) complex128: the ends of each lie on both sides of the other."""
    side = ((next_ones(z) - z).conj()[:, None] * (z - z[:, None])).imag
    parted = side * np.concatenate([side[:, 1:], side[:, :1]], axis=1) < 0
    return bool((parted & parted.T).any())


def _repaired(points: np.ndarray) -> np.ndarray:
    """The outline of the largest part of a crossed polygon; its own points if crossings cut off more than a little."""
    import shapely

    try:
        parts = shapely.get_parts(shapely.make_valid(shapely.Polygon(points)))
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
        both sides, (n,) and (m,) complex128, n and m >= 1, running in the same direction; looking along it, the
        second lies to the right of the first
    """
    z = to_complex(outline)
    closed = np.concatenate([z, z[:1]])
    place = _places(closed)
    samples = np.interp(np.arange(_SAMPLES) * (place[-1] / _SAMPLES), place, closed)
    one_way, other_way = _crossings()
    apart = (samples - z[0]).astype(np.complex64)
    apart = apart[one_way] - apart[other_way]
    across = np.sqrt(apart.real**2 + apart.imag**2)
    width = across.sum(axis=1)

    pairs = _pairs()
    best = int(width.argmin())
    candidates = [best]
    # Text hardly longer than high may run the other way: with one end on each of the two sides found.
    low, high = pairs[best].tolist()
    rivals = np.flatnonzero(width < _AMBIGUOUS * width[best])
    half = np.array([high - low, _SAMPLES - high + low]) / 2
    off_middle = np.abs((pairs[rivals, :, None] - [low, high]) % _SAMPLES - half) < half / 1.25
    rivals = rivals[(off_middle[:, 0, 0] & off_middle[:, 1, 1]) | (off_middle[:, 1, 0] & off_middle[:, 0, 1])]
    if len(rivals):
        candidates.append(int(rivals[width[rivals].argmin()]))

    scored = []
    for candidate in candidates:
        first, second = (pairs[candidate] * (place[-1] / _SAMPLES)).tolist()
        # Near the ends the outline is the end itself, so the text's height shows a little farther in.
        start, start_score = _corners(closed, place, first, across[candidate, _CROSSINGS // 4])
        end, end_score = _corners(closed, place, second, across[candidate, -_CROSSINGS // 4])
        scored.append((start_score + end_score, start, end))
    _, (start_right, start_left), (end_left, end_right) = max(scored)
    return _walk(z, start_left, end_left), _walk(z, end_right, start_right)[::-1]


def along_arc(side: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points at given shares of the arc length of the smooth curve through a side's points.

    Between neighbours runs a cubic whose tangents are those of the parabola through each point and its neighbours
    (Bessel's), over chord lengths, so that uneven points do no harm.

    Args:
        side: (n,) complex128, n >= 1
        shares: (m,) from 0 to 1

    Returns:
        (m,) complex128
    """
    if len(side) > 2:
        chords = np.diff(side)
        length = np.abs(chords)
        slope, before, after = chords / length, length[:-1], length[1:]
        inner = (slope[:-1] * after + slope[1:] * before) / (before + after)
        tangent = np.concatenate([2 * slope[:1] - inner[:1], inner, 2 * slope[-1:] - inner[-1:]])
        # Hermite's cubics between neighbours: from one point to the next, with the tangents at both.
        ends = np.stack([side[:-1], tangent[:-1] * length, side[1:], tangent[1:] * length], axis=1)
        side = np.concatenate([(ends @ _HERMITE).ravel(), side[-1:]])
    place = _places(side)
    return np.interp(shares * place[-1], place, side)


def paired_across(top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move points along two sides until each pair bounds the same slice of the text.

    Where one side is the other one moved, as on a flag, letters were moved too, not turned: equal shares of the
    lengths are opposite each other, and slices are even in the direction across the movement. Otherwise slices are
    even along the middle, and straight across it. Slanted ends keep their slant, which passes evenly into the other
    end's.

    Args:
        top: (n,) complex128, n > 2, evenly spaced along its side
        bottom: the same for the other side

    Returns:
        n points on each side
    """
    shares = np.arange(len(top)) / (len(top) - 1)
    across, middle = bottom - top, (top + bottom) / 2
    mean = complex(across.sum()) / len(across)
    if float((np.abs(across - mean) ** 2).mean()) ** 0.5 < _PARALLEL * abs(mean):
        advance = np.maximum.accumulate(np.abs(((middle - middle[0]) * mean.conjugate()).imag))
        place = np.interp(shares * advance[-1], advance, shares)
        return np.interp(place, shares, top), np.interp(place, shares, bottom)

    sides, places = (top, bottom), np.stack([shares, shares])
    speeds = [_directions(side) * (len(top) - 1) for side in sides]
    for _ in range(_PAIRING_ROUNDS):
        paired = np.stack([np.interp(place, shares, side) for side, place in zip(sides, places)])
        middle, across = (paired[0] + paired[1]) / 2, paired[1] - paired[0]
        direction = _directions(middle)
        # Straight across, to the right of the direction, is a turn by a quarter.
        slant = np.angle(across * direction.conj() * -1j)
        start, end = (lean if abs(lean) > _SLANTED else 0.0 for lean in (float(slant[0]), float(slant[-1])))
        wanted = start + (end - start) * shares
        if np.abs(slant - wanted)[1:-1].max() < _SLANT_TOLERANCE:
            break
        # Newton's step for both points towards the line across the middle; their order on the side is kept.
        back = np.exp(-1j * (np.angle(direction) + wanted))
        away = ((paired - middle) * back).real
        speed = np.stack([np.interp(place, shares, speed) for speed, place in zip(speeds, places)])
        advance = np.maximum((speed * back).real, 0.2 * np.abs(speed) + 1e-9)
        places = np.maximum.accumulate((places - (away / advance).clip(-0.1, 0.1)).clip(0, 1), axis=1)
        places[:, [0, -1]] = 0, 1
        travelled = _places(middle)
        even = np.interp(shares * travelled[-1], travelled, shares)
        places = np.stack([np.interp(even, shares, place) for place in places])
    top, bottom = (np.interp(place, shares, side) for side, place in zip(sides, places))
    return top, bottom


def _directions(line: np.ndarray) -> np.ndarray:
    """From each point's neighbour before to the one after, halved, (n,) complex128."""
    steps = line[1:] - line[:-1]
    return np.concatenate([steps[:1], (steps[:-1] + steps[1:]) / 2, steps[-1:]])


def _places(line: np.ndarray) -> np.ndarray:
    """How far along a line its points lie, (n,) from (n,) complex128."""
    return np.concatenate([[0.0], np.cumsum(np.abs(np.diff(line)))])


def _walk(outline: np.ndarray, first: int, last: int) -> np.ndarray:
    """The outline's points from one index to another, forwards, over the end if need be."""
    count = (last - first) % len(outline) + 1
    return outline[(first + np.arange(count)) % len(outline)]


def _corners(closed: np.ndarray, place: np.ndarray, middle: float, height: float) -> tuple[tuple[int, int], float]:
    """The two corners of an end: where the outline turns most, about the text's height apart, around its middle.

    Args:
        closed: the outline with its first point repeated, (K + 1,) complex128
        place: how far along the outline each point lies, (K + 1,)
        middle: where along the outline the end was found, perhaps a little off its middle
        height: of the text near this end

    Returns:
        the point at which the outline, coming along one side, reaches the end, and the one at which it leaves it; and
        how good an end these make
    """
    around, height = float(place[-1]), max(float(height), 1e-3)
    offset = (place[:-1] - middle + around / 2) % around - around / 2
    order = np.argsort(offset)
    near = order[np.abs(offset[order]) <= _REACH * height]
    if len(near) < 2:
        near = np.argsort(np.abs(offset))[:2]
        near = near[np.argsort(offset[near])]
    here, offset = closed[near], offset[near]
    arm = _ARM * height
    before, after = (np.interp((place[near] + step) % around, place, closed) for step in (-arm, arm))
    turn = np.minimum(_turn(here - before, after - here), np.pi / 2)
    bend = np.cumsum(np.abs(_turn(here - closed[near - 1 + (near == 0) * (len(place) - 1)], closed[near + 1] - here)))

    first, last = _two_of(len(near))
    apart = np.abs(np.log(np.maximum(np.abs(here[last] - here[first]) / height, 1e-3)))
    beside = np.abs(offset[first] + offset[last]) / (2 * height)
    score = turn[first] + turn[last] - apart - beside / 4 - (bend[last - 1] - bend[first])
    best = int(score.argmax())
    return (int(near[first[best]]), int(near[last[best]])), float(score[best])


def _turn(into: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Angles from one direction to the next, (n,) radians, positive to the right on the screen."""
    return np.angle(out * into.conj())


@cache
def _two_of(count: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of so many indices, the lower one of each and the higher one."""
    first, last = np.triu_indices(count, 1)
    return first, last


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
