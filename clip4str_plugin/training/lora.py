"""LoRA on the CLIP towers, by the peft library (E. Hu et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.model import CLIP4STR

__all__ = ["add_lora", "merge_lora"]


def add_lora(
    model: CLIP4STR, rank: int = 8, alpha: float = 16, dropout: float = 0.0, targets: Sequence[str] | None = None
) -> None:
    """Freeze the towers and train low-rank changes of their linear layers; the decoders are trained as ever.

    Args:
        model: changed in place; ``merge_lora`` brings its shape back.
        rank: of the changes.
        alpha: their weight is alpha / rank.
        dropout: on their input.
        targets: ends of the names of the layers to change; by default every linear layer of the towers.

    Raises:
        Clip4StrError: peft is not installed, or no layer has such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise Clip4StrError("the adapter 'lora' needs the package peft: pip install peft") from None
    # The packed projection to queries, keys and values is a plain parameter, which peft cannot reach.
    names = [n for n, m in model.clip_model.named_modules() if isinstance(m, nn.Linear)]
    chosen = [n for n in names if targets is None or n.endswith(tuple(targets))]
    if not chosen:
        ends = sorted({n.rsplit(".", 1)[-1] for n in names})
        raise Clip4StrError(f"lora: no linear layer of the towers ends in {list(targets or [])}; there are {ends}")
    config = LoraConfig(r=rank, lora_alpha=int(alpha), lora_dropout=dropout, target_modules=chosen)
    model.clip_model.requires_grad_(False)
    inject_adapter_in_model(config, model.clip_model)


def merge_lora(model: CLIP4STR) -> None:
    """Add the changes to the weights they belong to; the model is then one like any other."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.clip_model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.clip_model.get_submodule(parent), child, module.get_base_layer())
