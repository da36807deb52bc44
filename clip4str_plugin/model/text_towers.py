"""Text encoders other than CLIP's own: SigLIP's, and Hugging Face encoders such as XLM-R, with their tokenizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.model.config import CLIP4STRConfig

__all__ = [
    "HuggingFaceCaptionTokenizer",
    "build_caption_tokenizer",
    "build_custom_clip",
    "custom_caption_tokens",
    "has_own_text_tower",
]


def has_own_text_tower(text: Mapping[str, Any]) -> bool:
    """Tell whether a text configuration asks for another text encoder than CLIP's own."""
    return bool(text.get("hf_model_name") or text.get("hf_tokenizer_name"))


def build_custom_clip(config: CLIP4STRConfig) -> CustomTextCLIP:
    """Return open_clip's model with a text encoder of its own, with random weights.

    Raises:
        ValueError: the text encoder's configuration cannot be had.
    """
    name = config.text.get("hf_model_name")
    try:
        if name:
            from transformers import AutoConfig

            AutoConfig.from_pretrained(name, trust_remote_code=False)  # open_clip would ask whether to run its code
        return CustomTextCLIP(
            config.embed_dim,
            {**config.vision, "timm_model_pretrained": False},
            {**config.text, "hf_model_pretrained": False},
            quick_gelu=False,
        )
    except (ImportError, OSError, RuntimeError, ValueError, KeyError) as e:
        raise ValueError(
            f"the text encoder {name!r} cannot be built ({e}): name a folder with its "
            "config.json, or a model of the Hugging Face hub while that can be reached"
        ) from e


def custom_caption_tokens(clip: CustomTextCLIP, ids: Tensor) -> Tensor:
    """Encode captions with the text encoder's own mask.

    Args:
        clip: model made by ``build_custom_clip``.
        ids: (N, L) int64 token ids.

    Returns:
        (N, L, D) tokens, each projected as the encoder projects its pooled one.
    """
    text = clip.text
    if hasattr(text, "pooler"):  # a Hugging Face encoder
        tokens = text.transformer(input_ids=ids, attention_mask=(ids != text.config.pad_token_id).long())
        return text.proj(tokens.last_hidden_state)
    x, mask = text._embeds(ids)
    if mask is not None and mask.ndim == 2:
        mask = mask[: ids.shape[1], : ids.shape[1]]
    x = text.ln_final(text.transformer(x, attn_mask=mask))
    projection = text.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


@lru_cache(maxsize=4)
def _tokenizer(name: str, options: tuple[tuple[str, Any], ...]) -> Any:
    from open_clip.tokenizer import HFTokenizer

    try:
        return HFTokenizer(name, trust_remote_code=False, **dict(options))
    except (ImportError, OSError, ValueError, RuntimeError) as e:
        raise ValueError(
            f"the tokenizer {name!r} cannot be loaded ({e}): install transformers, and name a folder with its files or "
            "a model of the Hugging Face hub while that can be reached"
        ) from e


class HuggingFaceCaptionTokenizer:
    """The tokenizer of a text encoder, cut to a short context.

    Args:
        name: folder or name on the Hugging Face hub.
        context_length: tokens of a caption, special tokens included.
        options: of open_clip's ``HFTokenizer``, as ``CLIP4STRConfig`` allows them.
    """

    def __init__(self, name: str, context_length: int, options: Mapping[str, Any] | None = None) -> None:
        self.context_length = context_length
        self._encoder = _tokenizer(name, tuple(sorted((options or {}).items())))
        self.vocab_size: int = len(self._encoder.tokenizer)
        self.eot_id: int = next(
            i for i in (self._encoder.tokenizer.eos_token_id, self._encoder.tokenizer.sep_token_id, -1) if i is not None
        )

    def __call__(self, captions: Sequence[str], device: torch.device | str | None = None) -> Tensor:
        """Return token ids, (N, context_length) int64."""
        if not captions:
            return torch.empty(0, self.context_length, dtype=torch.long, device=device)
        return self._encoder(list(captions), context_length=self.context_length).to(device)


def build_caption_tokenizer(config: CLIP4STRConfig) -> CaptionTokenizer | HuggingFaceCaptionTokenizer:
    """Return the tokenizer that belongs to a configuration's text encoder."""
    text = config.text
    if has_own_text_tower(text):
        name = text.get("hf_tokenizer_name") or text["hf_model_name"]
        return HuggingFaceCaptionTokenizer(name, config.context_length, text.get("tokenizer_kwargs"))
    return CaptionTokenizer(config.context_length, config.caption_merges)
