"""CLIP's own two transformers optimised for GPUs: few passes over memory, bfloat16 or 8-bit matrix products.

Patches are cut out and projected in one matrix product; QuickGELU, x * sigmoid(1.702 x), becomes the SiLU that PyTorch
has as one kernel, by scaling the weights before and after it. Where asked, each block is compiled, which also joins
normalisations, additions and the rounding to 8 bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import QuickGELU, Transformer, VisionTransformer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["FusedEncoders"]

logger = logging.getLogger(__name__)

_QUICK_GELU = 1.702
_FP8 = torch.float8_e4m3fn
_FP8_MAX = 448.0  # largest number of the format


class FusedEncoders:
    """The image and the text tower of a model, with the weights they had when this was built.

    May be used from several threads at once, copied and pickled.

    Args:
        model: a ``CLIP4STR`` that `can_compute`, best before its weights are rounded.
        dtype: type to compute in.
        fp8: matrix products of the blocks in 8 bits (e4m3, one scale a row of either matrix), for bfloat16.
        compiled: compile the blocks, which takes seconds at the first use and needs a C compiler.
        cudnn: attention of the image tower by cuDNN, in batches of a multiple of 64 crops: it makes a plan for each new
            number of them.
    """

    def __init__(
        self, model: Any, dtype: torch.dtype, fp8: bool = False, compiled: bool = False, cudnn: bool = False
    ) -> None:
        clip, config = model.clip_model, model.config
        self.compiled, self.cudnn = compiled, cudnn

        def take(tensor: Tensor) -> Tensor:
            return tensor.detach().to(dtype)

        visual = clip.visual
        self._patch = visual.conv1.kernel_size[0]
        self._patches = take(visual.conv1.weight).flatten(1)
        self._class = take(visual.class_embedding)
        self._image_positions = take(visual.positional_embedding)
        self._image_norm = _norm(visual.ln_pre, take)
        self._image = _Tower(visual.transformer, visual.ln_post, take, causal=False, fp8=fp8)
        self._image_projection = take(visual.proj) if config.share_dim else None
        self._text: _Tower | None = None
        if config.cross_branch and not config.raw_token_memory:
            self._embedding = take(clip.token_embedding.weight)
            self._text_positions = take(clip.positional_embedding)
            self._text = _Tower(clip.transformer, clip.ln_final, take, causal=True, fp8=fp8)
            self._text_projection = take(clip.text_projection)

    @staticmethod
    def can_compute(model: Any) -> bool:
        """Tell whether both towers are CLIP's own."""
        clip = model.clip_model
        if not isinstance(clip, CLIP) or not isinstance(clip.visual, VisionTransformer) or model.adapter is not None:
            return False
        return isinstance(clip.visual.transformer.resblocks[0].ls_1, nn.Identity)

    def image_tokens(self, images: Tensor) -> Tensor:
        """As ``CLIP4STR.encode_image``: (N, 3, H, W) to (N, M, D)."""
        (n, channels, height, width), p = images.shape, self._patch
        x = images.to(self._patches.device, self._patches.dtype)
        x = x.reshape(n, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        x = F.linear(x.reshape(n, -1, channels * p * p), self._patches)
        x = torch.cat([self._class.expand(n, 1, -1), x], dim=1).add_(self._image_positions)
        x = self._run(self._image, _normalize(x, self._image_norm), self.cudnn)
        return x if self._image_projection is None else x @ self._image_projection

    def caption_tokens(self, ids: Tensor) -> Tensor:
        """As ``encoders.caption_tokens``: (N, L) int64 to (N, L, D)."""
        assert self._text is not None
        x = F.embedding(ids, self._embedding).add_(self._text_positions[: ids.shape[1]])
        return self._run(self._text, x, False) @ self._text_projection

    def _run(self, tower: _Tower, x: Tensor, cudnn: bool) -> Tensor:
        block = _compiled_block() if self.compiled else _block
        attention: AbstractContextManager[Any] = nullcontext()
        if cudnn and len(x) % 64 == 0:
            attention = sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True)
        with attention:
            return tower(x, block)


