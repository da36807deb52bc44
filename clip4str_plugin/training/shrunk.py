"""Crops of few pixels, as small print in scans and photos gives them."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from clip4str_plugin.training.stream import Sample

__all__ = ["shrink"]

# Heights of crops in pixels: a letter of 6 to 8 pixels in the lowest, hardly legible; of the highest enough is seen.
_LOWEST, _HIGHEST = 9.0, 22.0
_FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
_JPEG = 0.3


def shrink(sample: Sample, rng: np.random.Generator) -> Sample:
    """Leave a crop few pixels, sometimes with the traces of JPEG.

    Args:
        sample: crop uint8 (H, W, 3) RGB and label.
        rng: draws the height, the filter and the quality.

    Returns:
        the crop at a smaller size, with its label; the sample as it is where the crop is higher than wide, or hardly
        higher than drawn.
    """
    crop, label = sample
    height, width = crop.shape[:2]
    target = float(np.exp(rng.uniform(np.log(_LOWEST), np.log(_HIGHEST))))
    if height > width or height < 1.2 * target:
        return sample
    size = (max(4, round(width * target / height)), round(target))
    small = np.asarray(Image.fromarray(crop).resize(size, _FILTERS[int(rng.integers(len(_FILTERS)))]))
    if rng.random() < _JPEG:
        coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))])[1]
        small = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return small, label
