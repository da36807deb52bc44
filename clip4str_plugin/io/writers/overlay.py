"""Overlay pictures, to check at a glance what was read and where."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageFont

    from clip4str_plugin.page_content import PageContent, Word

__all__ = ["confidence_color", "draw_overlay"]

# Small pages are enlarged until text of this height is legible, large ones shrunk; sides in pixels.
_TEXT_HEIGHT, _LONGEST_SIDE = 20, 2400
_FONT_SIZE = 64
_MARGIN = 12
_FAINT = 0.3


def draw_overlay(page: PageContent) -> np.ndarray:
    """Draw a page twice, side by side: the picture with the outlines of the words, and the words where they stand.

    Outlines and words go from red over yellow to green with their confidence; a scale at the bottom tells which is
    which. Words keep their place, size and angle, so that each can be held against what is in the picture. Around them
    the picture stands faintly, so that a page of few words is not an empty sheet.

    Args:
        page: a page that has an image; one that could not be read shows its error in place of words.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    import cv2
    from PIL import Image, ImageDraw

    assert page.image is not None, "there is nothing to draw on"
    text_height = _text_height(page)
    scale = min(max(1.0, _TEXT_HEIGHT / text_height), _LONGEST_SIDE / max(page.width, page.height))
    size = max(1, round(page.width * scale)), max(1, round(page.height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(page.image, size, interpolation=method)
    # Faint, so that the words are found in the picture, and white where they stand.
    words = (255 * (1 - _FAINT) + _FAINT * picture).astype(np.uint8)
    for word in page.words:
        cv2.fillPoly(words, [np.rint(word.quad * scale).astype(np.int32)], (255, 255, 255))
    thickness = max(1, round(text_height * scale / 12))
    for word in page.words:
        outline = np.rint(word.polygon * scale).astype(np.int32)
        cv2.polylines(picture, [outline], True, confidence_color(word.confidence), thickness, cv2.LINE_AA)
        _draw_word(words, word, scale)
    both = np.concatenate([picture, np.full((size[1], _MARGIN, 3), 128, np.uint8), words], axis=1)

    canvas = Image.fromarray(both)
    draw = ImageDraw.Draw(canvas)
    if page.error is not None:
        draw.text((size[0] + 2 * _MARGIN, _MARGIN), page.error, fill="red", font=_font(18))
    return np.concatenate([np.asarray(canvas), _legend(both.shape[1])], axis=0)


def confidence_color(confidence: float) -> tuple[int, int, int]:
    """Return the RGB colour of a confidence: red at 0, yellow at 0.5, green at 1, all dark enough for white paper."""
    share = min(max(confidence, 0.0), 1.0)
    return round(220 * min(1.0, 2 - 2 * share)), round(160 * min(1.0, 2 * share)), 0


def _text_height(page: PageContent) -> float:
    """Half of the words are taller than this, in pixels."""
    heights = [float(np.hypot(*(word.quad[3] - word.quad[0]))) for word in page.words]
    return max(float(np.median(heights)), 1.0) if heights else float(_TEXT_HEIGHT)


def _draw_word(canvas: np.ndarray, word: Word, scale: float) -> None:
    """Blend the text of a word into its place on the canvas, in place."""
    import cv2
    from PIL import Image, ImageDraw

    font = _font(_FONT_SIZE)
    left, _, right, _ = font.getbbox(word.text, anchor="ls")
    # One height for all words, so that a word without tall letters is not blown up.
    ascent, descent = font.getmetrics()
    width, height = max(1, round(right - left)), ascent + descent
    tile = Image.new("L", (width, height), 0)
    ImageDraw.Draw(tile).text((-left, ascent), word.text, fill=255, font=font, anchor="ls")

    quad = word.quad * scale
    x0, y0 = np.maximum(np.floor(quad.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + 1, canvas.shape[1::-1])
    if x1 <= x0 or y1 <= y0:
        return
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    transform = cv2.getPerspectiveTransform(corners, (quad - (x0, y0)).astype(np.float32))
    # Shrunk first: warping samples single pixels, which would break thin strokes.
    shrink = min(1.0, 1.5 * float(np.hypot(*(quad[3] - quad[0]))) / height)
    small = cv2.resize(np.asarray(tile), None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    transform = transform @ np.diag([width / small.shape[1], height / small.shape[0], 1.0])
    mask = cv2.warpPerspective(small, transform, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    weight = mask[..., None] / 255.0
    region = canvas[y0:y1, x0:x1]
    region[:] = np.rint(region * (1 - weight) + np.array(confidence_color(word.confidence)) * weight)


def _legend(width: int) -> np.ndarray:
    """A strip with the scale of colours, (H, width, 3)."""
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (width, 28), "white")
    draw = ImageDraw.Draw(strip)
    start = _MARGIN + draw.textlength("confidence  0 ", font=_font(16))
    draw.text((_MARGIN, 14), "confidence  0", fill="black", font=_font(16), anchor="lm")
    for step in range(100):
        draw.rectangle((start + step, 6, start + step + 1, 22), fill=confidence_color(step / 99))
    draw.text((start + 106, 14), "1", fill="black", font=_font(16), anchor="lm")
    return np.asarray(strip)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]
