"""Transparent images laid on a ground that shows their ink."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["lay_on_ground"]

# Grounds by preference, as grey levels: paper, night, and what shows both black and white ink.
_GROUNDS = (255, 0, 128)
# Ink that differs from the ground by so many grey levels can be read ...
_VISIBLE = 64
# ... and so much of it must: the rest are rims and shadows.
_SHARE = 0.9
# Luma of red, green and blue, ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def lay_on_ground(image: Any) -> Any:
    """Give an image without its transparency: white behind it, unless the ink shows better on black or grey.

    Args:
        image: a Pillow image, or an array (H, W, 4) uint8 whose fourth channel is alpha, colours in any order.
            Whatever else it is, or wholly opaque, is given back as it is.

    Returns:
        of the same kind: Pillow's mode RGB, or (H, W, 3) uint8.
    """
    from PIL import Image

    if isinstance(image, Image.Image):
        if not image.has_transparency_data:
            return image
        pixels = np.asarray(image.convert("RGBA"))
        return Image.fromarray(_blend(pixels))
    is_rgba = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 4
    if not is_rgba or not image.size or image[..., 3].min() == 255:
        return image
    return _blend(image)


def _blend(pixels: np.ndarray) -> np.ndarray:
    colours, alpha = pixels[..., :3], pixels[..., 3:].astype(np.uint16)
    ink = pixels[alpha[..., 0] >= 128][:, :3] @ _LUMA
    ground = _GROUNDS[0]
    if len(ink):
        shown = [float((np.abs(ink - level) >= _VISIBLE).mean()) for level in _GROUNDS]
        enough = (level for level, share in zip(_GROUNDS, shown) if share >= _SHARE)
        ground = next(enough, _GROUNDS[int(np.argmax(shown))])
    return ((colours * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)
