"""Captions inside a graph: from token ids to the text encoder's ids, in tensor operations.

Possible for captions of ASCII letters and digits: there CLIP's tokenizer knows only runs of letters and single
digits, and the byte-pair merges of all words of a caption can go on side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch._higher_order_ops import while_loop

from clip4str_plugin.model.charset import CharsetFilter

if TYPE_CHECKING:
    from clip4str_plugin.model.caption import CaptionTokenizer
    from clip4str_plugin.model.charset import Tokenizer
    from clip4str_plugin.model.config import CLIP4STRConfig

__all__ = ["CaptionGraph"]

_WORD_END = 256  # CLIP's vocabulary: 256 byte symbols, the same at the end of a word, then one symbol a merge
_FIRST_MERGE = 512


class CaptionGraph(nn.Module):
    """Token ids of a reading to the ids of its caption.

    Equals ``CLIP4STR.caption`` followed by its caption tokenizer.

    Args:
        tokenizer: of the model.
        caption_tokenizer: of the model.
        config: of the model.
        unrolled: merge as often as the longest caption may need, rather than in a loop that looks whether it is done,
            which a CUDA graph cannot hold.

    Raises:
        ValueError: the caption charset holds more than ASCII letters and digits.
    """

    symbol_of: Tensor
    is_letter: Tensor
    keys: Tensor
    merged: Tensor

    def __init__(
        self,
        tokenizer: Tokenizer,
        caption_tokenizer: CaptionTokenizer,
        config: CLIP4STRConfig,
        unrolled: bool = False,
    ) -> None:
        super().__init__()
        self.unrolled = unrolled
        strange = sorted(c for c in config.caption_charset if not (c.isascii() and c.isalnum()))
        if strange:
            raise ValueError(
                f"captions in a single graph can hold ASCII letters and digits only; this model's also hold {strange}. "
                "Load it with caption_charset of letters and digits, or export the visual branch alone"
            )
        self.context_length = config.context_length
        self.eos_id = tokenizer.eos_id
        self.sot_id, self.eot_id = caption_tokenizer.vocab_size - 2, caption_tokenizer.vocab_size - 1
        symbol = caption_tokenizer.symbols
        reduce = CharsetFilter(config.caption_charset)
        characters = ["", *(reduce(c).lower() for c in tokenizer.charset)]  # by class; "" for what captions leave out
        if long := [c for c in characters if len(c) > 1]:
            raise ValueError(f"one character of the charset becomes several in a caption ({long})")
        self.register_buffer("symbol_of", torch.tensor([symbol.get(c, -1) for c in characters]))
        self.register_buffer("is_letter", torch.tensor([c.isalpha() for c in characters]))
        # The published models cut a caption also where a reading spells the end token.
        spelling = [tokenizer.charset.find(c) + 1 for c in "[E]"]
        self.spelling = spelling if all(spelling) else None
        self.vocab_size = caption_tokenizer.vocab_size
        keys, merged = _hash_table(caption_tokenizer.merges, symbol, self.vocab_size)
        self.register_buffer("keys", torch.from_numpy(keys))
        self.register_buffer("merged", torch.from_numpy(merged))

    def forward(self, ids: Tensor) -> Tensor:
        """Return caption ids (N, context_length) int64 for the ids (N, T) of a reading, end tokens beyond its end."""
        symbols, count = self._merge(*self._characters(ids))
        room = self.context_length - 2
        n, width = symbols.shape
        index = torch.arange(room, device=ids.device)
        if width < room:
            symbols = torch.cat([symbols, symbols.new_zeros(1, 1).expand(n, room - width)], 1)
        count = count.clamp(max=room)[:, None]
        body = torch.where(index < count, symbols[:, :room], 0)
        body = torch.where(index == count, self.eot_id, body)
        begin = torch.full((n, 1), self.sot_id, device=ids.device)
        last = torch.where(count == room, self.eot_id, 0)
        return torch.cat([begin, body, last], 1)

    def _characters(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the byte symbols of the captions, moved to the left, (N, T), and how many there are, (N,)."""
        stop = ids == self.eos_id
        if self.spelling is not None:
            a, b, c = self.spelling
            spelt = (ids[:, :-2] == a) & (ids[:, 1:-1] == b) & (ids[:, 2:] == c)
            stop = stop | torch.cat([spelt, torch.zeros_like(stop[:, :2])], 1)
        kept = (stop.int().cumsum(1) == 0) & (self.symbol_of[ids] >= 0)
        ids, count = _to_the_left(ids, kept)
        inside = torch.arange(ids.shape[1], device=ids.device) < count[:, None]
        letter = self.is_letter[ids] & inside
        # A word goes on where a letter follows a letter; a digit is a word.
        goes_on = letter & torch.cat([letter[:, 1:], torch.zeros_like(letter[:, :1])], 1)
        symbols = self.symbol_of[ids] + torch.where(goes_on, 0, _WORD_END)
        return torch.where(inside, symbols, 0), count

    def _merge(self, symbols: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the best pair of each caption, until no caption can hold another.

        Merging one pair at a time, of equal pairs the leftmost, gives what CLIP's tokenizer gives, which merges all
        equal pairs and every word at a time: a merge only creates pairs of a later rank than its own.
        """
        index = torch.arange(symbols.shape[1], device=symbols.device)
        never = _FIRST_MERGE + self.vocab_size

        def merge(symbols: Tensor, count: Tensor, hit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            following = torch.cat([symbols[:, 1:], torch.zeros_like(symbols[:, :1])], 1)
            pairs = symbols * self.vocab_size + following  # N, T
            bucket = pairs % self.keys.shape[0]
            found = self.keys[bucket] == pairs[..., None]  # N, T, slots
            merged = torch.where(found, self.merged[bucket], never).amin(-1)
            merged = torch.where(index + 1 < count[:, None], merged, never)
            best = merged.amin(1, keepdim=True)
            hit = best < never  # N, 1
            place = torch.where(merged == best, index, index.shape[0]).amin(1, keepdim=True)
            symbols = torch.where(hit & (index == place), best, torch.where(hit & (index > place), following, symbols))
            return symbols, count - hit[:, 0].to(count.dtype), hit

        hit = torch.ones_like(symbols[:, :1], dtype=torch.bool)
        if self.unrolled:
            for _ in range(symbols.shape[1] - 1):
                symbols, count, hit = merge(symbols, count, hit)
            return symbols, count
        symbols, count, _ = while_loop(lambda symbols, count, hit: hit.any(), merge, (symbols, count, hit))
        return symbols, count


def _to_the_left(ids: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Move the kept entries of each row (N, T) together; return them and their number (N,)."""
    place = kept.int().cumsum(1) - 1  # where each kept entry goes
    index = torch.arange(ids.shape[1], device=ids.device)
    # N, T (target), T (source): at most one source a target.
    chosen = (place[:, None, :] == index[:, None]) & kept[:, None, :]
    return (ids[:, None, :] * chosen).sum(-1), kept.sum(1)


def _hash_table(
    merges: list[tuple[str, str]], symbol: dict[str, int], vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of all merges and what they give, (buckets, slots) int64 each; -1 where a slot is free.

    A pair's key is ``left * vocab_size + right``, its bucket the key modulo the number of buckets.
    """
    pairs = np.array([symbol[a] * vocab_size + symbol[b] for a, b in merges], np.int64)
    buckets = 2 * len(pairs) + 1
    order = np.argsort(pairs % buckets, kind="stable")
    home = pairs[order] % buckets
    slot = np.arange(len(home)) - np.searchsorted(home, home)
    keys = np.full((buckets, int(slot.max(initial=0)) + 1), -1, np.int64)
    merged = np.full_like(keys, -1)
    keys[home, slot] = pairs[order]
    merged[home, slot] = _FIRST_MERGE + order
    return keys, merged
