"""Draws a word in a font as a mask, with the neighbours that a loose crop would catch."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.synthetic.fonts import Face, load_font
from clip4str_plugin.synthetic.glyphs import choose_spacing, lay_out

__all__ = ["DrawnWord", "draw_word"]

# Spaced, widely spaced, barely a word, squeezed: see choose_spacing.
_SPACINGS = ((0.18, 0.03, 0.28), (0.23, 0.3, 0.9), (0.24, 0.9, 1.8), (0.34, -0.01, -0.05))
_SIZES = (14, 16, 18, 20, 24, 28, 32, 36, 42, 48, 56, 64, 76, 90, 108)


@dataclass(frozen=True)
class DrawnWord:
    """A word as ink on a flat canvas.

    Attributes:
        mask: (H, W) uint8 coverage of the word and of its neighbours.
        box: left, top, right, bottom of the word's own ink in pixels.
        cap_height: height of the face's capitals in pixels.
        cuts: x of every boundary between two characters of the word.
    """

    mask: np.ndarray
    box: tuple[int, int, int, int]
    cap_height: float
    cuts: tuple[int, ...]


def draw_word(
    rng: Random, label: str, face: Face, cap_height: float, filler: Callable[[Random], str]
) -> DrawnWord | None:
    """Draws a label in a face.

    Args:
        rng: source of chance.
        label: the characters, all drawable by the face.
        face: the font.
        cap_height: height wanted for capitals in pixels; the next larger of a few sizes is taken.
        filler: returns a text for neighbouring words and lines.

    Returns:
        The drawn word, or None when the font leaves no ink.
    """
    wanted = cap_height / max(face.cap_height, 0.2)
    size = next((size for size in _SIZES if size >= wanted), _SIZES[-1])
    font = load_font(face.path, size)
    cap = face.cap_height * size

    spacing = choose_spacing(rng, cap, _SPACINGS)
    bounce = cap * rng.uniform(0.02, 0.1) if rng.random() < 0.04 else 0.0

    fonts = [font] * len(label)
    if len(label) > 2 and label.isupper() and rng.random() < 0.08:
        # A large first letter before small capitals.
        fonts[0] = load_font(face.path, round(size * rng.uniform(1.15, 1.5)))

    run = lay_out(label, fonts, spacing, apart=bool(bounce))
    pad = int(1.1 * cap) + 4
    baseline = pad + int(1.15 * cap * fonts[0].size / size) + 2
    width = int(run.length) + 2 * pad
    height = baseline + int(0.55 * cap) + pad
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    ends = run.draw(draw, float(pad), lambda: baseline + (rng.gauss(0, bounce) if bounce else 0.0))
    if not run.apart:  # nobody says where the letters of a whole text end
        ends = [pad + run.length * k / len(label) for k in range(1, len(label))]
    cuts = tuple(int(end) for end in ends)
    box = image.getbbox()
    if box is None:
        return None
    _draw_neighbours(rng, draw, font, box, baseline, cap, spacing, filler, face.characters)
    return DrawnWord(np.asarray(image), box, cap, cuts)


def _draw_neighbours(
    rng: Random,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    box: tuple[int, int, int, int],
    baseline: int,
    cap: float,
    spacing: float,
    filler: Callable[[Random], str],
    characters: str,
) -> None:
    left, top, right, bottom = box

    def text(length: int) -> str:
        words = ""
        while len(words) < length:
            words += filler(rng) + " "
        drawable = "".join(char for char in words if char in characters or char == " ")
        return drawable[:length]

    if rng.random() < 0.26:
        # The gap is never as narrow as one between letters, or the label would be wrong.
        gap = max(0.3 * cap, 1.6 * spacing + 0.2 * cap) * rng.uniform(1.0, 1.8)
        if rng.random() < 0.6:
            draw.text((right + gap, baseline), text(3).strip(), fill=255, font=font, anchor="ls")
        if rng.random() < 0.6:
            before = text(3).strip()
            draw.text((left - gap, baseline), before, fill=255, font=font, anchor="rs")
    if rng.random() < 0.30:
        leading = rng.uniform(0.25, 0.7) * cap
        shift = rng.uniform(-1.5, 0.3) * cap
        count = int((right - left) / max(cap * 0.6, 1)) + 4
        side = rng.random()
        if side < 0.65:
            draw.text((left + shift, bottom + leading), text(count), fill=255, font=font, anchor="lt")
        if side > 0.45:
            draw.text((left + shift, top - leading), text(count), fill=255, font=font, anchor="ls")
