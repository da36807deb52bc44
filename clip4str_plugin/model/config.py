"""The configuration of a CLIP4STR model: everything that is not a weight."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clip4str_plugin.model.config_checks import check_config

__all__ = [
    "CHARSET_36",
    "CHARSET_62",
    "CHARSET_94",
    "CLIP_MEAN",
    "CLIP_STD",
    "GEOMETRIES",
    "CLIP4STRConfig",
    "clip_config",
]

CHARSET_36 = string.digits + string.ascii_lowercase
CHARSET_62 = CHARSET_36 + string.ascii_uppercase
CHARSET_94 = CHARSET_62 + string.punctuation

# Image statistics CLIP was trained with (Radford et al., 2021).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class CLIP4STRConfig:
    """Geometry, charset, decoding defaults and preprocessing of one model.

    Attributes:
        embed_dim: width D of the shared embedding and of both decoders.
        vision: keyword arguments of ``open_clip.CLIPVisionCfg`` (image tower).
        text: keyword arguments of ``open_clip.CLIPTextCfg`` (text tower).
        quick_gelu: QuickGELU in CLIP's own transformers, as in every published model (also where its CLIP was
            pre-trained with GELU); towers of other kinds have their own.
        image_size: (height, width) in pixels a crop is squashed to.
        mean: per-channel mean (RGB, range 0-1) subtracted from the crop.
        std: per-channel standard deviation the crop is divided by.
        turn_tall: crops much higher than wide are read on end, too (see ``Recognizer``); published models squash them.
        early_exit: what `clip4str_plugin.RecognizerOptions.early_exit` is on a CPU unless something else is asked for.
            Published models refine every word.
        charset: characters the model predicts, in the order of its classes 1..len(charset).
        caption_charset: characters kept in the caption handed to the text encoder. It changes the logits.
        max_label_length: longest text in characters; the model has one more position for the end token.
        context_length: length in tokens of a caption, with its start and end tokens.
        caption_merges: number of byte-pair merges of CLIP's tokenizer in use; None for all of them.
        decoder_depth: layers of each decoder.
        decoder_heads: attention heads of each decoder.
        decoder_mlp_ratio: hidden width of the decoders' MLP over D.
        dropout: dropout of the decoders, in training.
        refine_iters: default number of refinements after the first decoding.
        decode_ar: autoregressive first decoding (as published) or a single parallel pass (ours).
        cross_branch: False for a model with the visual branch alone.
        share_dim: image tokens are projected to D before the visual decoder (False: afterwards, for the cross
            branch only; the visual decoder then has the width of the image tower).
        raw_token_memory: the cross branch sees plain token embeddings instead of the text encoder's output.
        cls_eot_memory: the cross branch sees only the class token and the caption's end token.
        adapter: a parameter-efficient adapter between image tower and decoders: ``kind`` and its options (see
            ``adaptation.build_adapter``); None for none.

    Raises:
        ValueError: a field is of a wrong type or out of range, or two do not fit each other.
    """

    embed_dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    quick_gelu: bool = True
    image_size: tuple[int, int] = (224, 224)
    # The published test scripts normalise by 0.5, although the networks were trained with CLIP's statistics.
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    turn_tall: bool = False
    early_exit: float | None = None
    charset: str = CHARSET_94
    caption_charset: str = CHARSET_36
    max_label_length: int = 25
    context_length: int = 16
    caption_merges: int | None = None
    decoder_depth: int = 1
    decoder_heads: int = 8
    decoder_mlp_ratio: int = 4
    dropout: float = 0.1
    refine_iters: int = 1
    decode_ar: bool = True
    cross_branch: bool = True
    share_dim: bool = True
    raw_token_memory: bool = False
    cls_eot_memory: bool = False
    adapter: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("image_size", "mean", "std"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        check_config(self)

    @property
    def visual_width(self) -> int:
        """Width of the visual decoder."""
        return self.embed_dim if self.share_dim else self.vision["width"]

    def replace(self, **changes: Any) -> CLIP4STRConfig:
        """Return a copy with some fields changed; an unknown field raises TypeError."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CLIP4STRConfig:
        """Build a configuration from ``to_dict``'s values."""
        if not isinstance(values, Mapping):
            raise ValueError(f"the configuration is no mapping of fields but {type(values).__name__}")
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted({str(name) for name in values} - known)
        if unknown:
            raise ValueError(f"unknown configuration field(s) {unknown[:8]}; known are {sorted(known)}")
        if missing := sorted({"embed_dim", "vision", "text"} - set(values)):
            raise ValueError(f"the configuration lacks {missing}")
        return cls(**values)


def clip_config(
    *,
    embed_dim: int,
    vision_width: int,
    vision_layers: int,
    patch_size: int,
    text_width: int,
    text_layers: int,
    image_size: tuple[int, int] = (224, 224),
    vocab_size: int = 49408,
    text_positions: int = 77,
    **rest: Any,
) -> CLIP4STRConfig:
    """Return the configuration of a model on CLIP's own vision transformer.

    Every published checkpoint was built with heads of 64 channels in both towers, also where open_clip's
    configuration of the same name differs (20 heads for the 1280-wide image tower of H/14).
    """
    return CLIP4STRConfig(
        embed_dim=embed_dim,
        image_size=image_size,
        vision={
            "layers": vision_layers,
            "width": vision_width,
            "head_width": 64,
            "patch_size": patch_size,
            "image_size": list(image_size),
        },
        text={
            "context_length": text_positions,
            "vocab_size": vocab_size,
            "width": text_width,
            "heads": text_width // 64,
            "layers": text_layers,
        },
        **rest,
    )


GEOMETRIES: dict[str, dict[str, int]] = {
    "base32": {
        "embed_dim": 512,
        "vision_width": 768,
        "vision_layers": 12,
        "patch_size": 32,
        "text_width": 512,
        "text_layers": 12,
    },
    "base16": {
        "embed_dim": 512,
        "vision_width": 768,
        "vision_layers": 12,
        "patch_size": 16,
        "text_width": 512,
        "text_layers": 12,
    },
    "large14": {
        "embed_dim": 768,
        "vision_width": 1024,
        "vision_layers": 24,
        "patch_size": 14,
        "text_width": 768,
        "text_layers": 12,
    },
    "huge14": {
        "embed_dim": 1024,
        "vision_width": 1280,
        "vision_layers": 32,
        "patch_size": 14,
        "text_width": 1024,
        "text_layers": 24,
    },
}
