"""A small image tower for word crops: convolutions down to one row of columns, then a transformer.

It is registered with timm, so that open_clip builds it by name like any other tower. It is for models trained from
random weights (configuration ``small-scratch``), which need no weights of anybody: a stem of convolutions learns far
faster from little data than patches cut from the pixels. Its smallest size serves the tests as a model of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import register_model
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from clip4str_plugin.model.word_tower import WordTower

__all__ = ["ConvStemTransformer"]

# Sizes by timm name: crop size, channels of the four stages of the stem, transformer layers and heads.
_SIZES: dict[str, dict[str, Any]] = {
    "word_convstem_192": {"image_size": (32, 128), "channels": (32, 64, 128, 192), "layers": 4, "heads": 6},
    "word_convstem_16": {"image_size": (32, 128), "channels": (8, 8, 16, 16), "layers": 1, "heads": 2},
}


class _Norm(nn.GroupNorm):
    """Normalisation over one crop, so that a crop's result never depends on its neighbours in a batch."""

    def __init__(self, channels: int) -> None:
        super().__init__(max(1, channels // 16), channels)


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = _Norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = _Norm(channels)
        nn.init.zeros_(self.norm2.weight)  # starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(y)))


def _down(inputs: int, outputs: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), _Norm(outputs), nn.ReLU())


class ConvStemTransformer(WordTower):
    """Convolutional stem to 1 x width/4 columns, learned positions, pre-norm transformer.

    Args:
        image_size: (height, width) in pixels; the height a multiple of 16, the width of 4.
        channels: channels after each of the four stages; the last is the transformer's width.
        layers: transformer layers.
        heads: attention heads.
    """

    def __init__(self, image_size: tuple[int, int], channels: tuple[int, int, int, int], layers: int, heads: int):
        super().__init__(image_size, channels[-1])
        a, b, c, width = channels
        height, columns = image_size[0] // 16, self.grid_size[1]
        self.stem = nn.Sequential(
            _down(3, a, (2, 2)),
            _down(a, b, (2, 2)),
            _Residual(b),
            _down(b, c, (2, 1)),
            _Residual(c),
            _down(c, width, (2, 1)),
            nn.Conv2d(width, width, (height, 1), bias=False),
        )
        self.pos_embed = nn.Parameter(torch.empty(1, columns, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward_features(self, images: Tensor) -> Tensor:
        """Encode (N, 3, H, W) images as (N, W/4, width) tokens, from left to right."""
        x = self.stem(images.contiguous(memory_format=torch.channels_last))  # N, width, 1, columns
        x = x.flatten(2).transpose(1, 2) + self.pos_embed
        return self.norm(self.blocks(x))


def _register(name: str, size: dict[str, Any]) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> ConvStemTransformer:
        if pretrained:
            raise ValueError(f"{name} has no pre-trained weights of its own")
        return ConvStemTransformer(**size)

    build.__name__ = build.__qualname__ = name
    build.__module__ = __name__
    __all__.append(name)
    globals()[name] = build
    register_model(build)


for _name, _size in _SIZES.items():
    _register(_name, _size)
