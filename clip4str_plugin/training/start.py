"""Starting points: a published model with another charset, any CLIP's towers, or random weights."""

from __future__ import annotations

import logging
import pickle
import re
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clip4str_plugin.errors import CheckpointError, Clip4StrError, DownloadError
from clip4str_plugin.model import CLIP4STR, GEOMETRIES, CLIP4STRConfig, clip_config, load_model
from clip4str_plugin.model.adaptation import LadderAdapter
from clip4str_plugin.model.config import CLIP_MEAN, CLIP_STD
from clip4str_plugin.model.ppocr_tower import PPOCRTower
from clip4str_plugin.model.ppocr_weights import bundled_recognizer, load_ppocr_weights
from clip4str_plugin.training.config import ModelSource
from clip4str_plugin.training.optim import freeze

__all__ = ["build_model", "change_model", "open_clip_config", "read_clip_weights"]

_log = logging.getLogger(__name__)

# What open_clip calls the towers of the published sizes.
_OPEN_CLIP_NAMES = {"base32": "ViT-B-32", "base16": "ViT-B-16", "large14": "ViT-L-14", "huge14": "ViT-H-14"}


def build_model(source: ModelSource) -> CLIP4STR:
    """Return the model a training starts from, frozen parts marked, in training mode.

    Raises:
        Clip4StrError: the configuration is not usable, or weights cannot be had or do not fit.
    """
    options = dict(source.adapter)
    is_lora = options.get("kind") == "lora"
    changes = dict(source.config)
    if options and not is_lora:
        changes.update(adapter=options, cross_branch=False)
    try:
        if source.start is not None:
            if source.clip or source.clip_weights:
                raise Clip4StrError(
                    "model.start and model.clip exclude each other: fine-tune a model or begin a new one"
                )
            model = load_model(source.start, allow_hub=source.allow_hub)
            if changes:
                model = change_model(model, changes, allow_hub=source.allow_hub)
        elif source.clip is not None:
            config = open_clip_config(source.clip, source.clip_weights, changes)
            model = CLIP4STR(config, allow_hub=source.allow_hub)
            if source.clip_weights:
                _load_clip(model, read_clip_weights(source.clip, source.clip_weights), source.clip_weights)
        else:
            model = CLIP4STR(CLIP4STRConfig.from_dict(changes), allow_hub=source.allow_hub)
    except Clip4StrError:
        raise
    except (TypeError, ValueError, KeyError, AssertionError) as e:
        raise Clip4StrError(f"the model's configuration is not usable: {e}") from e
    if source.image_weights is not None:
        _load_image_tower(model, source.image_weights)
    if source.copy_decoder:
        if not (model.config.cross_branch and model.config.share_dim):
            raise Clip4StrError("model.copy_decoder needs two decoders of one width: set cross_branch and share_dim")
        model.cross_decoder.load_state_dict(model.visual_decoder.state_dict())
    if isinstance(model.adapter, LadderAdapter) and (source.start or source.clip_weights):
        model.adapter.copy_from(model.clip_model.visual)
    if model.adapter is not None:
        model.clip_model.requires_grad_(False)
    freeze(model, source.freeze_image_layers, source.freeze_text_layers)
    if is_lora:
        from clip4str_plugin.training.lora import add_lora

        del options["kind"]
        add_lora(model, **options)
    return model.train()


def _load_image_tower(model: CLIP4STR, weights: str) -> None:
    tower = getattr(model.clip_model.visual, "trunk", None)
    if not isinstance(tower, PPOCRTower):
        raise Clip4StrError("model.image_weights is for the image tower ppocr_v6_small; set model.config.vision to it")
    load_ppocr_weights(tower, bundled_recognizer() if weights == "rapidocr" else Path(weights).expanduser())


# ---- another charset, length or branch ---------------------------------------------------------------


# The last linear layers of the three parts of a decoder's layer, whose results are added to what comes in.
_ADDS = re.compile(r"_decoder\.layers\.\d+\.(self_attn\.out_proj|cross_attn\.out_proj|linear2)\.")


