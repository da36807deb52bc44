"""How one branch's decoder is asked for a text: step by step, by checking a guess, at once, and by refinement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clip4str_plugin.model.decoder import Decoder, KeysValues, select_rows

__all__ = ["Decoding", "Search"]

# Asking a GPU whether texts have ended makes it wait for the host, so it is asked only every few steps.
_STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 8}


@dataclass(frozen=True)
class Decoding:
    """What a batch of N crops was read as.

    Attributes:
        logits: (N, T, C) scores of the cross-modal branch (of the visual one in a model that has no other).
        lengths: (N,) positions of each row that were decoded; beyond them ``logits`` hold a certain end token.
        visual_logits: (N, T, C) scores of the visual branch.
        visual_lengths: (N,) its decoded positions.
        captions: what the text encoder was given, one tuple of N captions for each of its calls; "" for crops that
            left early. Empty where CUDA graphs decode and only the texts are wanted: the captions stay on the GPU.
    """

    logits: Tensor
    lengths: Tensor
    visual_logits: Tensor
    visual_lengths: Tensor
    captions: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Search:
    """Decodes N crops with one decoder, each as if it were alone.

    Logits are (N, T, C) throughout; where a crop has no position (beyond its own length), they hold a certain end
    token.

    Attributes:
        decoder: of one branch.
        bos_id: begin token.
        eos_id: end token.
        positions: T, the longest text plus its end token.
        early_stop: a crop's length ends with its first end token; otherwise every crop takes all positions.
        forbidden: (C,) bool, classes never to be predicted.
    """

    decoder: Decoder
    bos_id: int
    eos_id: int
    positions: int
    early_stop: bool = True
    forbidden: Tensor | None = None

    def greedy(self, memory: list[KeysValues], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode one position after another; crops that have ended leave the batch.

        Args:
            memory: of the N crops, from ``Decoder.memory_keys_values``.
            lengths: (N,) positions of each crop; by default until its first end token.

        Returns:
            logits (N, longest length, C) and the lengths.
        """
        n, device = len(memory[0][0]), memory[0][0].device
        own_lengths = lengths is None
        lengths = torch.full((n,), self.positions, device=device) if lengths is None else lengths
        logits = self.end_logits(n, self.positions, memory[0][0])
        rows = torch.arange(n, device=device)
        running = torch.ones(n, dtype=torch.bool, device=device)
        tokens = torch.full((n,), self.bos_id, device=device)
        state = self.decoder.start(memory)
        between = _STEPS_BETWEEN_CHECKS.get(device.type, 1)
        for i in range(self.positions):
            if i % between == 0:
                running = lengths[rows] > i
                alive = running.nonzero()[:, 0]
                if len(alive) == 0:
                    break
                # Copying the survivors costs as much as a step, so a few ended crops are carried along.
                if len(alive) < 0.875 * len(rows):
                    rows, tokens, state = rows[alive], tokens[alive], state.select(alive)
            step_logits = self.restrict(self.decoder.step(tokens, state))
            logits[rows, i] = step_logits
            tokens = step_logits.argmax(-1)
            if own_lengths and self.early_stop:
                ended = (tokens == self.eos_id) & (lengths[rows] > i)
                lengths[rows] = torch.where(ended, i + 1, lengths[rows])
        return self._trim(logits, lengths), lengths

    def check(self, memory: list[KeysValues], guess: Tensor, lengths: Tensor) -> Tensor:
        """Decode like ``greedy`` when the tokens it will find are almost known: same result, fewer passes.

        One causal pass predicts all positions given the guessed tokens. Where every prediction equals the guess,
        decoding step by step would have gone the same way. Elsewhere the predictions up to the first difference are
        those of ``greedy`` and make a better guess; when that stops helping, the rest is decoded step by step.

        Args:
            memory: as in ``greedy``.
            guess: (N, L) int64 tokens found by other means, L the longest length.
            lengths: (N,) positions of each crop.

        Returns:
            logits (N, L, C).
        """
        n, length = guess.shape
        logits = self.end_logits(n, length, memory[0][0])
        rows = torch.arange(n, device=guess.device)
        first = True
        while len(rows):
            found, better, wrong = self.verify(memory, guess, lengths[rows])
            right, left = (~wrong).nonzero()[:, 0], wrong.nonzero()[:, 0]
            logits[rows[right]] = found[right]
            if len(left) == 0:
                break
            rows, guess, memory = rows[left], better[left], select_rows(memory, left)
            if not first and len(left) > len(right):
                logits[rows] = self.end_logits(len(rows), length, logits)
                rest, _ = self.greedy(memory, lengths[rows])
                logits[rows, : rest.shape[1]] = rest
                break
            first = False
        return self._trim(logits, lengths)

    def verify(self, memory: list[KeysValues], guess: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict every position in one causal pass, given the guessed tokens before it.

        Args:
            memory: as in ``greedy``.
            guess: (N, L) int64 tokens.
            lengths: (N,) positions of each crop.

        Returns:
            logits (N, L, C), the tokens they predict (N, L), and (N,) bool, True where a guess was wrong that other
            positions depend on. Otherwise the logits are those of ``greedy``; a better guess are the tokens always.
        """
        index = torch.arange(guess.shape[1], device=guess.device)
        causal = index <= index[:, None]
        begin = guess.new_full((len(guess), 1), self.bos_id)
        found = self.restrict(self.decoder(torch.cat([begin, guess[:, :-1]], dim=1), memory, causal, causal))
        better = found.argmax(-1)
        # A crop's last token is nobody's context.
        return found, better, ((better != guess) & (index < lengths[:, None] - 1)).any(1)

    def parallel(self, memory: list[KeysValues], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode all positions in one pass from the begin token alone.

        Our own definition: the published code has a switch for it, but fails when it is set. Every query sees the
        begin token only; a crop then keeps the positions up to its first end token, as if it had been decoded step
        by step.

        Args and result are those of ``greedy``.
        """
        logits = self.parallel_logits(memory)
        if lengths is None:
            lengths = self.ends(logits) if self.early_stop else torch.full_like(self.ends(logits), self.positions)
        return self._trim(logits, lengths), lengths

    def parallel_logits(self, memory: list[KeysValues]) -> Tensor:
        """Return the logits (N, T, C) of ``parallel``, also those beyond the end of the texts."""
        tokens = torch.full((len(memory[0][0]), 1), self.bos_id, device=memory[0][0].device)
        visible = torch.ones(self.positions, 1, dtype=torch.bool, device=tokens.device)
        return self.restrict(self.decoder(tokens, memory, visible, visible[:1], slice(self.positions)))

    def refine(self, memory: list[KeysValues], logits: Tensor, lengths: Tensor, complete: bool = True) -> Tensor:
        """Predict every position again, seeing all characters found before but its own (cloze).

        Args:
            memory: as in ``greedy``.
            logits: (N, L, C) of the reading to refine.
            lengths: (N,) positions of it that count; the context of a crop is as long as its own reading.
            complete: False leaves positions beyond a crop's first end token undecoded. Positions do not depend on
                one another, so that the text is the same.

        Returns:
            logits (N, T, C).
        """
        found = logits[:, :-1].argmax(-1)
        begin = found.new_full((len(found), 1), self.bos_id)
        tokens = torch.cat([begin, found], dim=1)  # N, L
        index = torch.arange(tokens.shape[1], device=tokens.device)
        ended = (tokens == self.eos_id).cumsum(1) > 0
        visible = ~ended & (index < lengths[:, None])  # N, L
        if complete:
            return self._cloze(tokens, memory, visible, 0, self.positions)

        # Almost always the refined text ends where the first one did, or before.
        likely = min(int(visible.sum(1).max()) if len(tokens) else 0, self.positions)
        refined = self.end_logits(len(tokens), self.positions, logits)
        refined[:, :likely] = self._cloze(tokens, memory, visible, 0, likely)
        longer = (refined[:, :likely].argmax(-1) != self.eos_id).all(1).nonzero()[:, 0]
        if len(longer) and likely < self.positions:
            rest = self._cloze(tokens[longer], select_rows(memory, longer), visible[longer], likely, self.positions)
            refined[longer, likely:] = rest
        return refined

    def _cloze(self, tokens: Tensor, memory: list[KeysValues], visible: Tensor, start: int, stop: int) -> Tensor:
        """Predict positions start..stop-1 from all visible tokens but their own."""
        index = torch.arange(self.positions, device=tokens.device)
        others = index[: tokens.shape[1]] != index[:, None] + 1  # T, L
        mask = others & visible[:, None, None, :]  # N, 1, T, L
        content_mask = mask[:, :, : tokens.shape[1]]
        return self.restrict(self.decoder(tokens, memory, mask[:, :, start:stop], content_mask, slice(start, stop)))

    def restrict(self, logits: Tensor) -> Tensor:
        """Return the logits as float32, without the forbidden classes."""
        logits = logits.float()  # autocast gives others
        return logits if self.forbidden is None else logits.masked_fill(self.forbidden, float("-inf"))

    def end_logits(self, rows: int, positions: int, like: Tensor) -> Tensor:
        """Return logits (N, T, C) of a certain end token."""
        shape = (rows, positions, self.decoder.head.out_features)
        logits = torch.full(shape, float("-inf"), device=like.device)
        logits[..., self.eos_id] = 0
        return logits

    def certainty(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Return (N,) the lowest probability among each crop's characters and its end token."""
        index = torch.arange(logits.shape[1], device=logits.device)
        probabilities = logits.softmax(-1).amax(-1).masked_fill(index >= lengths[:, None], 1.0)
        return probabilities.amin(1) if logits.shape[1] else probabilities.new_zeros(len(logits))

    def ends(self, logits: Tensor) -> Tensor:
        """Return (N,) the positions up to the first end token."""
        is_end = logits.argmax(-1) == self.eos_id
        return torch.where(is_end.any(1), is_end.int().argmax(1) + 1, logits.shape[1])

    def _trim(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Write end tokens beyond each crop's length, and drop what lies beyond the longest."""
        return self.cut(logits[:, : int(lengths.max()) if len(lengths) else 0], lengths)

    def cut(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Write end tokens beyond each crop's length."""
        beyond = torch.arange(logits.shape[1], device=logits.device) >= lengths[:, None]
        return torch.where(beyond[..., None], self.end_logits(1, 1, logits), logits)
