"""Colours a word: fill, outline, shadow, depth, glow and relief on its ground."""

import math
from random import Random

import cv2
import numpy as np

from clip4str_plugin.synthetic.background import draw_ground
from clip4str_plugin.synthetic.textures import TextureBank

__all__ = ["Style", "choose_style", "layers", "paint"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Style:
    """The choices made for one word; see `choose_style`."""

    __slots__ = (
        "border",
        "border_color",
        "border_width",
        "contrast",
        "fill",
        "fill_change",
        "ground",
        "hollow",
        "relief",
        "second",
        "shadow",
        "shadow_color",
        "shadow_shift",
        "shadow_soft",
        "weight",
    )

    def __init__(self) -> None:
        self.fill: np.ndarray
        self.ground: np.ndarray
        self.contrast = 0.0
        self.border = False
        self.border_color: np.ndarray
        self.border_width = 0.0
        self.hollow = False
        self.shadow = ""
        self.shadow_color: np.ndarray
        self.shadow_shift = (0.0, 0.0)
        self.shadow_soft = 0.0
        self.relief = 0.0
        self.fill_change = ""
        self.second: np.ndarray | None = None
        self.weight = 0.0


def _color(rng: Random) -> np.ndarray:
    """Returns a colour as signs have it: often grey, white or black, else any hue, seldom a garish one."""
    draw = rng.random()
    if draw < 0.55:
        value = rng.choice((rng.uniform(0, 255), rng.uniform(0, 60), rng.uniform(200, 255)))
        warm = rng.gauss(0, 9)
        return np.clip(np.array([value + warm, value + rng.gauss(0, 3), value - warm], np.float32), 0, 255)
    # Besides any hue: the reds, blues, yellows and browns, and greens of shop signs.
    centre, spread = rng.choice(((90, 60), (1, 5), (1, 5), (110, 8), (110, 8), (22, 8), (65, 12)))
    hue = rng.gauss(centre, spread) % 180
    saturation = 255 * rng.betavariate(1.6, 1.5)
    value = 255 * rng.betavariate(2.2, 1.5)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def choose_style(rng: Random) -> Style:
    """Chooses colours of enough contrast and the effects of one word."""
    style = Style()
    style.ground = _color(rng)
    needed = 45.0 if rng.random() < 0.85 else 26.0
    for _attempt in range(12):
        draw = rng.random()
        if draw < 0.34:
            style.fill = np.array([rng.uniform(215, 255)] * 3, np.float32)
        elif draw < 0.52:
            style.fill = np.array([rng.uniform(0, 50)] * 3, np.float32)
        else:
            style.fill = _color(rng)
        style.contrast = abs(float((style.fill - style.ground) @ _LUMA))
        if style.contrast >= needed:
            break
    else:
        style.fill = np.array([0, 0, 0] if float(style.ground @ _LUMA) > 120 else [255, 255, 255], np.float32)
        style.contrast = abs(float((style.fill - style.ground) @ _LUMA))

    dark = float(style.fill @ _LUMA) < float(style.ground @ _LUMA)
    draw = rng.random()
    if draw < 0.11:
        style.border = True
        style.border_width = rng.uniform(0.03, 0.13)
        # An outline that resembles the fill would close the counters.
        light = float(style.fill @ _LUMA) > 127
        style.border_color = (
            np.array([rng.uniform(0, 60)] * 3, np.float32)
            if light
            else np.array([rng.uniform(200, 255)] * 3, np.float32)
        )
        if rng.random() < 0.4:
            style.border_color = _color(rng)
            if abs(float((style.border_color - style.fill) @ _LUMA)) < 50:
                style.border_color = 255 - style.fill
    elif draw < 0.13:
        style.hollow = True
        style.border_width = rng.uniform(0.05, 0.09)
    draw = rng.random()
    if draw < 0.31:
        style.shadow = "drop" if draw < 0.13 else "depth" if draw < 0.27 else "glow"
        style.shadow_shift = (rng.uniform(-0.14, 0.14), rng.uniform(-0.05, 0.14))
        if rng.random() < 0.35:
            # Letters that stand out from a wall, in the sun or seen from below.
            style.shadow_shift = (rng.uniform(-0.35, 0.35), rng.uniform(-0.1, 0.4))
        style.shadow_soft = rng.uniform(0.0, 0.08) if style.shadow == "drop" else rng.uniform(0.08, 0.25)
        style.shadow_color = style.ground * rng.uniform(0.1, 0.55)
        if style.shadow == "glow" or (dark and rng.random() < 0.6):
            mix = rng.uniform(0.2, 0.5)
            style.shadow_color = style.ground * (1 - mix) + style.fill * mix
        elif style.shadow == "depth" and rng.random() < 0.5:
            style.shadow_color = style.fill * rng.uniform(0.25, 0.6)
    if rng.random() < 0.12:
        style.relief = rng.uniform(20, 90)
    draw = rng.random()
    if draw < 0.14:
        style.fill_change = "ramp"
    elif draw < 0.26:
        style.fill_change = "texture"
    if rng.random() < 0.03:
        other = _color(rng)
        if abs(float((other - style.ground) @ _LUMA)) > 40:
            style.second = other
    draw = rng.random()
    if draw < 0.2:
        style.weight = rng.uniform(0.02, 0.09)
    return style


def _grow(mask: np.ndarray, radius: float) -> np.ndarray:
    size = 2 * max(1, round(radius)) + 1
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


def _moved(mask: np.ndarray, dx: float, dy: float) -> np.ndarray:
    return cv2.warpAffine(
        mask, np.array([[1, 0, dx], [0, 1, dy]], np.float32), mask.shape[::-1], flags=cv2.INTER_LINEAR
    )


def layers(style: Style, mask: np.ndarray, cap_height: float, second_from: int | None) -> np.ndarray:
    """Makes the masks of a style out of the ink.

    Args:
        style: the choices.
        mask: (H, W) uint8 ink.
        cap_height: height of capitals on it in pixels.
        second_from: x from which the second colour holds, where the style has one.

    Returns:
        (H, W, 4) uint8: fill, outline, shadow, second colour; (H, W) when the style is a plain fill.
    """
    if style.weight:
        mask = _grow(mask, style.weight * cap_height / 2)
    plain = not (style.border or style.hollow or style.shadow or style.second is not None)
    if plain:
        return mask
    empty = np.zeros_like(mask)
    border = shadow = second = empty
    fill = mask
    if style.border:
        border = _grow(mask, style.border_width * cap_height)
    elif style.hollow:
        fill = cv2.subtract(_grow(mask, style.border_width * cap_height / 2), mask)
    if style.shadow == "glow":
        shadow = cv2.GaussianBlur(_grow(mask, 0.06 * cap_height), (0, 0), max(style.shadow_soft * cap_height, 0.5))
    elif style.shadow:
        dx, dy = (shift * cap_height for shift in style.shadow_shift)
        if style.shadow == "drop":
            shadow = _moved(mask, dx, dy)
            if style.shadow_soft > 0.02:
                shadow = cv2.GaussianBlur(shadow, (0, 0), style.shadow_soft * cap_height)
        else:
            # Doubling the reach with every step leaves no gap and takes few steps.
            steps = max(1, math.ceil(math.log2(max(abs(dx), abs(dy), 1.0))) + 1)
            shadow = mask
            for step in range(1, steps + 1):
                part = 2.0**-step
                shadow = cv2.max(shadow, _moved(shadow, dx * part, dy * part))
    if style.second is not None and second_from is not None:
        second = fill.copy()
        second[:, :second_from] = 0
    return cv2.merge([fill, border, shadow, second])


def paint(rng: Random, style: Style, bank: TextureBank, masks: np.ndarray) -> np.ndarray:
    """Paints the ground and the masks, warped to the crop, on each other.

    Args:
        rng: source of chance.
        style: the choices.
        bank: where textures are cut from.
        masks: what `layers` returned, as seen in the crop.

    Returns:
        (H, W, 3) float32 RGB, about 0 to 255.
    """
    height, width = masks.shape[:2]
    image = draw_ground(rng, bank, height, width, style.ground, style.contrast)
    alpha = masks.astype(np.float32) * np.float32(1 / 255)
    fill = alpha[:, :, None] if alpha.ndim == 2 else alpha[:, :, :1]
    if alpha.ndim == 3:
        if style.shadow:
            image += (style.shadow_color - image) * (alpha[:, :, 2:3] * 0.85)
        if style.border:
            image += (style.border_color - image) * alpha[:, :, 1:2]
    color: np.ndarray = style.fill
    if style.fill_change == "ramp":
        reach = min(style.contrast * 0.5, 70.0) * rng.choice((-1, 1))
        color = style.fill + np.linspace(-reach, reach, height, dtype=np.float32)[:, None, None] * rng.uniform(0.3, 1)
    elif style.fill_change == "texture":
        reach = min(style.contrast * 0.3, 40.0) * rng.uniform(0.2, 1)
        color = style.fill + bank.cut(rng, height, width)[:, :, None] * np.float32(reach)
    image += (color - image) * fill
    if alpha.ndim == 3 and style.second is not None:
        image += (style.second - image) * alpha[:, :, 3:4]
    if style.relief:
        # Light from above: edges facing it are bright, the others dark.
        soft = cv2.GaussianBlur(fill[:, :, 0], (0, 0), max(0.6, height / 40))
        slope = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3) + cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3)
        image += slope[:, :, None] * np.float32(style.relief * 0.5)
    return image
