"""Checks of configurations from files: types, ranges and options."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["OWN_TOWERS", "check_config", "foreign_parts"]

OWN_TOWERS = frozenset({"ppocr_v6_small", "ppocr_v6_small_rows", *(f"word_convstem_{width}" for width in (16, 192))})
"""The image towers of this package, by their names in timm."""

# Field -> smallest and largest value. Far above anything that was ever trained, and small enough to be built.
_COUNTS = {
    "embed_dim": (1, 16384),
    "max_label_length": (1, 1024),
    "context_length": (2, 4096),
    "decoder_depth": (1, 64),
    "decoder_heads": (1, 256),
    "decoder_mlp_ratio": (1, 64),
    "refine_iters": (0, 64),
}
_FLAGS = ("quick_gelu", "turn_tall", "decode_ar", "cross_branch", "share_dim", "raw_token_memory", "cls_eot_memory")
_MAX_CHARACTERS = 100_000
_MAX_SIDE = 4096  # pixels
_MERGES = 48_894  # of CLIP's tokenizer
_MAX_PATH = 4096

# What the towers may be given, of the fields of open_clip's CLIPVisionCfg and CLIPTextCfg.
_TOWER_COUNTS = {
    "layers": (1, 256),
    "width": (1, 16384),
    "head_width": (1, 16384),
    "heads": (1, 256),
    "patch_size": (1, 512),
    "context_length": (1, 4096),
    "vocab_size": (1, 2_000_000),
    "attn_pooler_queries": (1, 4096),
    "attn_pooler_heads": (1, 256),
    "pad_id": (0, 2_000_000),
    "eos_id": (0, 2_000_000),
}
_TOWER_NUMBERS = {
    "mlp_ratio": (0.01, 64.0),
    "ls_init_value": (0.0, 100.0),
    "patch_dropout": (0.0, 0.99),
    "timm_drop": (0.0, 0.99),
    "timm_drop_path": (0.0, 0.99),
}
_BLOCK_FLAGS = {"qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"}
_BLOCK = {"layers", "width", "mlp_ratio", "ls_init_value", "pool_type", "final_ln_after_pool", "output_tokens",
          "act_kwargs", "norm_kwargs", "block_type", *_BLOCK_FLAGS}  # fmt: skip
_VISION = _BLOCK | {
    "head_width", "patch_size", "image_size", "patch_dropout", "attentional_pool", "attn_pooler_queries",
    "attn_pooler_heads", "no_ln_pre", "pos_embed_type", "timm_model_name", "timm_model_pretrained", "timm_pool",
    "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path",
}  # fmt: skip
_TEXT = _BLOCK | {
    "context_length", "vocab_size", "heads", "embed_cls", "pad_id", "eos_id", "no_causal_mask", "proj_bias",
    "proj_type", "hf_model_name", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type", "hf_tokenizer_name",
    "tokenizer_mode", "tokenizer_kwargs",
}  # fmt: skip
_TOWER_FLAGS = _BLOCK_FLAGS | {
    "attentional_pool", "embed_cls", "final_ln_after_pool", "hf_model_pretrained", "no_causal_mask", "no_ln_pre",
    "output_tokens", "proj_bias", "timm_model_pretrained", "timm_proj_bias",
}  # fmt: skip
_TOKENIZER_FLAGS = ("strip_sep_token",)
_TOKENIZER_CHOICES = {"clean": ("canonicalize", "lower", "whitespace"), "tokenizer_mode": ("", "clips")}


def foreign_parts(config: Any) -> list[str]:
    """Name what a configuration takes from elsewhere: towers and tokenizers that are neither CLIP's nor ours.

    Args:
        config: a ``CLIP4STRConfig``.
    """
    timm = config.vision.get("timm_model_name")
    parts = [f"vision.timm_model_name {timm!r}"] if timm and timm not in OWN_TOWERS else []
    names = ("hf_model_name", "hf_tokenizer_name")
    return parts + [f"text.{name} {config.text[name]!r}" for name in names if config.text.get(name)]


def check_config(config: Any) -> None:
    """Refuse a configuration that no model can be built from.

    Args:
        config: a ``CLIP4STRConfig``.

    Raises:
        ValueError: naming the field and what it may be.
    """
    for name, (low, high) in _COUNTS.items():
        _count(name, getattr(config, name), low, high)
    for name in _FLAGS:
        _flag(name, getattr(config, name))
    _sides("image_size", config.image_size)
    for name in ("mean", "std"):
        values = getattr(config, name)
        if not isinstance(values, tuple) or len(values) != 3:
            raise ValueError(f"{name} is {_short(values)}; it has to be three numbers")
        for value in values:
            _number(name, value, 1e-6 if name == "std" else -1000.0, 1000.0)
    _number("dropout", config.dropout, 0.0, 0.99)
    if config.early_exit is not None:
        _number("early_exit", config.early_exit, 0.0, 1.0)
    _characters("charset", config.charset, 1)
    _characters("caption_charset", config.caption_charset, 0)
    if config.caption_merges is not None:
        _count("caption_merges", config.caption_merges, 0, _MERGES)
    _check_vision(config)
    _check_text(config)
    for field, width in (("embed_dim", config.embed_dim), ("the width of the visual decoder", config.visual_width)):
        if width % config.decoder_heads:
            raise ValueError(f"decoder_heads is {config.decoder_heads}; it has to divide {field}, {width}")
    if config.adapter is not None:
        _check_adapter(config.adapter)


def _check_vision(config: Any) -> None:
    vision = config.vision
    _check_tower("vision", vision, _VISION)
    if vision.get("timm_model_name"):
        if not config.share_dim and "width" not in vision:
            raise ValueError("vision lacks width, which the visual decoder has where share_dim is false")
        return
    layers = vision.get("layers", 12)
    if not isinstance(layers, int):
        raise ValueError(f"vision.layers is {_short(layers)}; it has to be a number")
    for name in ("width", "patch_size"):
        if name not in vision:
            raise ValueError(f"vision lacks {name}")
    head = vision.get("head_width", 64)
    if vision["width"] % head:
        raise ValueError(f"vision.width {vision['width']} is no multiple of head_width {head}")
    if min(config.image_size) < vision["patch_size"]:
        raise ValueError(f"image_size {config.image_size} is smaller than vision.patch_size {vision['patch_size']}")


def _check_text(config: Any) -> None:
    text = config.text
    _check_tower("text", text, _TEXT)
    _check_tokenizer(text.get("tokenizer_kwargs"))
    if not text.get("hf_model_name"):
        width, heads = text.get("width", 512), text.get("heads", 8)
        if width % heads:
            raise ValueError(f"text.width {width} is no multiple of text.heads {heads}")
        if config.context_length > text.get("context_length", 77):
            raise ValueError(
                f"context_length is {config.context_length}; the text tower has {text.get('context_length', 77)} places"
            )
    if config.raw_token_memory and text.get("width") != config.embed_dim:
        raise ValueError(
            f"raw_token_memory needs a text width ({text.get('width')}) equal to embed_dim ({config.embed_dim})"
        )


def _check_tower(tower: str, options: Any, known: set[str]) -> None:
    if not isinstance(options, Mapping):
        raise ValueError(f"{tower} is {_short(options)}; it has to be a mapping of options")
    unknown = sorted({str(name) for name in options} - known)
    if unknown:
        raise ValueError(f"{tower} has unknown option(s) {_short(unknown)}; known are {', '.join(sorted(known))}")
    for name, value in options.items():
        field = f"{tower}.{name}"
        if name == "image_size":
            _sides(field, (value, value) if isinstance(value, int) else value)
        elif value is None:
            continue
        elif name == "layers" and isinstance(value, (list, tuple)) and len(value) == 4:
            for part in value:
                _count(field, part, 1, 256)
        elif name in _TOWER_COUNTS:
            _count(field, value, *_TOWER_COUNTS[name])
        elif name in _TOWER_NUMBERS:
            _number(field, value, *_TOWER_NUMBERS[name])
        elif name in _TOWER_FLAGS:
            _flag(field, value)
        elif name == "norm_kwargs":
            if not isinstance(value, Mapping) or set(value) != {"eps"}:
                raise ValueError(f"{field} is {_short(value)}; it can hold eps")
            _number(f"{field}.eps", value["eps"], 0.0, 1.0)
        elif name == "act_kwargs":
            if not isinstance(value, Mapping) or set(value) != {"approximate"}:
                raise ValueError(f"{field} is {_short(value)}; it can hold approximate")
            _choice(f"{field}.approximate", value["approximate"], ("none", "tanh"))
        elif name != "tokenizer_kwargs" and not (isinstance(value, str) and len(value) <= _MAX_PATH):
            raise ValueError(f"{field} is {_short(value)}; it has to be text")


def _check_tokenizer(options: Any) -> None:
    if options is None:
        return
    if not isinstance(options, Mapping):
        raise ValueError(f"text.tokenizer_kwargs is {_short(options)}; it has to be a mapping of options")
    for name, value in options.items():
        field = f"text.tokenizer_kwargs.{name}"
        if name in _TOKENIZER_FLAGS:
            _flag(field, value)
        elif name in _TOKENIZER_CHOICES:
            _choice(field, value, _TOKENIZER_CHOICES[name])
        elif name == "language":
            if not isinstance(value, str) or len(value) > 64:
                raise ValueError(f"{field} is {_short(value)}; it has to be text")
        else:
            known = ", ".join(sorted({*_TOKENIZER_FLAGS, *_TOKENIZER_CHOICES, "language"}))
            raise ValueError(f"{field} is not allowed; a tokenizer can be given {known}")


def _check_adapter(adapter: Any) -> None:
    if not isinstance(adapter, Mapping):
        raise ValueError(f"adapter is {_short(adapter)}; it has to be a mapping of options")
    if "reduction" in adapter:
        _number("adapter.reduction", adapter["reduction"], 1.0, 256.0)
    blocks = adapter.get("blocks")
    if blocks is not None:
        if not isinstance(blocks, (list, tuple)) or len(blocks) > 256:
            raise ValueError(f"adapter.blocks is {_short(blocks)}; it has to be a list of blocks")
        for block in blocks:
            _count("adapter.blocks", block, 0, 255)


def _count(name: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} is {_short(value)}; it has to be a whole number from {low} to {high}")


def _number(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high or math.isnan(value):
        raise ValueError(f"{name} is {_short(value)}; it has to be a number from {low:g} to {high:g}")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {_short(value)}; it has to be true or false")


def _choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {_short(value)}; it has to be one of {', '.join(map(repr, choices))}")


def _sides(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{name} is {_short(value)}; it has to be height and width")
    for side in value:
        _count(name, side, 1, _MAX_SIDE)


def _characters(name: str, value: Any, least: int) -> None:
    if not isinstance(value, str) or not least <= len(value) <= _MAX_CHARACTERS:
        raise ValueError(f"{name} is {_short(value)}; it has to be text of {least} to {_MAX_CHARACTERS:,} characters")
    if name == "charset" and len(set(value)) != len(value):
        repeated = sorted(character for character, count in Counter(value).items() if count > 1)
        raise ValueError(f"charset repeats {_short(repeated)}: list every character once")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise ValueError(f"{name} holds half a character (a lone surrogate)")


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a number of too many digits, a list within itself
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
