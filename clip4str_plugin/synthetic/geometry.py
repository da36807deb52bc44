"""From the flat word to the crop: bending, rotation, shear, perspective, and the bounds a detector would cut."""

import math
from random import Random

import cv2
import numpy as np

__all__ = ["bend", "outline_points", "project"]


def outline_points(box: tuple[int, int, int, int], steps: int = 9) -> np.ndarray:
    """Returns points along the top and the bottom of a box, (2 * steps, 2) float32."""
    left, top, right, bottom = box
    x = np.linspace(left, right, steps, dtype=np.float32)
    return np.concatenate([np.stack([x, np.full_like(x, top)], 1), np.stack([x, np.full_like(x, bottom)], 1)])


def bend(rng: Random, mask: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bends a word along an arc of a circle or along a wave, or swells it.

    Args:
        rng: source of chance.
        mask: (H, W) uint8 ink.
        points: (K, 2) float32 outline of the word on it.

    Returns:
        The bent ink and the bent outline.
    """
    height, width = mask.shape
    left, top = points.min(0)
    right, bottom = points.max(0)
    center_x, center_y = float(left + right) / 2, float(top + bottom) / 2
    length, tall = float(right - left), float(bottom - top)
    if length < 2.2 * tall:
        return mask, points
    draw = rng.random()
    if draw < 0.25:
        return _swell(rng, mask, points)
    if draw < 0.48:
        amplitude, period = rng.uniform(0.05, 0.22) * tall, length * rng.uniform(0.7, 2.0)
        phase = rng.uniform(0, 2 * math.pi)
        extra = int(amplitude) + 1
        x = np.arange(width, dtype=np.float32)
        wave = (amplitude * np.sin(x * (2 * math.pi / period) + phase)).astype(np.float32)
        map_y = np.arange(height + 2 * extra, dtype=np.float32)[:, None] - extra - wave
        map_x = np.broadcast_to(x, map_y.shape)
        bent = cv2.remap(mask, np.ascontiguousarray(map_x), map_y, cv2.INTER_LINEAR)
        moved = points.copy()
        moved[:, 1] += extra + amplitude * np.sin(points[:, 0] * (2 * math.pi / period) + phase)
        return bent, moved
    angle = rng.uniform(0.25, 1.0) if rng.random() < 0.75 else rng.uniform(1.0, 2.1)
    # The inner radius must leave the letters room to stand.
    radius = max(length / angle, 1.3 * tall)
    sign = 1.0 if rng.random() < 0.7 else -1.0  # 1: the middle is the highest point

    def forward(p: np.ndarray) -> np.ndarray:
        theta = (p[:, 0] - center_x) / radius
        r = radius - sign * (p[:, 1] - center_y)
        return np.stack([r * np.sin(theta), sign * (radius - r * np.cos(theta))], 1)

    moved = forward(points)
    margin = 0.9 * tall
    low, high = moved.min(0) - margin, moved.max(0) + margin
    x = np.arange(int(high[0] - low[0]) + 1, dtype=np.float32) + np.float32(low[0])
    y = (np.arange(int(high[1] - low[1]) + 1, dtype=np.float32) + np.float32(low[1]))[:, None]
    down = np.float32(radius) - np.float32(sign) * y
    distance, theta = cv2.cartToPolar(np.broadcast_to(down, (len(y), len(x))).copy(), np.tile(x, (len(y), 1)))
    theta = np.where(theta > math.pi, theta - np.float32(2 * math.pi), theta)
    map_x = theta * np.float32(radius) + np.float32(center_x)
    map_y = np.float32(sign) * (np.float32(radius) - distance) + np.float32(center_y)
    bent = cv2.remap(mask, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
    return bent, (moved - low).astype(np.float32)


def _swell(rng: Random, mask: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes letters taller in the middle or at the ends, up from the line they stand on or to both sides."""
    left, top = points.min(0)
    right, bottom = points.max(0)
    anchor = rng.choice((float(bottom), float(top), float(top + bottom) / 2))
    growth = rng.choice((rng.uniform(-0.4, -0.1), rng.uniform(0.2, 0.8)))
    sign_end = rng.random() < 0.25  # growing from one end to the other

    def gain(x: np.ndarray) -> np.ndarray:
        t = np.clip((x - left) / max(float(right - left), 1.0), 0, 1)
        return (1 + growth * (t if sign_end else np.sin(np.pi * t))).astype(np.float32)

    extra = int(max(growth, 0.0) * float(bottom - top)) + 1
    x = np.arange(mask.shape[1], dtype=np.float32)
    y = np.arange(mask.shape[0] + 2 * extra, dtype=np.float32)[:, None] - np.float32(extra)
    map_y = (y - np.float32(anchor)) / gain(x) + np.float32(anchor)
    swollen = cv2.remap(mask, np.broadcast_to(x, map_y.shape).copy(), map_y, cv2.INTER_LINEAR)
    moved = points.copy()
    moved[:, 1] = (points[:, 1] - anchor) * gain(points[:, 0]) + anchor + extra
    return swollen, moved


def _margins(rng: Random) -> tuple[float, float, float, float]:
    """Returns left, top, right, bottom margins in capital heights: tight and cut, usual, or loose."""
    draw = rng.random()
    if draw < 0.06:
        # A detector's polygon often ends inside the first or the last letter.
        left, top, right, bottom = (rng.uniform(-0.2, 0.1) for _ in range(4))
        return left, max(top, -0.12), right, max(bottom, -0.12)
    low, high = (-0.09, 0.08) if draw < 0.2 else (0.02, 0.32) if draw < 0.76 else (0.1, 0.8)
    left, right = rng.uniform(low, high), rng.uniform(low, high)
    return left, rng.uniform(low, high), right, rng.uniform(low, high)


def _angle(rng: Random) -> float:
    draw = rng.random()
    if draw < 0.62:
        return rng.gauss(0, 2.0)
    if draw < 0.90:
        return rng.gauss(0, 8.0)
    return rng.uniform(-40, 40)


def project(
    rng: Random, points: np.ndarray, cap_height: float, target: float, max_size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Chooses the view of the word.

    Args:
        rng: source of chance.
        points: (K, 2) float32 outline of the word on the flat canvas.
        cap_height: height of capitals on the canvas in pixels.
        target: height of capitals wanted in the crop in pixels.
        max_size: largest height and width of the crop; a word that would not fit is made smaller.

    Returns:
        The (3, 3) float64 homography from the canvas to the crop, and the crop's (height, width).
    """
    center = (points.min(0) + points.max(0)) / 2
    half = max(float((points.max(0) - points.min(0))[0]) / 2, 1.0)
    scale = target / cap_height
    stretch = math.exp(rng.gauss(-0.1, 0.22))
    if rng.random() < 0.08:
        stretch *= rng.uniform(0.4, 0.8)  # a sign along the street, seen from its end
    angle = math.radians(_angle(rng))
    shear = rng.gauss(0, 0.12) if rng.random() < 0.35 else 0.0
    tilt_x = tilt_y = 0.0
    if rng.random() < 0.45:
        tilt_x = rng.gauss(0, 0.11) / half
        tilt_y = rng.gauss(0, 0.08) / half
        limit = 0.35 / half
        tilt_x, tilt_y = max(-limit, min(limit, tilt_x)), max(-limit, min(limit, tilt_y))
        stretch *= 1 - abs(tilt_x) * half * rng.uniform(0, 1.2)  # a plane turned away is foreshortened
    cosine, sine = math.cos(angle), math.sin(angle)
    to_center = np.array([[1, 0, -center[0]], [0, 1, -center[1]], [0, 0, 1]], np.float64)
    tilt = np.array([[1, 0, 0], [0, 1, 0], [tilt_x, tilt_y, 1]], np.float64)
    squeeze = np.array([[scale * stretch, scale * shear, 0], [0, scale, 0], [0, 0, 1]], np.float64)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float64)
    view = turn @ squeeze @ tilt @ to_center

    corners = cv2.perspectiveTransform(points[None], view)[0]
    low, high = corners.min(0), corners.max(0)
    left, top, right, bottom = _margins(rng)
    low, high = low - target * np.array([left, top]), high + target * np.array([right, bottom])
    width, height = max(float(high[0] - low[0]), 4.0), max(float(high[1] - low[1]), 6.0)
    fit = min(1.0, max_size[0] / height, max_size[1] / width)
    shift = np.array([[fit, 0, -low[0] * fit], [0, fit, -low[1] * fit], [0, 0, 1]], np.float64)
    return shift @ view, (max(6, round(height * fit)), max(4, round(width * fit)))
