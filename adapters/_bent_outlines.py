"""Outlines of bent text from the points of a network's map: a smooth line through its middle, and its height."""

from __future__ import annotations

import numpy as np

__all__ = ["bent_outline"]

# Points along either side.
_POINTS = 7


def bent_outline(
    points: np.ndarray, quad: np.ndarray, *, bend: float, degree: int = 2, border: float = 0.0
) -> tuple[np.ndarray, float] | None:
    """Follow the bend of text.

    Args:
        points: (N, 2) float, all points of the map that show it.
        quad: (4, 2) corners of the smallest rectangle around them; the first two are the ends of a long side.
        bend: text whose middle line nowhere leaves the chord by so many heights is straight.
        degree: of the polynomial through the middle: 2 for a word, 3 for a line of a page that is not flat.
        border: what the map leaves out around text, as a multiple of the area over the circumference of what it shows.

    Returns:
        (14, 2) float64 points, from the first corner around like the quad's, and the height; None if it is straight.
    """
    length = float(np.linalg.norm(quad[1] - quad[0]))
    along = (quad[1] - quad[0]) / max(length, 1e-6)
    across = np.array([-along[1], along[0]])
    shifted = points - quad[0]
    columns, rows = (shifted @ along).round().astype(int), shifted @ across
    first, last = columns.min(), columns.max()
    if last - first < 2 * _POINTS:
        return None
    highest, lowest = np.full(last - first + 1, np.inf), np.full(last - first + 1, -np.inf)
    np.minimum.at(highest, columns - first, rows)
    np.maximum.at(lowest, columns - first, rows)
    filled = np.isfinite(highest)
    place = np.flatnonzero(filled) + float(first)
    highest, lowest = highest[filled], lowest[filled]
    middle, thickness = (highest + lowest) / 2, lowest - highest + 1
    # The ends are thinner than the rest, so that they say less about the middle.
    curve = np.polynomial.Polynomial.fit(place, middle, degree, w=thickness)
    slope = curve.deriv()
    height = float(np.median(thickness / np.hypot(1, slope(place))))
    margin = border * length * height / (2 * (length + height))
    knots = np.linspace(first, last, _POINTS)
    line = curve(knots)
    chord = line[0] + (line[-1] - line[0]) * np.linspace(0, 1, _POINTS)
    height += 2 * margin
    if np.abs(line - chord).max() < bend * height:
        return None
    normal = np.stack([-slope(knots), np.ones(_POINTS)], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    centre = np.stack([knots, line], axis=1)
    # Beyond what the map shows the text goes straight on.
    forward = np.stack([normal[:, 1], -normal[:, 0]], axis=1)
    centre[0] -= margin * forward[0]
    centre[-1] += margin * forward[-1]
    local = np.concatenate([centre - height / 2 * normal, (centre + height / 2 * normal)[::-1]])
    return quad[0] + local[:, :1] * along + local[:, 1:] * across, height