def change_model(model: CLIP4STR, changes: Mapping[str, Any], *, allow_hub: bool = False) -> CLIP4STR:
    """Return a model with another configuration that keeps every weight that still has a meaning.

    With another charset, the rows of head and token embedding move with their characters. A new character starts from
    the character it is composed of (``é`` from ``e``), if there is one, and else from random weights. With longer
    labels, new positions start from random weights. Further layers of the decoders begin as ones that change nothing,
    and so does what ``ppocr_v6_small_rows`` adds to ``ppocr_v6_small``: a model that is grown reads as before. Tensors
    of another shape start anew, and are logged.

    Args:
        model: keeps its own weights.
        changes: fields of ``CLIP4STRConfig``.
        allow_hub: as for ``load_model``.

    Raises:
        ValueError, TypeError: the configuration is not usable.
    """
    old, new = model.config, CLIP4STRConfig.from_dict({**model.config.to_dict(), **changes})
    changed = CLIP4STR(new, allow_hub=allow_hub)
    given, state = model.state_dict(), changed.state_dict()
    anew = []
    for name, value in state.items():
        source = given.get(name)
        if source is None:
            anew.append(name)
            if old.decoder_depth < new.decoder_depth and _ADDS.search(name):
                value.zero_()
        elif name.endswith(("head.weight", "head.bias")) and "_decoder." in name:
            _copy_rows(value, source, _class_rows(old.charset, new.charset))
        elif name.endswith("text_embed.embedding.weight"):
            rows = _class_rows(old.charset, new.charset)
            rows |= {len(new.charset) + k: len(old.charset) + k for k in (1, 2)}  # begin and padding tokens
            _copy_rows(value, source, rows)
        elif name.endswith("pos_queries"):
            kept = min(value.shape[1], source.shape[1])
            value[:, :kept] = source[:, :kept]
        elif value.shape == source.shape:
            value.copy_(source)
        elif name.endswith("visual.positional_embedding"):
            value.copy_(_resized_positions(source, old, new))
        else:
            anew.append(name)
    if anew:
        _log.info("start from random weights: %s", ", ".join(anew))
    changed.load_state_dict(state)
    return changed


def _class_rows(old: str, new: str) -> dict[int, int]:
    """Return from which old class each new class starts."""
    places = {c: i for i, c in enumerate(old, start=1)}
    rows = {0: 0}
    for i, character in enumerate(new, start=1):
        base = next((c for c in (character, *unicodedata.normalize("NFKD", character)) if c in places), None)
        if base is not None:
            rows[i] = places[base]
    return rows


def _copy_rows(target: Tensor, source: Tensor, rows: Mapping[int, int]) -> None:
    for to, origin in rows.items():
        target[to] = source[origin]


def _resized_positions(positions: Tensor, old: CLIP4STRConfig, new: CLIP4STRConfig) -> Tensor:
    """Interpolate a vision transformer's positions (1 + grid, width) to another image size."""
    patch = new.vision["patch_size"]
    before = [size // old.vision["patch_size"] for size in old.image_size]
    after = [size // patch for size in new.image_size]
    grid = positions[1:].reshape(1, *before, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, after, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:1], grid.flatten(2)[0].T])


# ---- towers of any CLIP ------------------------------------------------------------------------------


def open_clip_config(name: str, weights: str | None = None, changes: Mapping[str, Any] | None = None) -> CLIP4STRConfig:
    """Return the configuration of a model on the towers of a CLIP.

    Args:
        name: a size of the published models (their heads and QuickGELU), or a name of open_clip (as it defines it).
        weights: pretrained tag, whose image statistics apply.
        changes: fields of ``CLIP4STRConfig`` that differ.

    Raises:
        Clip4StrError: open_clip has no such model.
    """
    import open_clip

    changes = dict(changes or {})
    open_clip_name = _OPEN_CLIP_NAMES.get(name, name)
    tag = open_clip.pretrained.get_pretrained_cfg(open_clip_name, weights or "") if weights else {}
    statistics = {"mean": tag.get("mean") or CLIP_MEAN, "std": tag.get("std") or CLIP_STD}
    if name in GEOMETRIES:
        return clip_config(**GEOMETRIES[name], **{**statistics, **changes})  # type: ignore[arg-type]
    found = open_clip.get_model_config(name)
    if found is None:
        raise Clip4StrError(
            f"model.clip is {name!r}: neither one of {', '.join(GEOMETRIES)} nor a model of open_clip "
            "(open_clip.list_models() names them)"
        )
    vision, text = dict(found["vision_cfg"]), dict(found["text_cfg"])
    size = changes.get("image_size") or vision.get("image_size", 224)
    size = (size, size) if isinstance(size, int) else tuple(size)
    vision["image_size"] = list(size)
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
        if vision.get("timm_pool") != "map":
            vision["timm_pool"] = ""
    values: dict[str, Any] = {
        "embed_dim": found["embed_dim"],
        "vision": vision,
        "text": text,
        "quick_gelu": bool(tag.get("quick_gelu", found.get("quick_gelu", False))),
        "image_size": size,
        **statistics,
    }
    return CLIP4STRConfig.from_dict({**values, **changes})


