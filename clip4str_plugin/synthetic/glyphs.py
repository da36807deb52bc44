"""Lays letters of a font out along a baseline: as the font sets them, spaced, or squeezed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from PIL import ImageDraw, ImageFont

__all__ = ["Run", "choose_spacing", "lay_out"]


@dataclass(frozen=True)
class Run:
    """Text to be drawn from left to right.

    Attributes:
        pieces: what is drawn at once, in which font, and how far the next piece is: letters where they are spaced, else
            the whole text, which leaves kerning to the font.
        apart: whether each piece is a letter.
        length: from the start of the first piece to where another one would start, in pixels.
    """

    pieces: tuple[tuple[str, ImageFont.FreeTypeFont, float], ...]
    apart: bool
    length: float

    def draw(self, pen: ImageDraw.ImageDraw, x: float, baseline: Callable[[], float]) -> list[float]:
        """Draw in white.

        Args:
            pen: draws on an image of mode "L".
            x: where the first piece starts.
            baseline: called once a piece, gives the y of its baseline.

        Returns:
            x behind each piece.
        """
        ends = []
        for text, font, advance in self.pieces:
            pen.text((x, baseline()), text, fill=255, font=font, anchor="ls")
            x += advance
            ends.append(x)
        return ends


def lay_out(text: str, fonts: Sequence[ImageFont.FreeTypeFont], spacing: float = 0.0, apart: bool = False) -> Run:
    """Place the letters of a text.

    Args:
        text: one character or more.
        fonts: one for each character.
        spacing: pixels added behind each letter; negative squeezes.
        apart: draw letter by letter even where nothing is spaced and all fonts are the same.
    """
    apart = apart or bool(spacing) or any(font is not fonts[0] for font in fonts)
    if apart:
        pieces = tuple((char, font, font.getlength(char) + spacing) for char, font in zip(text, fonts, strict=True))
    else:
        pieces = ((text, fonts[0], fonts[0].getlength(text)),)
    return Run(pieces, apart, sum(advance for _, _, advance in pieces))


def choose_spacing(rng: Random, cap_height: float, shares: Sequence[tuple[float, float, float]]) -> float:
    """Choose pixels between letters beside the font's own.

    Args:
        rng: source of chance.
        cap_height: height of capitals in pixels.
        shares: (share of texts up to this row, least, most) in cap heights; the rest is set as the font has it.
    """
    draw = rng.random()
    for upto, least, most in shares:
        if draw < upto:
            return cap_height * rng.uniform(least, most)
    return 0.0
