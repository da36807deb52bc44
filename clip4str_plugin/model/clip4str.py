"""CLIP4STR: a visual branch reads, and a cross-modal branch corrects its result with the help of the text encoder.

S. Zhao, R. Quan, L. Zhu, Y. Yang, "CLIP4STR: A Simple Baseline for Scene Text Recognition with Pre-trained
Vision-Language Model", IEEE Transactions on Image Processing, 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from clip4str_plugin.model.adaptation import build_adapter
from clip4str_plugin.model.charset import CharsetFilter, Tokenizer
from clip4str_plugin.model.config import CLIP4STRConfig
from clip4str_plugin.model.config_checks import foreign_parts
from clip4str_plugin.model.cuda_graphs import GraphDecoder
from clip4str_plugin.model.decoder import Decoder, KeysValues, any_shape_attention, select_rows
from clip4str_plugin.model.encoders import build_clip, caption_tokens, image_tokens
from clip4str_plugin.model.search import Decoding, Search
from clip4str_plugin.model.text_towers import build_caption_tokenizer

__all__ = ["CLIP4STR", "Decoding", "Encoders"]


class Encoders(Protocol):
    """Another way to compute the two encoders, with weights of its own."""

    def image_tokens(self, images: Tensor) -> Tensor:
        """Encode (N, 3, H, W) images as (N, M, D) tokens."""
        ...

    def caption_tokens(self, ids: Tensor) -> Tensor:
        """Encode (N, L) token ids as (N, L, D) tokens."""
        ...


class CLIP4STR(nn.Module):
    """The recognizer as a network: normalised crops in, logits out.

    Every crop is decoded as if it were alone: with its own number of steps in both branches and in the
    context of the refinement. (The published code shares the number of steps over a batch, so that it gives
    these results for batches of one.)

    Args:
        config: geometry, charset and defaults.
        allow_hub: build towers and tokenizers from elsewhere that the configuration names: they may be fetched from
            the Hugging Face hub. No code that comes with them is run.

    Raises:
        ValueError: the configuration names such parts and ``allow_hub`` is not set, or no model can be built from it.

    Attributes:
        config: as given; ``refine_iters``, ``decode_ar`` and ``cross_branch`` are read at every call.
        tokenizer: maps text to token ids and logits to text.
        caption_tokenizer: maps captions to the text encoder's ids.
        engine: what computes the two encoders instead of PyTorch; see ``engines.set_precision``.
        cuda_graphs: whether decoding is replayed as CUDA graphs where it can be; None for on a GPU. On the CPU, True
            runs the same operations one after another.
    """

    def __init__(self, config: CLIP4STRConfig, *, allow_hub: bool = False) -> None:
        super().__init__()
        if not allow_hub and (parts := foreign_parts(config)):
            raise ValueError(
                f"the configuration takes {' and '.join(parts)} from elsewhere; where you trust it, allow that with "
                "allow_hub=True (--allow-hub)"
            )
        self.config = config
        self.tokenizer = Tokenizer(config.charset)
        self.caption_filter = CharsetFilter(config.caption_charset)
        self.caption_tokenizer = build_caption_tokenizer(config)
        self.clip_model = build_clip(config)
        self.engine: Encoders | None = None
        self.cuda_graphs: bool | None = None
        self.graph_decoder = GraphDecoder()
        self.adapter = build_adapter(config)
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

    def encode_image(self, images: Tensor) -> Tensor:
        """Return the visual branch's memory, (N, M, D), for normalised images (N, 3, H, W)."""
        if self.engine is not None:
            return self.engine.image_tokens(images).to(self.device, self.dtype)
        images = images.to(self.device, self.dtype)
        if self.adapter is None:
            return image_tokens(self.clip_model, images, project=self.config.share_dim)
        inputs: list[Tensor] = []
        memory = image_tokens(self.clip_model, images, block_inputs=inputs)
        return self.adapter(memory, inputs)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Return the text encoder's tokens, (N, context_length, D), for captions as they are given."""
        return self.text_tokens(self.caption_tokenizer(captions, device=self.device))

    def text_tokens(self, ids: Tensor) -> Tensor:
        """Return the text encoder's tokens for token ids, (N, context_length) int64, of captions."""
        if self.config.raw_token_memory:
            return self.clip_model.token_embedding(ids)
        if self.engine is not None:
            tokens = self.engine.caption_tokens(ids).to(self.device, self.dtype)
        else:
            tokens = caption_tokens(self.clip_model, ids)
        if self.config.cls_eot_memory:
            ends = (ids == self.caption_tokenizer.eot_id).int().argmax(1)
            return tokens[torch.arange(len(ids), device=ids.device), ends][:, None]
        return tokens

    def cross_memory(self, memory: Tensor, text: Tensor) -> Tensor:
        """Join image tokens and text tokens to the cross-modal branch's memory, (N, M + L, D)."""
        memory = self.cross_image_memory(memory)
        return torch.cat([memory, text.to(memory.dtype)], dim=1)

    def cross_image_memory(self, memory: Tensor) -> Tensor:
        """Return the part of the cross-modal branch's memory that comes from the image, (N, M, D)."""
        if not self.config.share_dim:
            visual = self.clip_model.visual
            memory = visual.head(memory) if hasattr(visual, "head") else memory @ visual.proj
        return memory[:, :1] if self.config.cls_eot_memory else memory

    def caption(self, logits: Tensor, lengths: Tensor) -> list[str]:
        """Return the caption of each row of visual logits, reduced to the caption charset."""
        return self.caption_of(logits.argmax(-1), lengths)

    def caption_of(self, ids: Tensor, lengths: Tensor) -> list[str]:
        """Return the caption of each row of token ids (N, T), of which (N,) positions count."""
        return [self.caption_filter(text) for text in self.tokenizer.captions(ids, lengths)]

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
        complete: bool = True,
        early_exit: float | None = None,
    ) -> Decoding:
        """Read normalised crops and tell how they were read.

        Args:
            images: as in ``forward``.
            max_length: as in ``forward``.
            refine_iters: as in ``forward``.
            allowed: (C,) bool, the classes that may be predicted (see ``Tokenizer.class_mask``).
            complete: False saves refining most positions beyond the first end token of each crop; their logits are
                then those of a certain end token, and texts and probabilities are the same. CUDA graphs refine all, but
                leave the captions on the GPU.
            early_exit: faster, approximate: crops that the visual branch reads with at least this probability for each
                character and the end are not refined and skip the cross-modal branch. None reads all crops in full.
        """
        self._check(images)
        with any_shape_attention(self.device):
            return self._generate(images, max_length, refine_iters, allowed, complete, early_exit)

    def _generate(
        self,
        images: Tensor,
        max_length: int | None,
        refine_iters: int | None,
        allowed: Tensor | None,
        complete: bool,
        early_exit: float | None,
    ) -> Decoding:
        refine_iters = self.config.refine_iters if refine_iters is None else refine_iters
        positions = self.config.max_label_length + 1
        if max_length is not None:
            positions = min(max_length + 1, positions)

        forbidden = None if allowed is None else ~allowed.to(self.device)

        def search(decoder: Decoder) -> Search:
            ids = self.tokenizer
            return Search(decoder, ids.bos_id, ids.eos_id, positions, max_length is None, forbidden)

        memory = self.encode_image(images)
        if max_length is None and early_exit is None and len(images) and self._takes_graphs(memory.device):
            return self.graph_decoder.decode(self, memory, forbidden, refine_iters, complete)
        visual_memory = self.visual_decoder.memory_keys_values(memory)
        visual_search = search(self.visual_decoder)
        first = visual_search.greedy if self.config.decode_ar else visual_search.parallel
        visual, visual_lengths = first(visual_memory)
        read = Decoding(visual, visual_lengths, visual, visual_lengths, ())
        if early_exit is None:
            return self._correct(read, memory, visual_memory, search, refine_iters, complete)
        rows = (visual_search.certainty(visual, visual_lengths) < early_exit).nonzero()[:, 0]
        doubtful = Decoding(visual[rows], visual_lengths[rows], visual[rows], visual_lengths[rows], ())
        corrected = self._correct(
            doubtful, memory[rows], select_rows(visual_memory, rows), search, refine_iters, complete
        )
        return _replace_rows(read, rows, corrected, visual_search.end_logits)

    def _correct(
        self,
        read: Decoding,
        memory: Tensor,
        visual_memory: list[KeysValues],
        search: Callable[[Decoder], Search],
        refine_iters: int,
        complete: bool,
    ) -> Decoding:
        """Show the visual branch's first reading to the cross-modal branch, and refine both.

        Args:
            read: first reading of N crops.
            memory: (N, M, D) image tokens.
            visual_memory: their keys and values for the visual decoder.
            search: makes the search for a decoder.
            refine_iters: as in ``generate``.
            complete: as in ``generate``.
        """
        visual, visual_lengths, visual_search = read.logits, read.lengths, search(self.visual_decoder)
        positions = visual_search.positions
        if not self.config.cross_branch:
            for _ in range(refine_iters):
                visual = visual_search.refine(visual_memory, visual, visual_lengths, complete)
                visual_lengths = torch.full_like(visual_lengths, positions)
            return Decoding(visual, visual_lengths, visual, visual_lengths, ())

        cross_search, cross_memory = search(self.cross_decoder), CrossMemory(self, memory)
        captions = [self.caption(visual, visual_lengths)]
        cross_memory.show(captions[-1])
        lengths = visual_lengths
        if self.config.decode_ar:  # both branches read nearly every crop alike
            cross = cross_search.check(cross_memory.keys_values, visual.argmax(-1), lengths)
        else:
            cross, _ = cross_search.parallel(cross_memory.keys_values, lengths)
        for _ in range(refine_iters):
            visual = visual_search.refine(visual_memory, visual, visual_lengths, complete)
            visual_lengths = torch.full_like(visual_lengths, positions)
            captions.append(self.caption(visual, visual_lengths))
            cross_memory.show(captions[-1])
            cross = cross_search.refine(cross_memory.keys_values, cross, lengths, complete)
            lengths = torch.full_like(lengths, positions)
        return Decoding(cross, lengths, visual, visual_lengths, tuple(tuple(c) for c in captions))

    def _takes_graphs(self, device: torch.device) -> bool:
        wanted = device.type == "cuda" if self.cuda_graphs is None else self.cuda_graphs
        return wanted and not torch.is_grad_enabled() and not self.training and self.graph_decoder.can_decode(self)

    def _check(self, images: Tensor) -> None:
        expected = (3, *self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; this model reads (N, {', '.join(map(str, expected))}): "
                "resize the crops as clip4str_plugin.model.preprocess does"
            )


