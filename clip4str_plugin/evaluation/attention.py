"""Where a decoder looks while it reads: cross-attention over the crop, character by character."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from clip4str_plugin.model.preprocess import preprocess
from clip4str_plugin.model.word_tower import WordTower

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.model.decoder import Attention, Decoder
    from clip4str_plugin.model.preprocess import Color

__all__ = ["AttentionMaps", "attention_maps", "draw_attention", "token_grid"]


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of one branch's decoder in the pass that gave its reading, mean over the heads of its last layer.

    The weights of a character over image, class token and caption together are 1.

    Attributes:
        branch: "visual" or "cross".
        text: what the branch reads.
        maps: (n, rows, columns) float32 weights of the image tokens, one map a character of ``text`` and, if the
            reading has an end token, one for that. A map's rows and columns divide the crop evenly.
        class_token: (n,) weight of the class token; zeros for an image tower without.
        caption: what the text encoder was given; None for the visual branch.
        caption_tokens: (n, L) weights of the caption's tokens, begin and end token included; L is 0 for the visual
            branch.
    """

    branch: str
    text: str
    maps: np.ndarray
    class_token: np.ndarray
    caption: str | None
    caption_tokens: np.ndarray


def attention_maps(
    model: CLIP4STR, crop: Any, color: Color = "rgb", refine_iters: int | None = None
) -> list[AttentionMaps]:
    """Read a crop and return where each branch's decoder looked.

    Args:
        model: from ``load_model``.
        crop: as ``Recognizer`` takes it.
        color: channel order of an array, "rgb" or "bgr".
        refine_iters: refinements; the model's if None. The maps are those of the last pass: of the last refinement,
            or without any, of the first decoding.

    Returns:
        the maps of the visual branch and, where the model has one, of the cross-modal branch.

    Raises:
        ImageError: the crop is unusable.
        ValueError: the model's cross-modal branch does not see the image tokens (``cls_eot_memory``), or the places
            of the tokens are not known.

    >>> import numpy as np
    >>> from clip4str_plugin import load_model
    >>> visual, cross = attention_maps(load_model("tiny"), np.zeros((32, 100, 3), np.uint8))
    >>> visual.maps.shape[1:]
    (1, 32)
    """
    if model.config.cross_branch and model.config.cls_eot_memory:
        raise ValueError("this model's cross-modal branch sees the class token only, so it has no map of the image")
    images = preprocess([crop], model.config, color)
    decoders = {"visual": model.visual_decoder} | ({"cross": model.cross_decoder} if model.config.cross_branch else {})
    # One crop alone: its passes then hold all its positions in order, whatever the way of decoding.
    with torch.inference_mode(), _recorded(decoders) as passes:
        decoding = model.generate(images, refine_iters=refine_iters)
    results = {
        "visual": (decoding.visual_logits, decoding.visual_lengths),
        "cross": (decoding.logits, decoding.lengths),
    }
    prefix, rows, columns = token_grid(model)
    found = []
    for branch in decoders:
        text, probs = model.tokenizer.decode(*results[branch])[0]
        weights = _last(passes[branch], len(probs))
        image_end = prefix + rows * columns
        found.append(
            AttentionMaps(
                branch,
                text,
                weights[:, prefix:image_end].reshape(-1, rows, columns),
                weights[:, :prefix].sum(1),
                decoding.captions[-1][0] if branch == "cross" else None,
                weights[:, image_end:],
            )
        )
    return found


def token_grid(model: CLIP4STR) -> tuple[int, int, int]:
    """Return how the image tower's tokens lie on the crop: tokens without a place, first, then rows and columns.

    Raises:
        ValueError: it is not known.
    """
    visual = model.clip_model.visual
    trunk = getattr(visual, "trunk", None)
    if trunk is None:  # open_clip's own vision transformer
        return 1, *visual.grid_size
    if hasattr(trunk, "patch_embed") and hasattr(trunk.patch_embed, "grid_size"):  # a timm vision transformer
        return trunk.num_prefix_tokens, *trunk.patch_embed.grid_size
    if isinstance(trunk, WordTower):
        return 0, *trunk.grid_size
    raise ValueError(f"where the tokens of {type(trunk).__name__} lie on the crop is not known")


