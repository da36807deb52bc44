"""Crops of any size in one block of memory, resized where the model is: on the GPU, bit for bit as Pillow does.

Pillow resamples uint8 images in integers: weights are rounded to multiples of 2**-22, each of the two passes sums
exactly, and the sum is rounded and clipped to 8 bits. In float64 all these numbers and sums are exact,
so that two matrix products give the very same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clip4str_plugin.model.preprocess import Color, resize

__all__ = ["PackedCrops"]

_FRACTION_BITS = 22  # of Pillow's weights for 8-bit images
_SUPPORT = 2.0  # of the bicubic filter, in pixels
# Numbers in flight in one go: bounds the memory that resizing takes on the GPU to about a gigabyte.
_AT_ONCE = 1 << 25
# Crops with more pixels are resized by Pillow: not worth sending.
_LARGEST = 1 << 20


@dataclass(frozen=True)
class PackedCrops:
    """N crops as they are.

    Attributes:
        pixels: (P, 3) uint8, the crops' pixels row by row, one crop after the other; pinned for a GPU.
        sizes: height and width of each crop.
        reverse: the channels are in the order blue, green, red.
    """

    pixels: Tensor
    sizes: np.ndarray  # (N, 2) int64
    reverse: bool = False

    @classmethod
    def pack(cls, crops: Sequence[np.ndarray], image_size: tuple[int, int], color: Color, pin: bool) -> PackedCrops:
        """Copy crops into one block.

        Args:
            crops: from `preprocess.as_array`.
            image_size: (height, width) of the model in pixels; very large crops are resized here.
            color: channel order of the crops.
            pin: put the block where a GPU can fetch it by itself.
        """
        crops = [crop if crop.shape[0] * crop.shape[1] <= _LARGEST else _by_pillow(crop, image_size) for crop in crops]
        sizes = np.array([crop.shape[:2] for crop in crops], np.int64).reshape(-1, 2)
        areas = sizes.prod(1)
        pixels = torch.empty((int(areas.sum()), 3), dtype=torch.uint8, pin_memory=pin)
        block, start = pixels.numpy(), 0
        for crop, area in zip(crops, areas.tolist()):
            target = block[start : start + area].reshape(*crop.shape[:2], 3)
            target[...] = crop if crop.ndim == 3 else crop[..., None]
            start += area
        return cls(pixels, sizes, color == "bgr")

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, part: slice) -> PackedCrops:
        ends = self.sizes.prod(1).cumsum().tolist()
        first, last, _ = part.indices(len(self))
        start, stop = (ends[i - 1] if i else 0 for i in (first, max(first, last)))
        return PackedCrops(self.pixels[start:stop], self.sizes[first:last], self.reverse)

    def resized(self, image_size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Squash all crops to one size: equal to `preprocess.resize`.

        Args:
            image_size: (height, width) in pixels.
            device: where to do it.

        Returns:
            (N, 3, height, width) uint8 RGB on the device; not contiguous.
        """
        height, width = image_size
        device = torch.device(device)
        result = torch.empty((len(self), height, width, 3), dtype=torch.uint8, device=device)
        if not len(self):
            return result.permute(0, 3, 1, 2)
        pixels = self.pixels.to(device, non_blocking=True)
        starts = np.concatenate([[0], self.sizes.prod(1).cumsum()[:-1]])
        rows_first = _rows_first(self.sizes, height, width)
        # Crops of like size together: all of a group are padded to the largest.
        order = np.lexsort((*self.sizes.T, rows_first))
        table = torch.from_numpy(np.column_stack([self.sizes, starts, np.arange(len(self))])[order])
        if device.type == "cuda":
            table = table.pin_memory()
        table = table.to(device, non_blocking=True)
        for first, last in self._groups(order, rows_first, height, width):
            heights, widths, start, rows = table[first:last].unbind(1)
            highest, widest = self.sizes[order[first:last]].max(0).tolist()
            lines = _Lines(heights, highest, widths[:, None, None], height)
            columns = _Lines(widths, widest, 1, width)
            if rows_first[order[first]]:
                result[rows] = _resize(pixels, start, lines, columns).transpose(1, 2)
            else:
                result[rows] = _resize(pixels, start, columns, lines)
        rgb = result.permute(0, 3, 1, 2)
        return rgb.flip(1) if self.reverse else rgb

    def _groups(self, order: np.ndarray, rows_first: np.ndarray, height: int, width: int) -> list[tuple[int, int]]:
        """Cut the crops, in the order given, into groups that fit."""
        groups, first, highest, widest = [], 0, 0, 0
        for i, (own_height, own_width) in enumerate(self.sizes[order].tolist()):
            taller, wider = max(highest, own_height), max(widest, own_width)
            one = 3 * (taller * wider + taller * width + height * width) + height * taller + width * wider
            another_way = rows_first[order[i]] != rows_first[order[first]]
            if i > first and (another_way or one * (i + 1 - first) > _AT_ONCE):
                groups.append((first, i))
                first, taller, wider = i, own_height, own_width
            highest, widest = taller, wider
        return [*groups, (first, len(order))]


