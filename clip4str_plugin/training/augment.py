"""The augmentation of the published trainings: RandAugment with the operations that fit word crops.

E. D. Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", 2020; the
operations and strengths are those of PARSeq and CLIP4STR (magnitude 5 of 10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

__all__ = ["OPERATIONS", "RandAugment"]

_FILL = (128, 128, 128)
_RESAMPLING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)

Operation = Callable[[Image.Image, np.random.Generator], Image.Image]


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _resampling(rng: np.random.Generator) -> Image.Resampling:
    return _RESAMPLING[int(rng.integers(len(_RESAMPLING)))]


def _affine(
    image: Image.Image, rng: np.random.Generator, x: tuple[float, float], y: tuple[float, float]
) -> Image.Image:
    """Return the image where pixel (u, v) comes from (u + x[0] v + x[1], y[0] u + v + y[1])."""
    matrix = (1, x[0], x[1], y[0], 1, y[1])
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=_resampling(rng), fillcolor=_FILL)


def auto_contrast(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Stretch each channel to the full range."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Equalise each channel's histogram."""
    return ImageOps.equalize(image)


def invert(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Make the negative."""
    return ImageOps.invert(image)


def rotate(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn by 15 degrees either way; the picture grows, so that nothing is cut off."""
    return image.rotate(15 * _sign(rng), resample=_resampling(rng), expand=True, fillcolor=_FILL)


def posterize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Keep two bits per channel."""
    return ImageOps.posterize(image, 2)


def solarize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Invert what is at 128 or above."""
    return ImageOps.solarize(image, 128)


def solarize_add(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add 55 to what is below 128."""
    return image.point([min(255, level + 55) if level < 128 else level for level in range(256)] * 3)


def _enhance(enhancer: Callable[[Image.Image], Any]) -> Operation:
    def enhance(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return enhancer(image).enhance(1 + 0.45 * _sign(rng))

    return enhance


def shear_x(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Slant by 0.45 pixels a row, either way."""
    return _affine(image, rng, (0.45 * _sign(rng), 0), (0, 0))


def shear_y(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Slope by 0.1 pixels a column, either way."""
    return _affine(image, rng, (0, 0), (0.1 * _sign(rng), 0))


def translate_x(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shift by 5 % of the width, either way."""
    return _affine(image, rng, (0, 0.05 * image.width * _sign(rng)), (0, 0))


def translate_y(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shift by 15 % of the height, either way."""
    return _affine(image, rng, (0, 0), (0, 0.15 * image.height * _sign(rng)))


def gaussian_blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur by 2 % of the longer side, between 1 and 2 pixels."""
    return image.filter(ImageFilter.GaussianBlur(round(min(2, max(1, 0.02 * max(image.size))))))


def poisson_noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add Poisson noise of either sign, the same to all channels."""
    rate = round(min(20, max(1, 0.2 * max(image.size)))) | 1
    noise = rng.poisson(rate, (image.height, image.width, 1)) * rng.choice((-1, 1), (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Rotate": rotate,
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "GaussianBlur": gaussian_blur,
    "PoissonNoise": poisson_noise,
}
"""The sixteen operations by their usual names: from (RGB image, random generator) to RGB image."""


class RandAugment:
    """Applies some of the operations, drawn anew for each image.

    Args:
        layers: distinct operations drawn, each as likely as any other.
        probability: of applying each of those.

    >>> image = Image.new("RGB", (100, 32))
    >>> RandAugment()(image, np.random.default_rng(0)).mode
    'RGB'
    """

    def __init__(self, layers: int = 3, probability: float = 0.5) -> None:
        self.layers, self.probability = layers, probability

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Return the distorted RGB image; its size changes where it is turned."""
        for name in rng.choice(list(OPERATIONS), self.layers, replace=False):
            if rng.random() <= self.probability:
                image = OPERATIONS[name](image, rng)
        return image
