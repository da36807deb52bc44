"""CLIP4STR: a visual branch reads, a cross-modal branch corrects it with the text encoder's view of the reading.

S. Zhao, R. Quan, L. Zhu, Y. Yang, "CLIP4STR: A Simple Baseline for Scene Text Recognition with Pre-trained
Vision-Language Model", IEEE Transactions on Image Processing, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.model.charset import CharsetFilter, Tokenizer
from clip4str_plugin.model.config import CLIP4STRConfig
from clip4str_plugin.model.decoder import Decoder, KeysValues
from clip4str_plugin.model.encoders import build_clip, caption_tokens, image_tokens

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CLIP4STR", "Decoding"]


@dataclass(frozen=True)
class Decoding:
    """What a batch of N crops was read as.

    Attributes:
        logits: (N, T, C) scores of the cross-modal branch (of the visual one in a model that has no other).
        lengths: (N,) positions of each row that were decoded; beyond them ``logits`` hold a certain end token.
        visual_logits: (N, T, C) scores of the visual branch.
        visual_lengths: (N,) its decoded positions.
        captions: what the text encoder was given, one tuple of N captions for each of its calls.
    """

    logits: Tensor
    lengths: Tensor
    visual_logits: Tensor
    visual_lengths: Tensor
    captions: tuple[tuple[str, ...], ...]


class CLIP4STR(nn.Module):
    """The recognizer as a network: normalised crops in, logits out.

    Every crop is decoded as if it were alone: with its own number of steps in both branches and in the
    context of the refinement. (The published code shares the number of steps over a batch, so that it gives
    these results for batches of one.)

    Args:
        config: geometry, charset and defaults.

    Attributes:
        config: as given; ``refine_iters``, ``decode_ar`` and ``cross_branch`` are read at every call.
        tokenizer: maps text to token ids and logits to text.
        caption_tokenizer: maps captions to the text encoder's ids.
    """

    def __init__(self, config: CLIP4STRConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config.charset)
        self.caption_filter = CharsetFilter(config.caption_charset)
        self.caption_tokenizer = CaptionTokenizer(config.context_length, config.caption_merges)
        self.clip_model = build_clip(config)
        self.visual_decoder = self._decoder(config.visual_width)
        if config.cross_branch:
            self.cross_decoder = self._decoder(config.embed_dim)

    def _decoder(self, width: int) -> Decoder:
        config = self.config
        return Decoder(
            width,
            self.tokenizer.num_tokens,
            self.tokenizer.num_classes,
            config.max_label_length + 1,
            config.decoder_depth,
            config.decoder_heads,
            config.decoder_mlp_ratio,
            config.dropout,
        )

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.visual_decoder.pos_queries.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the weights."""
        return self.visual_decoder.pos_queries.dtype

    @classmethod
    def from_pretrained(cls, source: str | Path, **overrides: Any) -> CLIP4STR:
        """Load a published model by name, or a checkpoint file or folder. See ``load_model``."""
        from clip4str_plugin.model.checkpoint import load_model

        return load_model(source, **overrides)

    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write ``model.safetensors`` and ``config.json``. See ``checkpoint.save_pretrained``."""
        from clip4str_plugin.model.checkpoint import save_pretrained

        save_pretrained(self, folder, half=half)

    # ---- encoders -------------------------------------------------------------------------------------

    def encode_image(self, images: Tensor) -> Tensor:
        """Return the visual branch's memory, (N, M, D), for normalised images (N, 3, H, W)."""
        return image_tokens(self.clip_model, images, project=self.config.share_dim)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Return the text encoder's tokens, (N, context_length, D), for captions as they are given."""
        ids = self.caption_tokenizer(captions, device=self.device)
        if self.config.raw_token_memory:
            return self.clip_model.token_embedding(ids)
        tokens = caption_tokens(self.clip_model, ids)
        if self.config.cls_eot_memory:
            ends = (ids == self.caption_tokenizer.eot_id).int().argmax(1)
            return tokens[torch.arange(len(ids), device=ids.device), ends][:, None]
        return tokens

    def cross_memory(self, memory: Tensor, text: Tensor) -> Tensor:
        """Join image tokens and text tokens to the cross-modal branch's memory, (N, M + L, D)."""
        if not self.config.share_dim:
            visual = self.clip_model.visual
            memory = visual.head(memory) if hasattr(visual, "head") else memory @ visual.proj
        if self.config.cls_eot_memory:
            memory = memory[:, :1]
        return torch.cat([memory, text.to(memory.dtype)], dim=1)

    def caption(self, logits: Tensor, lengths: Tensor) -> list[str]:
        """Return the caption of each row of visual logits, reduced to the caption charset."""
        return [self.caption_filter(text) for text in self.tokenizer.captions(logits.argmax(-1), lengths)]

    # ---- decoding -------------------------------------------------------------------------------------

    def forward(self, images: Tensor, max_length: int | None = None, refine_iters: int | None = None) -> Tensor:
        """Read normalised crops.

        Args:
            images: (N, 3, H, W) float, H and W as in ``config.image_size``.
            max_length: longest text in characters; by default the model's, and decoding ends with the text.
            refine_iters: refinements after the first decoding; ``config.refine_iters`` if None.

        Returns:
            (N, T, C) logits of the cross-modal branch; T is the number of positions, except without
            refinement, where it is the longest text of the batch and its end token.

        Raises:
            ValueError: the images have another shape.
        """
        return self.generate(images, max_length, refine_iters).logits

    def generate(
        self,
        images: Tensor,
        max_length: int | None = None,
        refine_iters: int | None = None,
        allowed: Tensor | None = None,
    ) -> Decoding:
        """Read normalised crops and tell how they were read.

        Args:
            images: as in ``forward``.
            max_length: as in ``forward``.
            refine_iters: as in ``forward``.
            allowed: (C,) bool, the classes that may be predicted (see ``Tokenizer.class_mask``).
        """
        self._check(images)
        refine_iters = self.config.refine_iters if refine_iters is None else refine_iters
        positions = self.config.max_label_length + 1
        if max_length is not None:
            positions = min(max_length + 1, positions)
        forbidden = None if allowed is None else ~allowed.to(self.device)

        memory = self.encode_image(images.to(self.device, self.dtype))
        visual_memory = self.visual_decoder.memory_keys_values(memory)
        start = self._greedy if self.config.decode_ar else self._parallel
        early_stop = max_length is None
        visual, visual_lengths = start(self.visual_decoder, visual_memory, positions, None, early_stop, forbidden)
        if not self.config.cross_branch:
            for _ in range(refine_iters):
                visual = self._refine(self.visual_decoder, visual_memory, visual, visual_lengths, positions, forbidden)
                visual_lengths = torch.full_like(visual_lengths, positions)
            return Decoding(visual, visual_lengths, visual, visual_lengths, ())

        features: dict[str, Tensor] = {}
        captions = [self.caption(visual, visual_lengths)]
        cross_memory = self._cross_keys_values(memory, captions[-1], features)
        cross, lengths = start(self.cross_decoder, cross_memory, positions, visual_lengths, early_stop, forbidden)
        for _ in range(refine_iters):
            visual = self._refine(self.visual_decoder, visual_memory, visual, visual_lengths, positions, forbidden)
            visual_lengths = torch.full_like(visual_lengths, positions)
            captions.append(self.caption(visual, visual_lengths))
            if captions[-1] != captions[-2]:
                cross_memory = self._cross_keys_values(memory, captions[-1], features)
            cross = self._refine(self.cross_decoder, cross_memory, cross, lengths, positions, forbidden)
            lengths = torch.full_like(lengths, positions)
        return Decoding(cross, lengths, visual, visual_lengths, tuple(tuple(c) for c in captions))

    def _check(self, images: Tensor) -> None:
        expected = (3, *self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; this model reads (N, {', '.join(map(str, expected))}): "
                "resize the crops as clip4str_plugin.preprocess does"
            )

    def _cross_keys_values(self, memory: Tensor, captions: list[str], features: dict[str, Tensor]) -> list[KeysValues]:
        """Encode each distinct caption once (``features`` keeps them) and project the cross-modal memory."""
        new = [c for c in dict.fromkeys(captions) if c not in features]
        if new:
            features.update(zip(new, self.encode_text(new)))
        text = torch.stack([features[c] for c in captions]) if captions else self.encode_text([])
        return self.cross_decoder.memory_keys_values(self.cross_memory(memory, text))

    def _blank(self, rows: int, positions: int, like: Tensor) -> Tensor:
        """Return logits (N, T, C) of a certain end token."""
        logits = like.new_full((rows, positions, self.tokenizer.num_classes), float("-inf"))
        logits[..., self.tokenizer.eos_id] = 0
        return logits

    def _greedy(
        self,
        decoder: Decoder,
        memory: list[KeysValues],
        positions: int,
        lengths: Tensor | None,
        early_stop: bool,
        forbidden: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Decode one position after another.

        A crop takes ``lengths`` steps if given, else until its first end token; those that have ended leave
        the batch.

        Returns:
            logits (N, longest, C) and the number of steps of each crop, (N,).
        """
        n = len(memory[0][0])
        logits = self._blank(n, positions, memory[0][0])
        steps = torch.full((n,), positions, device=logits.device) if lengths is None else lengths
        rows = torch.arange(n, device=logits.device)
        state = decoder.start(memory)
        tokens = torch.full((n,), self.tokenizer.bos_id, device=logits.device)
        for i in range(positions):
            alive = (steps[rows] > i).nonzero()[:, 0]
            if len(alive) == 0:
                break
            # Copying the survivors costs as much as a step, so a few ended crops are carried along.
            if len(alive) < 0.875 * len(rows):
                rows, tokens, state = rows[alive], tokens[alive], state.select(alive)
                alive = torch.arange(len(rows), device=rows.device)
            step_logits = decoder.step(tokens, state)
            if forbidden is not None:
                step_logits = step_logits.masked_fill(forbidden, float("-inf"))
            logits[rows[alive], i] = step_logits[alive]
            tokens = step_logits.argmax(-1)
            if lengths is None and early_stop:
                ended = rows[alive][tokens[alive] == self.tokenizer.eos_id]
                steps[ended] = i + 1
        return logits[:, : int(steps.max()) if n else 0], steps

    def _parallel(
        self,
        decoder: Decoder,
        memory: list[KeysValues],
        positions: int,
        lengths: Tensor | None,
        early_stop: bool,
        forbidden: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Decode all positions in one pass from the begin token alone.

        Our own definition: the published code has a switch for it, but fails when it is set. Every query sees
        the begin token only; a crop then keeps the positions up to its first end token, as if it had been
        decoded step by step.
        """
        n = len(memory[0][0])
        tokens = torch.full((n, 1), self.tokenizer.bos_id, device=memory[0][0].device)
        visible = torch.ones(positions, 1, dtype=torch.bool, device=tokens.device)
        logits = decoder(tokens, memory, visible, visible[:1], positions)
        if forbidden is not None:
            logits = logits.masked_fill(forbidden, float("-inf"))
        if lengths is None:
            is_end = logits.argmax(-1) == self.tokenizer.eos_id
            lengths = torch.where(is_end.any(1), is_end.int().argmax(1) + 1, positions)
            if not early_stop:
                lengths = torch.full_like(lengths, positions)
        beyond = torch.arange(positions, device=tokens.device) >= lengths[:, None]
        logits = torch.where(beyond[..., None], self._blank(n, positions, logits), logits)
        return logits[:, : int(lengths.max()) if n else 0], lengths

    def _refine(
        self,
        decoder: Decoder,
        memory: list[KeysValues],
        logits: Tensor,
        lengths: Tensor,
        positions: int,
        forbidden: Tensor | None,
    ) -> Tensor:
        """Predict every position again, seeing all characters found before but its own (cloze).

        ``logits`` (N, L, C) are the reading to refine and ``lengths`` (N,) its positions that count: the context
        of a crop is as long as its own reading.
        """
        found = logits[:, :-1].argmax(-1)
        begin = found.new_full((len(found), 1), self.tokenizer.bos_id)
        tokens = torch.cat([begin, found], dim=1)  # N, L
        index = torch.arange(tokens.shape[1], device=tokens.device)
        ended = (tokens == self.tokenizer.eos_id).cumsum(1) > 0
        visible = ~ended & (index < lengths[:, None])
        position = torch.arange(positions, device=tokens.device)
        cloze = index != position[:, None] + 1  # Q, L
        mask = cloze & visible[:, None, None, :]  # N, 1, Q, L
        refined = decoder(tokens, memory, mask, mask[:, :, : tokens.shape[1]], positions)
        return refined if forbidden is None else refined.masked_fill(forbidden, float("-inf"))