def _by_pillow(crop: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return resize(crop, image_size).transpose(1, 2, 0)


class _Lines(NamedTuple):
    """One direction of n crops."""

    sizes: Tensor  # (n,) int64, in pixels
    largest: int
    stride: Tensor | int  # from one to the next, in pixels; (n, 1, 1)
    outputs: int  # size in the result


def _resize(pixels: Tensor, start: Tensor, first: _Lines, second: _Lines) -> Tensor:
    """Resize n crops in one direction, then in the other.

    Args:
        pixels: (P, 3) uint8.
        start: (n,) int64, the first pixel of each crop.
        first: the direction to be resized first.
        second: the other.

    Returns:
        (n, outputs of the second, outputs of the first, 3) uint8.
    """
    a = torch.arange(first.largest, device=pixels.device)[:, None]
    b = torch.arange(second.largest, device=pixels.device)
    # What lies beyond a crop is some pixel or other, times a weight of 0.
    place = (start[:, None, None] + a * first.stride + b * second.stride).clamp_(max=len(pixels) - 1)
    half = _resampled(first, pixels[place].flatten(2)).unflatten(2, (-1, 3)).transpose(1, 2)  # n, b, outputs, 3
    return _resampled(second, half.flatten(2)).unflatten(2, (-1, 3))


def _rows_first(sizes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return (N,) bool: the crops whose height Pillow changes before their width."""
    shrunk = sizes - (height, width)
    return (shrunk[:, 0] > 0) & (2 * shrunk[:, 1] < shrunk[:, 0]) & _saves_work()


@cache
def _saves_work() -> bool:
    """Tell whether the Pillow that is installed shrinks the height first where that saves work, as 13 does."""
    probe = np.random.default_rng(0).integers(0, 256, (90, 9, 3), dtype=np.uint8)
    lines = _Lines(torch.tensor([90]), 90, 9, 30), _Lines(torch.tensor([9]), 9, 1, 30)
    pixels = torch.from_numpy(probe.reshape(-1, 3))
    resized = _resize(pixels, torch.tensor([0]), *lines)[0].permute(2, 1, 0)
    return bool((resized.numpy() == resize(probe, (30, 30))).all())


def _resampled(lines: _Lines, pixels: Tensor) -> Tensor:
    """Resample (n, largest, K) uint8 to (n, outputs, K) uint8: sum, round half up and clip."""
    inputs = torch.ones(len(pixels), lines.largest + 1, pixels.shape[2], dtype=torch.float64, device=pixels.device)
    inputs[:, :-1] = pixels
    weights = _weights(lines)
    weights[..., -1] = 0.5  # of the line of ones: with it, cutting off the fraction rounds
    return (weights @ inputs).clamp_(0, 255).to(torch.uint8)


def _weights(lines: _Lines) -> Tensor:
    """Return Pillow's bicubic weights, (n, outputs, largest + 1) float64, the last to be overwritten.

    Follows ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` of Pillow's ``Resample.c``.
    """
    sizes, largest, _, outputs = lines
    taps = 2 * math.ceil(_SUPPORT * max(largest / outputs, 1.0)) + 1
    size = sizes.double()[:, None, None]
    scale = size / outputs
    widening = scale.clamp(min=1.0)  # antialiasing: the filter covers as many more pixels
    support = _SUPPORT * widening
    centre = (torch.arange(outputs, device=sizes.device).double()[:, None] + 0.5) * scale  # n, outputs, 1
    index = (centre - support + 0.5).trunc_().clamp_(min=0) + torch.arange(taps, device=sizes.device)
    inside = index < torch.minimum((centre + support + 0.5).trunc_(), size)
    weights = _bicubic((index - centre + 0.5) * (1.0 / widening)) * inside
    weights /= weights.cumsum(-1)[..., -1:]  # added up from left to right, as Pillow does
    # Rounded half away from zero.
    weights.mul_(2.0**_FRACTION_BITS)
    weights = (weights + weights.sign() * 0.5).trunc_().mul_(2.0**-_FRACTION_BITS)
    dense = weights.new_zeros(len(sizes), outputs, largest + 1)
    # What lies beyond meets in the last column, which is the caller's.
    return dense.scatter_(2, index.long().clamp_(max=largest), weights)


def _bicubic(x: Tensor) -> Tensor:
    """Catmull-Rom: the bicubic filter with a = -0.5."""
    a = -0.5
    x = x.abs()
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))
