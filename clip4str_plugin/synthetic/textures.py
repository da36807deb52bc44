"""A bank of procedural textures: grain, clouds, streaks, bricks, stripes, dots, scribbles; cheap to cut from."""

from random import Random

import cv2
import numpy as np

__all__ = ["TextureBank"]

_SHAPE = (192, 640)
_SCALE = 36.0  # int8 steps for one standard deviation


def _noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    field = rng.standard_normal((max(rows, 2), max(columns, 2))).astype(np.float32)
    return cv2.resize(field, _SHAPE[::-1], interpolation=cv2.INTER_CUBIC)


def _clouds(rng: np.random.Generator) -> np.ndarray:
    fall = rng.uniform(0.4, 0.8)
    octaves = range(int(rng.integers(0, 3)), 7)
    return np.sum([fall**k * _noise(rng, 2**k, 3 * 2**k) for k in octaves], axis=0)


def _grain(rng: np.random.Generator) -> np.ndarray:
    step = rng.uniform(1, 4)
    return _noise(rng, int(_SHAPE[0] / step), int(_SHAPE[1] / step))


def _streaks(rng: np.random.Generator) -> np.ndarray:
    thin, long = int(rng.integers(24, 160)), int(rng.integers(1, 6))
    field = _noise(rng, thin, long) if rng.random() < 0.7 else _noise(rng, long, 3 * thin)
    return field + 0.3 * _grain(rng)


def _bricks(rng: np.random.Generator) -> np.ndarray:
    height, width = int(rng.integers(10, 44)), int(rng.integers(20, 110))
    joint = int(rng.integers(1, 5))
    shift = rng.choice([0, width // 2])
    y, x = np.indices(_SHAPE)
    row = y // height
    x = x + (row % 2) * shift
    tone = rng.standard_normal((_SHAPE[0] // height + 1, _SHAPE[1] // width + 2)).astype(np.float32)
    field = tone[row, x // width] * 0.7
    field[(y % height < joint) | (x % width < joint)] = rng.choice([-3, 3])
    return field + 0.4 * _grain(rng)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    y, x = np.indices(_SHAPE, dtype=np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 60)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    return np.tanh(wave * rng.uniform(0.7, 8)) + 0.15 * _grain(rng)


def _dots(rng: np.random.Generator) -> np.ndarray:
    y, x = np.indices(_SHAPE, dtype=np.float32)
    period, sharp = rng.uniform(4, 24), rng.uniform(1, 6)
    return np.tanh(sharp * (np.sin(x * 2 * np.pi / period) * np.sin(y * 2 * np.pi / period) - 0.3))


def _shapes(rng: np.random.Generator) -> np.ndarray:
    field = np.zeros(_SHAPE, np.float32)
    for _ in range(int(rng.integers(20, 90))):
        centre = (int(rng.integers(0, _SHAPE[1])), int(rng.integers(0, _SHAPE[0])))
        axes = (int(rng.integers(4, 70)), int(rng.integers(4, 50)))
        tone = float(rng.standard_normal())
        if rng.random() < 0.5:
            cv2.ellipse(field, centre, axes, float(rng.uniform(0, 180)), 0, 360, tone, -1)
        else:
            corners = cv2.boxPoints((centre, axes, float(rng.uniform(0, 90))))
            cv2.fillConvexPoly(field, corners.astype(np.int32), tone)
    return cv2.GaussianBlur(field, (0, 0), float(rng.uniform(0.5, 6)))


def _scribbles(rng: np.random.Generator) -> np.ndarray:
    field = np.zeros(_SHAPE, np.float32)
    for _ in range(int(rng.integers(15, 80))):
        points = np.cumsum(rng.normal(0, 18, (6, 2)), axis=0) + rng.uniform((0, 0), _SHAPE[::-1])
        cv2.polylines(
            field, [points.astype(np.int32)], False, float(rng.choice([-1, 1])), int(rng.integers(1, 5)), cv2.LINE_AA
        )
    return cv2.GaussianBlur(field, (0, 0), float(rng.uniform(0.4, 2)))


_KINDS = [_clouds, _clouds, _grain, _streaks, _bricks, _stripes, _dots, _shapes, _shapes, _scribbles]


class TextureBank:
    """A fixed set of grey textures of mean 0 and standard deviation 1, made once from a seed.

    >>> bank = TextureBank(seed=0, count=10)
    >>> bank.cut(Random(0), 20, 50).shape
    (20, 50)
    """

    def __init__(self, seed: int, count: int = 60) -> None:
        rng = np.random.default_rng(seed)
        textures = []
        for index in range(count):
            field = _KINDS[index % len(_KINDS)](rng)
            field = (field - field.mean()) / (field.std() + 1e-6)
            textures.append(np.clip(field * _SCALE, -127, 127).astype(np.int8))
        self._textures = np.stack(textures)
        self._white = np.clip(rng.standard_normal((256, 512, 3)) * _SCALE, -127, 127).astype(np.int8)

    def cut(self, rng: Random, height: int, width: int) -> np.ndarray:
        """Returns a piece of a random texture at a random scale, (height, width) float32."""
        texture = self._textures[rng.randrange(len(self._textures))]
        scale = rng.uniform(0.5, 1.6)
        rows = max(2, min(int(height * scale), _SHAPE[0]))
        columns = max(2, min(int(width * scale), _SHAPE[1]))
        top, left = rng.randint(0, _SHAPE[0] - rows), rng.randint(0, _SHAPE[1] - columns)
        piece = texture[top : top + rows, left : left + columns]
        # A mirrored piece is a new one at no cost.
        piece = piece[:: rng.choice((1, -1)), :: rng.choice((1, -1))]
        return cv2.resize(piece.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) * (1 / _SCALE)

    def white(self, rng: Random, height: int, width: int) -> np.ndarray:
        """Returns white noise of three channels, (height, width, 3) float32, of standard deviation 1."""
        rows, columns = min(height, 256), min(width, 512)
        top, left = rng.randint(0, 256 - rows), rng.randint(0, 512 - columns)
        piece: np.ndarray = self._white[top : top + rows, left : left + columns].astype(np.float32) * (1 / _SCALE)
        if (rows, columns) != (height, width):
            piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_NEAREST)
        return piece
