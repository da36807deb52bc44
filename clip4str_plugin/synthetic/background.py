"""What lies behind the word: flat signs, gradients, textures, edges of boards and blurred shapes."""

from random import Random

import cv2
import numpy as np

from clip4str_plugin.synthetic.textures import TextureBank

__all__ = ["draw_ground"]


def _ramp(rng: Random, height: int, width: int) -> np.ndarray:
    """Returns a linear ramp from -1 to 1 in a random direction, (height, width, 1) float32."""
    across, down = rng.uniform(-1, 1), rng.uniform(-1, 1)
    scale = 1 / max(abs(across) + abs(down), 1e-3)
    x = np.linspace(-across * scale, across * scale, width, dtype=np.float32)
    y = np.linspace(-down * scale, down * scale, height, dtype=np.float32)
    return (y[:, None] + x)[:, :, None]


def _other(rng: Random, color: np.ndarray, spread: float) -> np.ndarray:
    step = rng.uniform(-spread, spread)
    return np.clip(color + np.array([step + rng.gauss(0, spread / 4) for _ in range(3)], np.float32), 0, 255)


def draw_ground(
    rng: Random, bank: TextureBank, height: int, width: int, color: np.ndarray, contrast: float
) -> np.ndarray:
    """Draws a background around one colour.

    Args:
        rng: source of chance.
        bank: where textures are cut from.
        height: rows in pixels.
        width: columns in pixels.
        color: main colour, (3,) float32 RGB, 0 to 255.
        contrast: luminance distance of the text to it; the ground varies by less, so that the word stays legible.

    Returns:
        (height, width, 3) float32 RGB.
    """
    ground: np.ndarray = np.empty((height, width, 3), np.float32)
    ground[:] = color
    # Now and then a busy ground: trees, walls and windows behind letters that stand free.
    room = min(contrast * 0.4, 45.0) if rng.random() < 0.8 else min(contrast * 0.7, 90.0)
    draw = rng.random()
    if draw < 0.40:
        if rng.random() < 0.6:
            ground += _ramp(rng, height, width) * (room * rng.uniform(0.1, 0.8))
    elif draw < 0.66:
        tint = np.array([rng.uniform(0.7, 1.2) for _ in range(3)], np.float32) * (room * rng.uniform(0.1, 0.55))
        ground += bank.cut(rng, height, width)[:, :, None] * tint
    elif draw < 0.80:
        # A board, a window frame, a wall that begins behind the word.
        mask = np.zeros((height, width), np.float32)
        edge = rng.choice((0.0, 1.0, rng.random()))
        tilt = rng.uniform(-0.15, 0.15)
        points: list[tuple[float, float]]
        if rng.random() < 0.7:
            y = edge * height
            points = [(0, y - tilt * width / 2), (width, y + tilt * width / 2), (width, height * 2), (0, height * 2)]
        else:
            x = edge * width
            points = [(x - tilt * height, 0), (width * 2, 0), (width * 2, height), (x + tilt * height, height)]
        cv2.fillConvexPoly(mask, np.array(points, np.int32), 1.0, cv2.LINE_AA)
        # Only a ground that starts well at the rim may differ strongly.
        strong = edge in (0.0, 1.0)
        ground += (_other(rng, color, 90 if strong else room) - color) * mask[:, :, None]
    elif draw < 0.90:
        for _ in range(rng.randint(1, 4)):
            centre = (rng.randrange(width), rng.randrange(height))
            axes = (rng.randint(2, max(3, width // 2)), rng.randint(2, max(3, height // 2)))
            tone = _other(rng, color, room).tolist()
            cv2.ellipse(ground, centre, axes, rng.uniform(0, 180), 0, 360, tone, -1, cv2.LINE_AA)
        if rng.random() < 0.5:
            ground = cv2.GaussianBlur(ground, (0, 0), rng.uniform(0.5, 1 + height / 10))
    else:
        columns = rng.randint(2, 5)
        small = np.array([[_other(rng, color, room) for _ in range(columns)] for _ in range(2)], np.float32)
        ground = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return ground