@contextmanager
def _recorded(decoders: dict[str, Decoder]) -> Iterator[dict[str, list[np.ndarray]]]:
    """Record the weights (Q, M) of every pass through the last layers' cross-attention."""
    passes: dict[str, list[np.ndarray]] = {name: [] for name in decoders}

    def record(branch: str) -> Any:
        def hook(attention: Attention, inputs: tuple[Any, ...]) -> None:
            passes[branch].append(_weights(attention, inputs[0], inputs[1][0])[0].float().cpu().numpy())

        return hook

    handles = [d.layers[-1].cross_attn.register_forward_pre_hook(record(name)) for name, d in decoders.items()]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


def _weights(attention: Attention, x: Tensor, keys: Tensor) -> Tensor:
    """Return attention weights (N, Q, M), mean over the heads, of queries (N, Q, D) to keys (N, h, M, D/h)."""
    dim = x.shape[-1]
    query = F.linear(x, attention.in_proj_weight[:dim], attention.in_proj_bias[:dim])
    query = query.unflatten(-1, (attention.heads, -1)).transpose(1, 2)  # N, h, Q, D/h
    return (query @ keys.transpose(-2, -1) * query.shape[-1] ** -0.5).float().softmax(-1).mean(1)


def _last(passes: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Return the weights of the last pass over ``count`` positions, which may have gone position by position."""
    if len(passes[-1]) >= count:
        return passes[-1][:count]
    steps = passes[-count:]
    if any(len(step) != 1 for step in steps):
        raise RuntimeError(f"the decoding's last passes hold {[len(p) for p in steps]} positions, expected {count}")
    return np.concatenate(steps)


def draw_attention(crop: Any, maps: Sequence[AttentionMaps], height: int = 96, color: Color = "rgb") -> Image.Image:
    """Draw the crop once for every character, brighter where the decoder looked: one row per branch.

    Args:
        crop: as for ``attention_maps``.
        maps: its result.
        height: of a crop in the picture, in pixels.
        color: channel order of an array.

    Returns:
        an RGB picture; above each crop its character ("end" for the end token) and the share of the weight that
        fell on the image.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = _as_image(crop, color)
    width = max(24, min(4 * height, round(image.width * height / image.height)))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    line, gap = 20, 6
    cells = max(len(m.maps) for m in maps)
    sheet = Image.new("RGB", (gap + max(1, cells) * (width + gap), len(maps) * (height + 2 * line + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(15), ImageFont.load_default(11)
    for row, branch in enumerate(maps):
        top = row * (height + 2 * line + gap)
        title = f"{branch.branch}: {branch.text}"
        if branch.caption is not None:
            title += f"   (caption: {branch.caption})"
        draw.text((gap, top + 2), title, "black", font)
        characters = [*branch.text, "end"][: len(branch.maps)]
        for i, (character, weights) in enumerate(zip(characters, branch.maps)):
            left = gap + i * (width + gap)
            draw.text((left, top + line), character, "black", font)
            draw.text((left + width - 30, top + line + 4), f"{100 * weights.sum():.0f} %", "grey", small)
            sheet.paste(_highlighted(image, weights), (left, top + 2 * line))
    return sheet


def _as_image(crop: Any, color: Color) -> Image.Image:
    from PIL import Image

    if isinstance(crop, Image.Image):
        return crop.convert("RGB")
    if crop.ndim == 3 and crop.shape[2] >= 3 and color == "bgr":
        crop = crop[..., 2::-1]
    return Image.fromarray(np.ascontiguousarray(crop.squeeze())).convert("RGB")


def _highlighted(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """Darken the picture and colour it where the weights (rows, columns) are high, relative to their maximum."""
    from PIL import Image

    heat = Image.fromarray((weights / max(float(weights.max()), 1e-12)).astype(np.float32))
    strength = np.asarray(heat.resize(image.size, Image.Resampling.BILINEAR)).clip(0, 1)[..., None]
    grey = np.asarray(image.convert("L"), np.float32)[..., None]
    glow = np.array([255, 80, 0], np.float32)  # orange
    mixed = grey * (0.35 + 0.35 * strength) + glow * 0.55 * strength
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
