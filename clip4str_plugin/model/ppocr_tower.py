"""The image tower of PP-OCRv6-small's recognizer, as a tower for CLIP4STR.

PaddleOCR's recognizers are a convolutional network, two transformer layers over its columns, and a linear layer trained
by connectionist temporal classification (Y. Du et al., "SVTR: Scene Text Recognition with a Single Visual Model", IJCAI
2022; C. Cui et al., PaddleOCR, Apache-2.0). This is all but the last layer, written anew for timm, so that open_clip
builds it by name and its published weights (``training.ppocr_weights``) can be what a model starts from.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import SqueezeExcite
from timm.models import register_model
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

from clip4str_plugin.model.word_tower import WordTower

__all__ = ["PPOCRTower", "ppocr_v6_small", "ppocr_v6_small_rows"]

# Channels, stride of the rows, and whether channels are weighed by their means (squeeze and excitation), of each block.
_BLOCKS: tuple[tuple[int, int, bool], ...] = (
    *((96, 1, True), (96, 1, False), (96, 1, False)),
    *((192, 2, False), (192, 1, True), (192, 1, False), (192, 1, True), (192, 1, False), (192, 1, True)),
    *((192, 1, False), (384, 2, False), (384, 1, True), (384, 1, False)),
)
_NECK_WIDTH, _NECK_HEADS, _NECK_LAYERS = 120, 8, 2
_ROW_WIDTH, _ROW_HEADS = 256, 8


class _Stem(nn.Module):
    """Convolutions to 96 channels at a quarter of the size; one path of two lies beside a maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 48, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(48, 24, 2)
        self.conv3 = nn.Conv2d(24, 48, 2)
        self.conv4 = nn.Conv2d(96, 48, 3, stride=2, padding=1)
        self.conv5 = nn.Conv2d(48, 96, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Encode (N, 3, H, W) as (N, 96, H/4, W/4)."""
        x = F.relu(self.conv1(images))
        # Windows of 2 x 2 reach over the right and lower edge; as x is not negative, zeros there leave its maximum.
        padded = F.pad(x, (0, 1, 0, 1))
        path = F.relu(self.conv3(F.pad(F.relu(self.conv2(padded)), (0, 1, 0, 1))))
        x = torch.cat([F.max_pool2d(padded, 2, stride=1), path], dim=1)
        return F.relu(self.conv5(F.relu(self.conv4(x))))


class _Block(nn.Module):
    """Mixes neighbours channel by channel, then channels pixel by pixel."""

    def __init__(self, inputs: int, outputs: int, stride: int, weigh_channels: bool) -> None:
        super().__init__()
        self.shortcut = stride == 1
        self.spatial = nn.Conv2d(inputs, inputs, 3, stride=(stride, 1), padding=1, groups=inputs)
        weigh: nn.Module = nn.Identity()
        if weigh_channels:
            weigh = SqueezeExcite(inputs, rd_channels=inputs // 4, gate_layer="hard_sigmoid")
        self.weigh = weigh
        self.expand = nn.Conv2d(inputs, 2 * inputs, 1)
        self.reduce = nn.Conv2d(2 * inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.weigh(self.spatial(x))
        y = self.reduce(F.gelu(self.expand(x)))
        return x + y if self.shortcut else y


class _RowLayer(nn.Module):
    """Lets columns attend to each other and to the places of the map before its rows were averaged."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn = Attention(width, heads, qkv_bias=True)
        self.query = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Update columns (N, M, D) by places (N, R M, D)."""
        x = x + self.attn(self.norm1(x))
        q = self.query(self.norm2(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.keys_values(places).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm3(x))


class _Rows(nn.Module):
    """What the columns miss by the average over rows, for words that slope, bend or are seen askew.

    The result is nothing until it is trained: a tower that gets this part goes on as it was.

    Args:
        inputs: channels of the map.
        features: channels of the columns.
        grid: rows and columns of the map.
    """

    def __init__(self, inputs: int, features: int, grid: tuple[int, int], width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.from_columns = nn.Linear(features, width)
        self.from_map = nn.Linear(inputs, width)
        self.column_positions = nn.Parameter(torch.randn(1, grid[1], width) * 0.02)
        self.map_positions = nn.Parameter(torch.randn(1, grid[0] * grid[1], width) * 0.02)
        self.norm_map = nn.LayerNorm(width)
        self.layers = nn.ModuleList(_RowLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, features)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, columns: Tensor, places: Tensor) -> Tensor:
        """Return what to add to columns (N, M, features), given the map (N, inputs, R, M)."""
        x = self.from_columns(columns) + self.column_positions
        places = self.norm_map(self.from_map(places.flatten(2).transpose(1, 2)) + self.map_positions)
        for layer in self.layers:
            x = layer(x, places)
        return self.out(self.norm(x))


class PPOCRTower(WordTower):
    """Convolutional network of 13 blocks, then two transformer layers over its columns.

    The published network joins neighbouring columns before its last layers. Here they stay apart, so that 25 characters
    find room in a narrow crop: windows of two columns overlap, and the convolution over columns skips every second one,
    which leaves the published weights their meaning.

    Args:
        image_size: (height, width) in pixels; the height a multiple of 48, the width of 4.
        row_layers: transformer layers of 256 channels in which the columns look at the map once more, before the
            average over its rows. They are not part of the published network.
    """

    memory_format = torch.channels_last

    def __init__(self, image_size: tuple[int, int], row_layers: int = 0) -> None:
        super().__init__(image_size, _NECK_WIDTH + _BLOCKS[-1][0])
        inputs, width = 96, _NECK_WIDTH
        self.stem = _Stem()
        self.blocks = nn.Sequential()
        for outputs, stride, weigh_channels in _BLOCKS:
            self.blocks.append(_Block(inputs, outputs, stride, weigh_channels))
            inputs = outputs
        self.pool = nn.AvgPool2d((image_size[0] // 16, 2), stride=(image_size[0] // 16, 1))
        self.shortcut = nn.Conv2d(inputs, width, 1)
        self.narrow = nn.Conv2d(inputs, width, 1)
        self.neighbours = nn.Conv2d(width, width, (1, 7), padding=(0, 6), dilation=2, groups=width)
        self.neck = nn.Sequential(
            *(Block(width, _NECK_HEADS, mlp_ratio=2, qkv_bias=True, act_layer=nn.SiLU) for _ in range(_NECK_LAYERS))
        )
        self.norm = nn.LayerNorm(width)
        # The published network has no positions; a decoder that asks for the n-th character does better with them. Not
        # named like positions before the blocks: it is not to be frozen with them.
        self.column_embed = nn.Parameter(torch.zeros(1, self.grid_size[1], self.num_features))
        grid = image_size[0] // 16, self.grid_size[1]
        self.rows = _Rows(inputs, self.num_features, grid, _ROW_WIDTH, _ROW_HEADS, row_layers) if row_layers else None

    def forward_features(self, images: Tensor) -> Tensor:
        """Encode (N, 3, H, W) images as (N, W/4, 504) tokens, from left to right.

        The first 120 channels are what the published network classifies, the others what its neck starts from.
        """
        places = self.blocks(self.stem(images.contiguous(memory_format=self.memory_format)))  # N, 384, rows, columns
        x = self.pool(F.pad(places, (0, 1, 0, 0), mode="replicate"))  # N, 384, 1, columns
        y = F.silu(self.narrow(x))
        y = y + F.silu(self.neighbours(y))
        y = self.norm(self.neck(y.flatten(2).transpose(1, 2)))
        y = y + F.silu(self.shortcut(x)).flatten(2).transpose(1, 2)
        columns = torch.cat([y, x.flatten(2).transpose(1, 2)], dim=-1) + self.column_embed
        return columns if self.rows is None else columns + self.rows(columns, places)


@register_model
def ppocr_v6_small(pretrained: bool = False, **kwargs: Any) -> PPOCRTower:
    """PP-OCRv6-small's image tower for crops of 48 x 128 pixels, with random weights."""
    return _built(pretrained, 0)


@register_model
def ppocr_v6_small_rows(pretrained: bool = False, **kwargs: Any) -> PPOCRTower:
    """The same with two layers in which its columns look at the rows."""
    return _built(pretrained, 2)


def _built(pretrained: bool, row_layers: int) -> PPOCRTower:
    if pretrained:
        raise ValueError("the weights of ppocr_v6_small come from a file: see clip4str_plugin.model.ppocr_weights")
    return PPOCRTower((48, 128), row_layers)