def read_clip_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return the state dict of a CLIP.

    Args:
        name: of the CLIP, as in ``open_clip_config``.
        weights: a file (TorchScript archive, state dict, training checkpoint of open_clip, safetensors), told apart by
            its content; or a pretrained tag, which is downloaded once.

    Raises:
        CheckpointError: the file cannot be read.
        DownloadError: the tag's file cannot be had.
        Clip4StrError: there is neither such a file nor such a tag.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        path = _fetch_tag(_OPEN_CLIP_NAMES.get(name, name), weights)
    with path.open("rb") as f:
        is_safetensors = f.read(9)[8:] == b"{"
    try:
        if is_safetensors:
            from safetensors.torch import load_file

            content: Any = load_file(path)
        elif zipfile.is_zipfile(path) and any(n.endswith("/constants.pkl") for n in zipfile.ZipFile(path).namelist()):
            content = torch.jit.load(path, map_location="cpu").state_dict()
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as e:
        raise CheckpointError(f"{path}: is not a readable weight file ({type(e).__name__}: {e})") from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    state = {
        str(k).removeprefix("module."): v.float() if v.is_floating_point() else v
        for k, v in content.items()
        if isinstance(v, Tensor) and k not in ("input_resolution", "context_length", "vocab_size")
    }
    if not any(k.startswith("visual.") for k in state):
        raise CheckpointError(f"{path}: holds no CLIP (no tensor named visual.*); for a CLIP4STR model use model.start")
    return state


def _fetch_tag(name: str, tag: str) -> Path:
    import open_clip

    # A published size stands for open_clip's variants of it: DFN's H/14 is called ViT-H-14-quickgelu there.
    tags = {t: n for n, t in open_clip.list_pretrained() if n in (f"{name}-quickgelu", name)}
    if tag not in tags:
        raise Clip4StrError(
            f"model.clip_weights is {tag!r}: neither a file nor a pretrained tag of {name}; "
            f"its tags are {', '.join(sorted(tags)) or 'none'}"
        )
    config = open_clip.pretrained.get_pretrained_cfg(tags[tag], tag)
    try:
        return Path(open_clip.pretrained.download_pretrained(config))
    except Exception as e:  # of urllib or of the hub's client
        raise DownloadError(
            f"the weights {tag!r} of {name} cannot be downloaded ({type(e).__name__}: {e}); fetch them elsewhere and "
            "give the file as model.clip_weights"
        ) from e


def _load_clip(model: CLIP4STR, state: dict[str, Tensor], source: str) -> None:
    """Put a CLIP's tensors into the towers; positions are interpolated to other image and text sizes."""
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    clip = model.clip_model
    wanted = clip.state_dict()
    if any(k.startswith("text.") for k in wanted):
        state = convert_to_custom_text_state_dict(state)
    state = {
        k: v.reshape(wanted[k].shape) if k in wanted and v.numel() == wanted[k].numel() == 1 else v
        for k, v in state.items()
    }
    if "visual.positional_embedding" in state and "visual.positional_embedding" in wanted:
        resize_pos_embed(state, clip)
    if "positional_embedding" in state or "text.positional_embedding" in state:
        resize_text_pos_embed(state, clip)
    # Poolers and class heads of towers whose tokens are all used here have no place in the model.
    missing = sorted(wanted.keys() - state.keys())
    misshapen = sorted(k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape)
    if missing or misshapen:
        example = (missing or misshapen)[0]
        raise CheckpointError(
            f"{source}: is of another CLIP: {len(missing)} tensors are missing and {len(misshapen)} have another shape "
            f"(first {example}); set model.clip to the model these weights belong to"
        )
    clip.load_state_dict({k: state[k] for k in wanted})
