"""Word crops to the normalised batches a model takes, exactly as the published code prepares them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from clip4str_plugin.errors import ImageError

if TYPE_CHECKING:
    import torch

    from clip4str_plugin.model.config import CLIP4STRConfig

__all__ = ["Color", "as_array", "is_empty", "normalize", "preprocess", "resize", "resize_all"]

Color = Literal["rgb", "bgr"]


def preprocess(crops: Sequence[Any], config: CLIP4STRConfig, color: Color = "rgb") -> torch.Tensor:
    """Return the batch a model with this configuration takes for these crops.

    Args:
        crops: N crops, each as in `resize`.
        config: gives ``image_size`` (height, width), ``mean`` and ``std`` of the model.
        color: channel order of arrays with three or four channels.

    Returns:
        (N, 3, H, W) float32, RGB.

    Raises:
        ImageError: a crop is unusable; the message gives its index.

    >>> import numpy as np
    >>> from clip4str_plugin.model.config import GEOMETRIES, clip_config
    >>> preprocess([np.zeros((31, 100, 3), np.uint8)], clip_config(**GEOMETRIES["base16"])).shape
    torch.Size([1, 3, 224, 224])
    """
    import torch

    batch = np.empty((len(crops), 3, *config.image_size), np.uint8)
    index = 0
    try:
        for index, crop in enumerate(crops):
            batch[index] = resize(crop, config.image_size, color)
    except ImageError as error:
        raise ImageError(f"crop {index}: {error}") from error
    return normalize(torch.from_numpy(batch), config.mean, config.std)


def is_empty(crop: Any) -> bool:
    """Tell whether the crop is an image without a single pixel."""
    if isinstance(crop, Image.Image):
        return 0 in crop.size
    return isinstance(crop, np.ndarray) and crop.ndim in (2, 3) and 0 in crop.shape[:2]


def resize(crop: Any, image_size: tuple[int, int], color: Color = "rgb") -> np.ndarray:
    """Squash a crop to the model's size: Pillow's antialiased bicubic on uint8, whatever the aspect ratio.

    Args:
        crop: uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), contiguous or not, of at least one pixel; the
            fourth channel is dropped. Or a Pillow image, converted by Pillow's rules.
        image_size: (height, width) of the result in pixels.
        color: channel order of an array with three or four channels.

    Returns:
        (3, height, width) uint8 RGB; a view, not necessarily contiguous.

    Raises:
        ImageError: the crop is something else.
    """
    array = as_array(crop, color)
    return _resize(array, image_size, color)


def resize_all(crops: Sequence[np.ndarray], image_size: tuple[int, int], color: Color = "rgb") -> np.ndarray:
    """Resize what `as_array` returned; returns (N, 3, height, width) uint8 RGB."""
    batch = np.empty((len(crops), 3, *image_size), np.uint8)
    for planes, crop in zip(batch, crops):
        planes[...] = _resize(crop, image_size, color)
    return batch


def as_array(crop: Any, color: Color = "rgb") -> np.ndarray:
    """Return a crop's pixels as a uint8 array (H, W) or (H, W, 3), channels in the order ``color``.

    Args and errors are those of `resize`.
    """
    if not isinstance(crop, Image.Image):
        return _colour_channels(crop)
    if 0 in crop.size:
        raise ImageError(f"the crop is empty ({crop.height} x {crop.width} pixels)")
    # Before resizing, as in the published code: the alpha channel must not weigh the colours.
    array = np.asarray(crop if crop.mode in ("L", "RGB") else crop.convert("RGB"))
    return array[..., ::-1] if color == "bgr" and array.ndim == 3 else array


def _resize(array: np.ndarray, image_size: tuple[int, int], color: Color) -> np.ndarray:
    image = Image.fromarray(array)
    height, width = image_size
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    if resized.ndim == 2:  # resized once and repeated, which equals resizing three times
        return np.broadcast_to(resized, (3, height, width))
    planes = resized.transpose(2, 0, 1)
    return planes[::-1] if color == "bgr" else planes


def normalize(
    batch: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return ``(batch / 255 - mean) / std``, computed in float32 and rounded to ``dtype`` once.

    Every channel has only 256 results, so they are looked up: one pass over the pixels, and the same bits on every
    device (a GPU would divide by multiplying with a reciprocal).

    Args:
        batch: (N, 3, H, W) uint8.
        mean: one number a channel, range 0-1.
        std: one number a channel, range 0-1.
        dtype: of the result; float32 (if None), bfloat16 or float16.

    Returns:
        (N, 3, H, W), on the device of ``batch``.
    """
    import torch

    dtype = dtype or torch.float32
    table = _table(tuple(mean), tuple(std), dtype, batch.device)
    if batch.device.type != "cpu":
        rows = torch.arange(0, 768, 256, dtype=torch.int32, device=batch.device).view(3, 1, 1)
        return table.flatten()[batch + rows]

    import cv2

    result = torch.empty(batch.shape, dtype=dtype)
    source, target, lookup = batch.contiguous().numpy(), _as_numpy(result), _as_numpy(table)
    for n in range(len(source)):
        for c in range(3):
            cv2.LUT(source[n, c], lookup[c], dst=target[n, c])
    return result


@lru_cache(maxsize=16)
def _table(mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return (3, 256): the normalised value of every uint8 level of each channel."""
    import torch

    levels = torch.arange(256, dtype=torch.uint8).float().div(255)
    return ((levels - torch.tensor(mean).view(3, 1)) / torch.tensor(std).view(3, 1)).to(device, dtype)


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    import torch

    # numpy has no bfloat16; a lookup only moves bits, so that any type of the same width will do.
    return tensor.view(torch.int16).numpy() if tensor.element_size() == 2 else tensor.numpy()


def _colour_channels(crop: Any) -> np.ndarray:
    """Check an array and return it as (H, W) or (H, W, 3)."""
    expected = "expected a uint8 array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
    if not isinstance(crop, np.ndarray):
        raise ImageError(f"it is a {type(crop).__name__}; {expected}")
    if crop.ndim not in (2, 3) or (crop.ndim == 3 and crop.shape[2] not in (1, 3, 4)):
        raise ImageError(f"it has the shape {crop.shape}; {expected}")
    if crop.dtype != np.uint8:
        raise ImageError(f"it has the type {crop.dtype}; {expected}: scale it to 0..255 and convert it with astype")
    if 0 in crop.shape:
        raise ImageError(f"the crop is empty ({crop.shape[0]} x {crop.shape[1]} pixels)")
    if crop.ndim == 2:
        return crop
    return crop[..., 0] if crop.shape[2] == 1 else crop[..., :3]