def _replace_rows(whole: Decoding, rows: Tensor, part: Decoding, end_logits: Callable[..., Tensor]) -> Decoding:
    """Return a decoding of N crops in which some, (n,) int64, were read anew."""

    def logits(old: Tensor, new: Tensor) -> Tensor:
        result = end_logits(len(old), max(old.shape[1], new.shape[1]), old)
        result[:, : old.shape[1]] = old
        result[rows] = end_logits(len(rows), result.shape[1], old)
        result[rows, : new.shape[1]] = new
        return result

    def captions(new: tuple[str, ...]) -> tuple[str, ...]:
        own = dict(zip(rows.tolist(), new))
        return tuple(own.get(index, "") for index in range(len(whole.lengths)))

    return Decoding(
        logits(whole.logits, part.logits),
        whole.lengths.index_copy(0, rows, part.lengths),
        logits(whole.visual_logits, part.visual_logits),
        whole.visual_lengths.index_copy(0, rows, part.visual_lengths),
        tuple(captions(new) for new in part.captions),
    )


class CrossMemory:
    """The cross-modal memory of N crops while their captions change.

    Keys and values of the image are projected once, those of a caption once for each distinct caption; a new caption
    replaces the old one in place.

    Args:
        model: has the cross-modal branch.
        memory: (N, M, D) image tokens.

    Attributes:
        keys_values: for the cross-modal decoder, one pair per layer, (N, h, M + L, D/h).
    """

    def __init__(self, model: CLIP4STR, memory: Tensor) -> None:
        self._model = model
        self._image = model.cross_decoder.memory_keys_values(model.cross_image_memory(memory))
        self._shown: list[str | None] = [None] * len(memory)
        self.keys_values = self._image

    def show(self, captions: Sequence[str]) -> None:
        """Make the captions, one per crop, part of the memory."""
        rows = [i for i, (new, old) in enumerate(zip(captions, self._shown)) if new != old]
        self._shown = list(captions)
        if not rows:
            return
        distinct = {caption: i for i, caption in enumerate(dict.fromkeys(captions[i] for i in rows))}
        text = self._model.encode_text(list(distinct)).to(self._image[0][0].dtype)
        which = torch.tensor([distinct[captions[i]] for i in rows], device=text.device)
        new = select_rows(self._model.cross_decoder.memory_keys_values(text), which)
        if self.keys_values is self._image:  # the first captions of all crops
            self.keys_values = [
                (torch.cat([k, text_k], dim=2), torch.cat([v, text_v], dim=2))
                for (k, v), (text_k, text_v) in zip(self._image, new)
            ]
            return
        for (k, v), (text_k, text_v) in zip(self.keys_values, new):
            k[rows, :, -text_k.shape[2] :], v[rows, :, -text_v.shape[2] :] = text_k, text_v
