"""Variants of a trained model: which branch reads, how many refinements, what the captions hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_36, CHARSET_62, CHARSET_94

if TYPE_CHECKING:
    from clip4str_plugin.model import CLIP4STR

__all__ = ["ABLATIONS", "ablated"]

# Changes of the configuration by name. Only what a trained model can be asked without training it anew: frozen
# layers, the loss and the data are matters of the training configuration.
ABLATIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "as-is": {},
        "branch=visual": {"cross_branch": False},
        "branch=visual,refine=0": {"cross_branch": False, "refine_iters": 0},
        "refine=0": {"refine_iters": 0},
        "refine=1": {"refine_iters": 1},
        "refine=2": {"refine_iters": 2},
        "refine=3": {"refine_iters": 3},
        "decode=parallel": {"decode_ar": False},
        "captions=36": {"caption_charset": CHARSET_36},
        "captions=62": {"caption_charset": CHARSET_62},
        "captions=94": {"caption_charset": CHARSET_94},
        "captions=none": {"caption_charset": ""},  # the cross-modal branch sees an empty caption
        "context=embeddings": {"raw_token_memory": True},
        "context=cls+eot": {"cls_eot_memory": True},
    }
)


@contextmanager
def ablated(model: CLIP4STR, changes: Mapping[str, Any]) -> Iterator[CLIP4STR]:
    """Change a model's configuration for a while; its weights stay.

    Args:
        model: from ``load_model``.
        changes: fields of its configuration; see ``ABLATIONS``.

    Raises:
        ValueError: the model cannot be used in this way.

    >>> from clip4str_plugin import load_model
    >>> model = load_model("tiny")
    >>> with ablated(model, {"refine_iters": 0}):
    ...     model.config.refine_iters
    0
    """
    if changes.get("cross_branch") and not model.config.cross_branch:
        raise ValueError("the model has no cross-modal branch")
    config, caption_filter = model.config, model.caption_filter
    new = config.replace(**changes)
    needs_text = changes.keys() & {"caption_charset", "raw_token_memory", "cls_eot_memory"}
    if needs_text and not config.cross_branch:
        raise ValueError("the model has no cross-modal branch")
    model.config, model.caption_filter = new, CharsetFilter(new.caption_charset)
    try:
        yield model
    finally:
        model.config, model.caption_filter = config, caption_filter
