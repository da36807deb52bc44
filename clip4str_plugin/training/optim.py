"""The optimizer of CLIP4STR: four parameter groups, the linear learning-rate rule, freezing, schedules."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.model import CLIP4STR

__all__ = ["freeze", "learning_rate_factor", "parameter_groups", "scaled_learning_rate"]

_NO_DECAY = ("bn", "ln", "bias", "logit_scale", "pos_queries", "text_embed")


def scaled_learning_rate(lr: float, batch_size: int, devices: int = 1, accumulate: int = 1) -> float:
    """Return the learning rate for an effective batch, linear with 512 as the unit (Zhao et al., 2024)."""
    return lr * accumulate * devices * batch_size / 512


def parameter_groups(
    model: CLIP4STR, lr: float, weight_decay: float, coef_lr: float = 1.0, coef_wd: float = 1.0
) -> list[dict[str, Any]]:
    """Group the trainable parameters: CLIP without and with decay, decoders without and with decay.

    An adapter learns like the towers where it is made of their blocks, else like the decoders.

    Args:
        model: frozen parameters are left out.
        lr: learning rate of the CLIP towers.
        weight_decay: of their matrices.
        coef_lr: the decoders' learning rate over ``lr``.
        coef_wd: the decoders' weight decay over ``weight_decay``.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {(d, w): [] for d in (False, True) for w in (False, True)}
    of_clip: tuple[str, ...] = ("clip_model.",)
    if (model.config.adapter or {}).get("kind") in ("ladder", "ladder_pruning"):
        of_clip += ("adapter.",)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and not any(part in name for part in _NO_DECAY)
            groups[not name.startswith(of_clip), decays].append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * (coef_lr if is_decoder else 1),
            "weight_decay": weight_decay * (coef_wd if is_decoder else 1) if decays else 0.0,
        }
        for (is_decoder, decays), parameters in groups.items()
    ]


def freeze(model: CLIP4STR, image_layers: int = -1, text_layers: int = -1) -> None:
    """Freeze the first layers of the two towers, as the published trainings do.

    Args:
        model: changed in place.
        image_layers: -1 freezes nothing; n freezes the embeddings of the image tower and its first n blocks;
            its full depth or more freezes all of it.
        text_layers: likewise for the text tower, where the full depth also freezes its final normalisation
            and projection.

    Raises:
        Clip4StrError: a tower has no sequence of blocks.
    """
    clip = model.clip_model
    clip.logit_scale.requires_grad_(False)
    if text_layers >= 0:
        text = getattr(clip, "text", clip)  # CLIP's own text encoder lies beside the image tower, others in a module
        blocks = _blocks(text)
        whole = text_layers >= len(blocks)
        if text is clip:
            embeddings = [clip.token_embedding, clip.positional_embedding]
            rest = [clip.ln_final, clip.text_projection]
        else:
            inside = {id(p) for p in blocks.parameters()}
            rest = [text] if whole else []
            embeddings = [p for n, p in text.named_parameters() if "embed" in n and id(p) not in inside]
        for part in [*embeddings, *blocks[:text_layers], *(rest if whole else [])]:
            part.requires_grad_(False)
    if image_layers >= 0:
        visual = clip.visual
        blocks = _blocks(visual)
        trunk = getattr(visual, "trunk", visual)
        names = ("class_embedding", "positional_embedding", "cls_token", "pos_embed", "patch_embed", "stem")
        embeddings = [getattr(trunk, n) for n in names if getattr(trunk, n, None) is not None]
        for part in [*embeddings, *blocks[:image_layers], *([visual] if image_layers >= len(blocks) else [])]:
            part.requires_grad_(False)


def _blocks(tower: nn.Module) -> Any:
    """Return the sequence of blocks of a tower.

    Raises:
        Clip4StrError: the tower has none.
    """
    for path in (
        "transformer.resblocks",
        "trunk.blocks",
        "trunk.stages",
        "transformer.encoder.layer",
        "transformer.layers",
    ):
        part: Any = tower
        for name in path.split("."):
            part = getattr(part, name, None)
        if part is not None:
            return part
    raise Clip4StrError(
        f"the tower {type(tower).__name__} has no sequence of blocks to freeze: set freeze_image_layers and "
        "freeze_text_layers to -1"
    )


def learning_rate_factor(step: int, total: float, schedule: str, warmup: float, cooldown: float = 0.2) -> float:
    """Return the learning rate over its maximum, as a function of the step alone.

    Args:
        step: optimizer steps done.
        total: optimizer steps of the whole training.
        schedule: ``"onecycle"`` (cosine up from 1/25, cosine down to 1/250,000; the published one),
            ``"cosine"`` (linear up, cosine down to 0) or ``"constant"`` (linear up, level, straight down to 0
            in the last part; its end can be moved while training runs).
        warmup: part of all steps, or number of steps if above 1.
        cooldown: part of all steps, for ``"constant"``.
    """
    if schedule not in ("onecycle", "cosine", "constant"):
        raise ValueError(f"unknown schedule {schedule!r}: use onecycle, cosine or constant")
    up = warmup if warmup > 1 else warmup * total
    if schedule == "onecycle":
        up, down = up - 1, total - 1
        if step <= up:
            return _cosine(1 / 25, 1.0, step / up if up > 0 else 1.0)
        return _cosine(1.0, 1 / 25e4, min(1.0, (step - up) / (down - up) if down > up else 1.0))
    if step < up:
        return (step + 1) / up
    if schedule == "cosine":
        return _cosine(1.0, 0.0, min(1.0, (step - up) / max(1, total - up)))
    return max(0.0, min(1.0, (total - step) / max(1.0, cooldown * total)))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))