class _Linear(NamedTuple):
    weight: Tensor  # out, in
    scale: Tensor | None  # 1, out: of 8-bit weights
    bias: Tensor


class _Block(NamedTuple):
    norm1: _Norm
    packed: _Linear  # queries, keys, values
    out: _Linear
    norm2: _Norm
    up: _Linear
    down: _Linear


class _Norm(NamedTuple):
    weight: Tensor
    bias: Tensor
    eps: float


class _Tower:
    def __init__(
        self, transformer: Transformer, norm: nn.LayerNorm, take: Callable[[Tensor], Tensor], causal: bool, fp8: bool
    ) -> None:
        def linear(weight: Tensor, bias: Tensor, factor: float = 1.0, bias_factor: float = 1.0) -> _Linear:
            weight, bias = weight.detach().float() * factor, take(bias.detach().float() * bias_factor)
            if not fp8:
                return _Linear(take(weight), None, bias)
            rounded, scale = _quantize(weight)
            return _Linear(rounded, scale.T.contiguous(), bias)

        self.causal = causal
        self.heads = transformer.resblocks[0].attn.num_heads
        self.quick = isinstance(transformer.resblocks[0].mlp.gelu, QuickGELU)
        a = _QUICK_GELU if self.quick else 1.0
        self.blocks = [
            _Block(
                _norm(block.ln_1, take),
                linear(block.attn.in_proj_weight, block.attn.in_proj_bias),
                linear(block.attn.out_proj.weight, block.attn.out_proj.bias),
                _norm(block.ln_2, take),
                linear(block.mlp.c_fc.weight, block.mlp.c_fc.bias, a, a),
                linear(block.mlp.c_proj.weight, block.mlp.c_proj.bias, 1 / a),
            )
            for block in transformer.resblocks
        ]
        self.norm = _norm(norm, take)

    def __call__(self, x: Tensor, block: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
        """Run all blocks and the last normalisation on x, (N, L, width)."""
        y = _normalize(x, self.blocks[0].norm1)
        for tensor in (x, y):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)  # else another batch size would compile the block again
        following = [weights.norm1 for weights in self.blocks[1:]] + [self.norm]
        for weights, norm in zip(self.blocks, following):
            x, y = block(x, y, weights, norm, self.heads, self.causal, self.quick)
        return y


def _block(
    x: Tensor, y: Tensor, w: _Block, norm: _Norm, heads: int, causal: bool, quick: bool
) -> tuple[Tensor, Tensor]:
    """Run one block on x, (N, L, width), and y, x as normalised for it; return both for the next block."""
    q, k, v = _linear(y, w.packed).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # N, h, L, width/h each
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    x = x + _linear(y.transpose(1, 2).flatten(2), w.out)
    hidden = _linear(_normalize(x, w.norm2), w.up)
    x = x + _linear(F.silu(hidden) if quick else F.gelu(hidden), w.down)
    return x, _normalize(x, norm)


@cache
def _compiled_block() -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(_block)


def _linear(x: Tensor, w: _Linear) -> Tensor:
    if w.scale is None:
        return F.linear(x, w.weight, w.bias)
    rounded, scale = _quantize(x.flatten(0, -2))
    y = torch._scaled_mm(rounded, w.weight.t(), scale, w.scale, out_dtype=x.dtype, use_fast_accum=True)
    return y.unflatten(0, x.shape[:-1]) + w.bias


def _quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round the rows of (M, K) to 8 bits; return them and their scales, (M, 1) float32.

    A row has a scale of its own, so that no crop depends on another.
    """
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / _FP8_MAX
    return (x / scale).to(_FP8), scale


def _norm(norm: nn.LayerNorm, take: Callable[[Tensor], Tensor]) -> _Norm:
    return _Norm(take(norm.weight), take(norm.bias), norm.eps)


def _normalize(x: Tensor, norm: _Norm) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *norm)
