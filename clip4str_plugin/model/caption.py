"""Captions to token ids: CLIP's byte-pair encoding, cut to the model's context."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["CaptionTokenizer"]


# Captions of ASCII letters and digits, and how CLIP splits them.
_PLAIN = re.compile("[A-Za-z0-9]+").fullmatch
_WORDS = re.compile("[a-z]+|[0-9]")
# open_clip spells CLIP's two special tokens differently, which shows where a caption holds their spelling.
_SPECIAL = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


@lru_cache(maxsize=4)
def _byte_pair_encoder(merges: int | None) -> Any:
    """Return open_clip's tokenizer with CLIP's special tokens, its vocabulary cut after the first merges."""
    import regex
    from open_clip.tokenizer import SimpleTokenizer

    encoder = SimpleTokenizer()
    ranked = sorted(encoder.bpe_ranks.items(), key=lambda item: item[1])[:merges]
    symbols = [encoder.decoder[i] for i in range(512 + len(ranked))] + list(_SPECIAL.values())
    pattern = encoder.pat.pattern
    for theirs, clips in _SPECIAL.items():
        pattern = pattern.replace(theirs, regex.escape(clips))
    encoder.pat = regex.compile(pattern, regex.IGNORECASE)
    encoder.cache = {symbol: symbol for symbol in _SPECIAL.values()}
    encoder.bpe_ranks = dict(ranked)
    encoder.encoder = {symbol: i for i, symbol in enumerate(symbols)}
    encoder.decoder = dict(enumerate(symbols))
    encoder.vocab_size = len(symbols)
    encoder.sot_token_id, encoder.eot_token_id = len(symbols) - 2, len(symbols) - 1
    return encoder


class CaptionTokenizer:
    """CLIP's tokenizer with a short context.

    The vocabulary holds 512 byte symbols, one symbol a merge, then the start and the end token. Positions
    after the end token hold 0, as in CLIP.

    Args:
        context_length: tokens of a caption, start and end included; longer captions are cut.
        merges: how many of CLIP's merges to use (most frequent first); None for all 48,894.

    >>> CaptionTokenizer(6)(["chicken"]).tolist()
    [[49406, 3717, 49407, 0, 0, 0]]
    """

    def __init__(self, context_length: int, merges: int | None = None) -> None:
        self.context_length = context_length
        self._encoder = _byte_pair_encoder(merges)
        self.vocab_size: int = self._encoder.vocab_size
        self.eot_id: int = self._encoder.eot_token_id
        self._keep()

    def _keep(self) -> None:
        self._row = lru_cache(maxsize=1 << 16)(self._encode)
        self._word = lru_cache(maxsize=1 << 16)(self._encode_word)

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The byte-pair merges in use, most frequent first; merge k gives the symbol 512 + k."""
        return list(self._encoder.bpe_ranks)

    @property
    def symbols(self) -> dict[str, int]:
        """Ids of the vocabulary's symbols, which spell bytes in CLIP's way; ``</w>`` ends a word."""
        return self._encoder.encoder

    def _encode(self, caption: str) -> tuple[int, ...]:
        if _PLAIN(caption):
            # What cleans and splits any text takes ten times as long, and changes nothing here.
            body = [i for word in _WORDS.findall(caption.lower()) for i in self._word(word)]
        else:
            body = self._encoder.encode(caption)
        ids = [self._encoder.sot_token_id, *body, self.eot_id]
        if len(ids) > self.context_length:
            ids = [*ids[: self.context_length - 1], self.eot_id]
        return tuple(ids + [0] * (self.context_length - len(ids)))

    def _encode_word(self, word: str) -> tuple[int, ...]:
        return tuple(self._encoder.encoder[symbol] for symbol in self._encoder.bpe(word).split(" "))

    def __call__(self, captions: Sequence[str], device: torch.device | str | None = None) -> Tensor:
        """Return token ids, (N, context_length) int64."""
        return torch.tensor([self._row(c) for c in captions], dtype=torch.long, device=device).reshape(
            -1, self.context_length
        )

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_row"], state["_word"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._keep()
