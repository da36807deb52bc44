"""Words rendered flat and bent onto a page by a known map: ground truth for straightening them again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["CASES", "Bent", "bend", "flat_words", "normalised_correlation"]

# Takes the width and height of a word and gives a map from its pixels to any place: x, y -> x, y.
Warp = Callable[[float, float, random.Random], Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Bent:
    """A page with one word on it.

    Attributes:
        page: (H, W, 3) uint8
        flat: the word before it was bent, (h, w, 3) uint8
        text: what it says
        polygon: (K, 2) float64, clockwise from the text's top left corner
        corners: top left, top right, bottom right and bottom left of the text, (4, 2) float64
    """

    page: np.ndarray
    flat: np.ndarray
    text: str
    polygon: np.ndarray
    corners: np.ndarray


def flat_words(words: list[str], fonts: list[Path], rng: random.Random, height: int = 40) -> list[np.ndarray]:
    """Render words tightly, dark on light or light on dark, (height, w, 3) uint8."""
    crops = []
    for word in words:
        font = ImageFont.truetype(str(rng.choice(fonts)), 64) if fonts else ImageFont.load_default(64)
        left, top, right, bottom = (round(edge) for edge in font.getbbox(word))
        dark, light = (tuple(rng.randrange(*span) for _ in range(3)) for span in ((0, 90), (160, 256)))
        ink, ground = rng.sample([dark, light], 2)
        margin = 6
        image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), ground)
        ImageDraw.Draw(image).text((margin - left, margin - top), word, font=font, fill=ink)
        width = max(height, round(image.width * height / image.height))
        crops.append(np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)))
    return crops


def _arc(degrees: float) -> Warp:
    def warp(width: float, height: float, rng: random.Random):
        angle = np.radians(degrees)
        radius = width / angle  # of the middle of the line, where letters keep their width
        inner = radius - height / 2
        if inner < 0.35 * height:  # short words bend no further than letters stay letters
            radius = 0.85 * height
        smile = rng.random() < 0.5

        def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            turn = (x / width - 0.5) * angle
            distance = radius + (y - height / 2 if smile else height / 2 - y)
            return distance * np.sin(turn), distance * np.cos(turn) * (1 if smile else -1)

        return place

    return warp


def _wave(width: float, height: float, rng: random.Random):
    """Run along a sine that never bends tighter than a radius of the height, letters upright on the curve."""
    periods, phase = rng.uniform(0.6, 1.6), rng.uniform(0, 2 * np.pi)
    frequency = 2 * np.pi * periods / width
    swing = min(0.6 * height, 1 / (height * frequency**2))
    along = np.linspace(-0.1 * width, 1.1 * width, 4000)
    curve = swing * np.sin(frequency * along + phase)
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(along), np.diff(curve)))])
    travelled -= np.interp(0, along, travelled)
    stretch = np.interp(width, along, travelled) / width

    def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.interp(x * stretch, travelled, along)
        slope = swing * frequency * np.cos(frequency * x + phase)
        norm = np.hypot(1, slope)
        offset = y - height / 2
        return x - offset * slope / norm, swing * np.sin(frequency * x + phase) + offset / norm

    return place


def _flag(width: float, height: float, rng: random.Random):
    """A sine that only moves letters up and down, so that upright strokes stay upright, as on a flag."""
    swing, frequency = rng.uniform(0.2, 0.5) * height, 2 * np.pi * rng.uniform(0.6, 1.6) / width
    phase = rng.uniform(0, 2 * np.pi)
    return lambda x, y: (x, y + swing * np.sin(frequency * x + phase))


def _perspective(strength: float) -> Warp:
    def warp(width: float, height: float, rng: random.Random):
        left, right = (1, 1 - strength) if rng.random() < 0.5 else (1 - strength, 1)
        lean = rng.uniform(-0.3, 0.3) * height

        def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # Depth grows linearly along the word, so 1 / scale is linear in x.
            weight = (1 - x / width) / left + (x / width) / right
            return (x + lean * y / height) / weight, (y - height / 2) / weight

        return place

    return warp


def _shear(width: float, height: float, rng: random.Random):
    lean = rng.uniform(-0.6, 0.6)
    return lambda x, y: (x + lean * y, y)


def _flat(width: float, height: float, rng: random.Random):
    return lambda x, y: (x, y)


def _growing_arc(width: float, height: float, rng: random.Random):
    """An arc along which the letters grow to up to twice the height."""
    place_arc = _arc(rng.uniform(40, 120))(width, height, rng)
    growth = rng.uniform(1.4, 2.0)

    def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return place_arc(x, height / 2 + (y - height / 2) * (1 + (growth - 1) * x / width))

    return place


CASES: dict[str, tuple[Warp, bool]] = {
    "upright": (_flat, False),
    "shear": (_shear, False),
    "perspective 0.6": (_perspective(0.4), False),
    "perspective 0.4": (_perspective(0.6), False),
    **{f"arc {degrees}": (_arc(degrees), True) for degrees in (20, 60, 90, 120, 180, 240, 300)},
    "wave": (_wave, True),
    "flag": (_flag, True),
    "growing arc": (_growing_arc, True),
}


def bend(flat: np.ndarray, text: str, case: str, rotation: float, rng: random.Random) -> Bent:
    """Put a flat word onto a page, bent as `case` says and turned by `rotation` degrees, with its polygon.

    Curved polygons get 4 to 17 uneven points a side, about as many as a person would set for that bend.
    """
    warp, curved = CASES[case]
    height, width = flat.shape[:2]
    place = warp(width, height, rng)
    turn = np.radians(rotation)

    def to_page(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = place(np.asarray(x, np.float64), np.asarray(y, np.float64))
        return np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=-1)

    # Splat a fine raster of the word: needs no inverse of the map.
    fine = 6
    y, x = (np.mgrid[: height * fine, : width * fine] + 0.5) / fine
    points = to_page(x, y)
    origin = points.min(axis=(0, 1)) - 20
    points -= origin
    columns, rows = np.ceil(points.max(axis=(0, 1)) + 20).astype(int)
    values = np.asarray(Image.fromarray(flat).resize((width * fine, height * fine), Image.Resampling.BICUBIC))
    flat_index = (points[..., 1].astype(int) * columns + points[..., 0].astype(int)).ravel()
    weight = np.bincount(flat_index, minlength=rows * columns)
    page = np.full((rows * columns, 3), values[: fine * 2].mean(axis=(0, 1)) * 0.5 + 64)
    hit = weight > 0
    for channel in range(3):
        total = np.bincount(flat_index, values[..., channel].ravel(), minlength=rows * columns)
        page[hit, channel] = total[hit] / weight[hit]
    page = page.reshape(rows, columns, 3).round().astype(np.uint8)

    shares = [np.array([0.0, 1.0])] * 2
    if curved:
        fewest = 3 + int(case.split()[-1]) // 40 if case.startswith("arc") else 7
        shares = [_uneven(rng.randint(fewest, max(fewest, 17)), rng) for _ in range(2)]
    top = to_page(shares[0] * width, np.zeros_like(shares[0])) - origin
    bottom = to_page(shares[1] * width, np.full_like(shares[1], height)) - origin
    corners = np.array([top[0], top[-1], bottom[-1], bottom[0]])
    return Bent(page, flat, text, np.concatenate([top, bottom[::-1]]), corners)


def _uneven(count: int, rng: random.Random) -> np.ndarray:
    """`count` shares from 0 to 1, their steps differing by up to a factor of four."""
    steps = np.cumsum([rng.uniform(0.5, 2.0) for _ in range(count - 1)])
    return np.concatenate([[0.0], steps / steps[-1]])


def shuffled(polygon: np.ndarray, rng: random.Random) -> np.ndarray:
    """The same polygon from a random point on, in a random winding."""
    return np.roll(polygon[:: rng.choice([1, -1])], rng.randrange(len(polygon)), axis=0)


def normalised_correlation(crop: np.ndarray, flat: np.ndarray) -> float:
    """Normalised cross-correlation of two crops after scaling the first to the second's size: 1 = the same picture."""
    if not crop.size:
        return 0.0
    resized = Image.fromarray(crop).resize(flat.shape[1::-1], Image.Resampling.BICUBIC)
    a, b = (np.asarray(image, np.float64).mean(axis=2) for image in (resized, flat))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))
