"""How one branch's decoder is asked for a text: step by step, by checking a guess, at once, and by refinement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clip4str_plugin.model.decoder import Decoder, KeysValues, select_rows
from clip4str_plugin.model.fixed_steps import FixedSteps

__all__ = ["Search"]

# Asking a GPU whether texts have ended makes it wait for the host, so it is asked only every few steps.
_STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 8}


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
        fixed_steps: decode step by step with shapes that never change, see ``fixed_steps.FixedSteps``.
    """

    decoder: Decoder
    bos_id: int
    eos_id: int
    positions: int
    early_stop: bool = True
    forbidden: Tensor | None = None
    fixed_steps: bool = False

    def greedy(self, memory: list[KeysValues], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode one position after another; crops that have ended leave the batch.

        Args:
            memory: of the N crops, from ``Decoder.memory_keys_values``.
            lengths: (N,) positions of each crop; by default until its first end token.

        Returns:
            logits (N, longest length, C) and the lengths.
        """
        if self.fixed_steps and len(memory[0][0]):
            return self._greedy_in_fixed_steps(memory, lengths)
        n, device = len(memory[0][0]), memory[0][0].device
        own_lengths = lengths is None
        lengths = torch.full((n,), self.positions, device=device) if lengths is None else lengths
        logits = self.blank(n, self.positions, memory[0][0])
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
            step_logits = self._restrict(self.decoder.step(tokens, state))
            logits[rows, i] = step_logits
            tokens = step_logits.argmax(-1)
            if own_lengths and self.early_stop:
                ended = (tokens == self.eos_id) & (lengths[rows] > i)
                lengths[rows] = torch.where(ended, i + 1, lengths[rows])
        return self._cut(logits, lengths), lengths

    def _greedy_in_fixed_steps(self, memory: list[KeysValues], lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        steps = FixedSteps.of(self.decoder, memory, self.bos_id, self.forbidden)
        logits = self.blank(len(steps.tokens), self.positions, steps.logits)
        ended = torch.zeros_like(steps.tokens, dtype=torch.bool)
        between = _STEPS_BETWEEN_CHECKS.get(logits.device.type, 1)
        last = self.positions if lengths is None else int(lengths.max())
        for i in range(last):
            if lengths is None and self.early_stop and i % between == 0 and bool(ended.all()):
                break
            steps.advance(self.decoder)
            logits[:, i] = steps.logits
            ended |= steps.tokens == self.eos_id
        if lengths is None:
            lengths = self._ends(logits) if self.early_stop else torch.full_like(steps.tokens, self.positions)
        return self._cut(logits, lengths), lengths

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
        index = torch.arange(length, device=guess.device)
        causal = index <= index[:, None]
        logits = self.blank(n, length, memory[0][0])
        rows = torch.arange(n, device=guess.device)
        first = True
        while len(rows):
            begin = guess.new_full((len(rows), 1), self.bos_id)
            found = self._restrict(self.decoder(torch.cat([begin, guess[:, :-1]], dim=1), memory, causal, causal))
            better = found.argmax(-1)
            # A crop's last token is nobody's context.
            wrong = ((better != guess) & (index < lengths[rows][:, None] - 1)).any(1)
            right, left = (~wrong).nonzero()[:, 0], wrong.nonzero()[:, 0]
            logits[rows[right]] = found[right]
            if len(left) == 0:
                break
            rows, guess, memory = rows[left], better[left], select_rows(memory, left)
            if not first and len(left) > len(right):
                logits[rows] = self.blank(len(rows), length, logits)
                rest, _ = self.greedy(memory, lengths[rows])
                logits[rows, : rest.shape[1]] = rest
                break
            first = False
        return self._cut(logits, lengths)

    def parallel(self, memory: list[KeysValues], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode all positions in one pass from the begin token alone.

        Our own definition: the published code has a switch for it, but fails when it is set. Every query sees the
        begin token only; a crop then keeps the positions up to its first end token, as if it had been decoded step
        by step.

        Args and result are those of ``greedy``.
        """
        n = len(memory[0][0])
        tokens = torch.full((n, 1), self.bos_id, device=memory[0][0].device)
        visible = torch.ones(self.positions, 1, dtype=torch.bool, device=tokens.device)
        logits = self._restrict(self.decoder(tokens, memory, visible, visible[:1], slice(self.positions)))
        if lengths is None:
            lengths = self._ends(logits) if self.early_stop else torch.full_like(tokens[:, 0], self.positions)
        return self._cut(logits, lengths), lengths

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
        refined = self.blank(len(tokens), self.positions, logits)
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
        return self._restrict(self.decoder(tokens, memory, mask[:, :, start:stop], content_mask, slice(start, stop)))

    def _restrict(self, logits: Tensor) -> Tensor:
        logits = logits.float()  # autocast gives others
        return logits if self.forbidden is None else logits.masked_fill(self.forbidden, float("-inf"))

    def blank(self, rows: int, positions: int, like: Tensor) -> Tensor:
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

    def _ends(self, logits: Tensor) -> Tensor:
        """Return (N,) the positions up to the first end token."""
        is_end = logits.argmax(-1) == self.eos_id
        return torch.where(is_end.any(1), is_end.int().argmax(1) + 1, logits.shape[1])

    def _cut(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Blank what lies beyond each crop's length, and drop what lies beyond the longest."""
        longest = int(lengths.max()) if len(lengths) else 0
        logits = logits[:, :longest]
        beyond = torch.arange(longest, device=logits.device) >= lengths[:, None]
        return torch.where(beyond[..., None], self.blank(1, 1, logits), logits)
