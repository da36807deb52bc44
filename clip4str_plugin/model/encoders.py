"""CLIP's two encoders, built by open_clip: every token of an image or a caption, projected, not normalised."""

from __future__ import annotations

import torch
from open_clip.model import CLIP
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from clip4str_plugin.model import conv_stem  # noqa: F401 - registers our image tower with timm
from clip4str_plugin.model.config import CLIP4STRConfig

__all__ = ["build_clip", "caption_tokens", "image_tokens"]


def build_clip(config: CLIP4STRConfig) -> CLIP:
    """Return open_clip's model of the two towers, with random weights.

    QuickGELU in both towers: the published models use it for every CLIP, also for those that were
    pre-trained with GELU.
    """
    return CLIP(config.embed_dim, dict(config.vision), dict(config.text), quick_gelu=True)


def image_tokens(clip: CLIP, images: Tensor, project: bool = True) -> Tensor:
    """Encode images.

    Args:
        clip: model made by ``build_clip``.
        images: (N, 3, H, W) normalised.
        project: multiply by the projection to the shared embedding.

    Returns:
        (N, M, D) tokens, for a vision transformer the class token first; (N, M, width) if not projected.
    """
    visual = clip.visual
    if isinstance(visual, TimmModel):
        x = visual.trunk.forward_features(images)
        return visual.head(x) if project else x
    x = visual.conv1(images).flatten(2).transpose(1, 2)  # N, grid, width
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
    x = visual.ln_pre(x + visual.positional_embedding.to(x.dtype))
    x = visual.ln_post(visual.transformer(x))
    return x @ visual.proj if project else x


def caption_tokens(clip: CLIP, ids: Tensor) -> Tensor:
    """Encode captions.

    Args:
        clip: model made by ``build_clip``.
        ids: (N, L) int64 token ids, L at most the tower's context length.

    Returns:
        (N, L, D) tokens; padding is encoded like any other token.
    """
    length = ids.shape[1]
    x = clip.token_embedding(ids)  # N, L, width
    x = x + clip.positional_embedding[:length].to(x.dtype)
    mask = nn.Transformer.generate_square_subsequent_mask(length, device=x.device, dtype=x.dtype)
    return clip.ln_final(clip.transformer(x, attn_mask=mask)) @ clip.text_projection
