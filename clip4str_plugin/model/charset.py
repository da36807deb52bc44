"""Characters and tokens: labels to token ids, logits to text, and reduction to a smaller charset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["CharsetFilter", "Tokenizer"]


class Tokenizer:
    """Maps text to token ids and logits to text.

    Ids follow the published models: the end token is 0, the charset is 1..len(charset), then the begin and
    the padding token. The decoders predict the first len(charset) + 1 of them.

    Args:
        charset: the characters, in the order of their ids.

    >>> tokenizer = Tokenizer("ab")
    >>> tokenizer.encode(["ab", "b"]).tolist()
    [[3, 1, 2, 0], [3, 2, 0, 4]]
    """

    eos_id = 0

    def __init__(self, charset: str) -> None:
        self.charset = charset
        self.bos_id = len(charset) + 1
        self.pad_id = len(charset) + 2
        self.num_classes = len(charset) + 1
        self.num_tokens = len(charset) + 3
        self._symbols = ["[E]", *charset, "[B]", "[P]"]
        self._ids = {c: i for i, c in enumerate(charset, start=1)}

    def encode(self, labels: Sequence[str], device: torch.device | str | None = None) -> Tensor:
        """Return begin token, ids and end token of each label, (N, longest + 2) int64, padded on the right.

        Raises:
            ValueError: a label holds a character outside the charset.
        """
        import torch

        rows = []
        for label in labels:
            try:
                rows.append([self.bos_id, *(self._ids[c] for c in label), self.eos_id])
            except KeyError as e:
                raise ValueError(f"label {label!r} holds {e.args[0]!r}, which is not in the charset") from None
        width = max(map(len, rows), default=0)
        return torch.tensor([r + [self.pad_id] * (width - len(r)) for r in rows], dtype=torch.long, device=device)

    def decode(self, logits: Tensor, lengths: Tensor | None = None) -> list[tuple[str, tuple[float, ...]]]:
        """Read the most probable text of each sample.

        Args:
            logits: (N, T, C) scores, C = len(charset) + 1.
            lengths: (N,) positions that count in each sample; all of them if None.

        Returns:
            per sample the text before the first end token, and the probability of each of its characters
            followed by that of the end token if there is one.
        """
        return self.texts(self.scores(logits, lengths).cpu().numpy())

    def scores(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Reduce logits, as in `decode`, to what their texts follow from.

        Returns:
            (N, 2 T + 1) float32: the most probable ids, their probabilities, and the length of each row.
        """
        import torch

        probs, ids = logits.detach().float().softmax(-1).max(-1)
        if lengths is None:
            lengths = ids.new_full((len(ids),), ids.shape[1])
        return torch.cat([ids.float(), probs, lengths[:, None].float()], dim=1)

    def texts(self, scores: np.ndarray) -> list[tuple[str, tuple[float, ...]]]:
        """Read the texts of `decode` from `scores`."""
        width = scores.shape[1] // 2
        ids, probs, symbols, eos = scores[:, :width].astype(np.int64), scores[:, width:-1], self._symbols, self.eos_id
        is_end = np.concatenate([ids == eos, np.ones((len(ids), 1), bool)], axis=1)
        lengths = scores[:, -1].astype(np.int64)
        ends = np.minimum(is_end.argmax(1), lengths)
        shown = np.minimum(ends + 1, lengths)
        return [
            ("".join([symbols[i] for i in row[:end]]), tuple(row_probs[:stop]))
            for row, row_probs, end, stop in zip(ids.tolist(), probs.tolist(), ends.tolist(), shown.tolist())
        ]

    def captions(self, ids: Tensor, lengths: Tensor) -> list[str]:
        """Return the text each row of token ids spells, as the published models caption it.

        They join the symbols of all tokens and cut at the spelling of the end token, so that the characters
        ``[``, ``E``, ``]`` in a row cut a caption as well.

        Args:
            ids: (N, T) int64.
            lengths: (N,) positions that count in each row.
        """
        return [
            "".join(self._symbols[i] for i in row[:n]).partition(self._symbols[self.eos_id])[0]
            for row, n in zip(ids.tolist(), lengths.tolist())
        ]

    def class_mask(self, characters: str) -> Tensor:
        """Return (C,) bool, True for the end token and every class whose character is in ``characters``.

        Raises:
            ValueError: a character is not in the charset.
        """
        import torch

        unknown = sorted(set(characters) - set(self.charset))
        if unknown:
            raise ValueError(f"characters {unknown} are not in the model's charset")
        return torch.tensor([True, *(c in characters for c in self.charset)])


class CharsetFilter:
    """Reduces text to a charset: one case if the charset has one case, then nothing but its characters.

    >>> CharsetFilter("0123456789abcdefghijklmnopqrstuvwxyz")("McDonald's")
    'mcdonalds'
    """

    def __init__(self, charset: str) -> None:
        self.charset = frozenset(charset)
        # The published adapter asks in this order, so that a charset without letters counts as lower case.
        self._fold = str.lower if charset == charset.lower() else str.upper if charset == charset.upper() else str

    def __call__(self, text: str) -> str:
        """Return the reduced text."""
        return "".join(c for c in self._fold(text) if c in self.charset)
