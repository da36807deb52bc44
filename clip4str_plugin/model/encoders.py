"""CLIP's two encoders, built by open_clip: every token of an image or a caption, projected, not normalised."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.timm_model import TimmModel
from open_clip.transformer import Transformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clip4str_plugin.model import conv_stem, ppocr_tower  # noqa: F401 - register image towers with timm
from clip4str_plugin.model.config import CLIP4STRConfig
from clip4str_plugin.model.text_towers import build_custom_clip, custom_caption_tokens, has_own_text_tower

__all__ = ["build_clip", "caption_tokens", "image_tokens", "transform_block"]


def build_clip(config: CLIP4STRConfig) -> CLIP:
    """Return open_clip's model of the two towers, with random weights."""
    if has_own_text_tower(config.text):
        return build_custom_clip(config)
    vision = {**config.vision, "timm_model_pretrained": False}
    return CLIP(config.embed_dim, vision, dict(config.text), quick_gelu=config.quick_gelu)


def image_tokens(clip: CLIP, images: Tensor, project: bool = True, block_inputs: list[Tensor] | None = None) -> Tensor:
    """Encode images.

    Args:
        clip: model made by ``build_clip``.
        images: (N, 3, H, W) normalised.
        project: multiply by the projection to the shared embedding.
        block_inputs: receives the input of each transformer block, (N, M, width).

    Returns:
        (N, M, D) tokens, for a vision transformer the class token first; (N, M, width) if not projected.
    """
    visual = clip.visual
    if isinstance(visual, TimmModel):
        x = visual.trunk.forward_features(images)
        if x.ndim == 4:  # a convolutional network's map, N, width, H, W
            x = x.flatten(2).transpose(1, 2)
        return visual.head(x) if project else x
    x = visual.conv1(images).flatten(2).transpose(1, 2)  # N, grid, width
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
    x = visual.ln_pre(x + visual.positional_embedding.to(x.dtype))
    x = visual.ln_post(_transform(visual.transformer, x, causal=False, block_inputs=block_inputs))
    return x @ visual.proj if project else x


def caption_tokens(clip: CLIP, ids: Tensor) -> Tensor:
    """Encode captions.

    Args:
        clip: model made by ``build_clip``.
        ids: (N, L) int64 token ids, L at most the tower's context length.

    Returns:
        (N, L, D) tokens; padding is encoded like any other token.
    """
    if not isinstance(clip, CLIP):
        return custom_caption_tokens(clip, ids)
    x = clip.token_embedding(ids)  # N, L, width
    x = x + clip.positional_embedding[: ids.shape[1]].to(x.dtype)
    return clip.ln_final(_transform(clip.transformer, x, causal=True)) @ clip.text_projection


def _transform(transformer: Transformer, x: Tensor, causal: bool, block_inputs: list[Tensor] | None = None) -> Tensor:
    """Run open_clip's transformer on x (N, L, width).

    Its own forward pass goes through ``nn.MultiheadAttention``, which copies more than it computes with in a batch of
    short sequences, and which graph exporters do not see as one attention.
    """
    for block in transformer.resblocks:
        if block_inputs is not None:
            block_inputs.append(x)
        if transformer.grad_checkpointing and torch.is_grad_enabled():
            x = checkpoint(transform_block, block, x, causal, use_reentrant=False)
        else:
            x = transform_block(block, x, causal)
    return x


def transform_block(block: Any, x: Tensor, causal: bool = False) -> Tensor:
    """Run one block of open_clip's transformer on x, (N, L, width)."""
    x = x + block.ls_1(_attend(block.attn, block.ln_1(x), causal))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _attend(attention: nn.MultiheadAttention, x: Tensor, causal: bool) -> Tensor:
    packed = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = packed.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)  # N, h, L, width/h each
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return attention.out_proj(y.transpose(1, 2).flatten(2))
