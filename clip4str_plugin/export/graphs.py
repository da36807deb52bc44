"""The parts of a CLIP4STR model as functions of tensors alone, ready for ``torch.export`` and ONNX.

Everything that depends on text (captions) or on the course of the decoding stays outside, except in
`WholeGraph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch._higher_order_ops import while_loop

from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.model.caption_graph import CaptionGraph
from clip4str_plugin.model.encoders import caption_tokens

if TYPE_CHECKING:
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.model.decoder import Decoder, KeysValues

__all__ = ["DecoderGraph", "ImageGraph", "TextGraph", "WholeGraph"]


def _stack(keys_values: list[KeysValues]) -> Tensor:
    """Join keys and values of all layers to one tensor (N, 2 * depth, h, M, D/h): crops are its rows."""
    return torch.stack([tensor for pair in keys_values for tensor in pair], dim=1)


def _unstack(stacked: Tensor) -> list[KeysValues]:
    tensors = stacked.unbind(1)
    return list(zip(tensors[::2], tensors[1::2]))


class ImageGraph(nn.Module):
    """Normalised crops (N, 3, H, W) to image tokens (N, M, D) and the visual decoder's memory.

    The memory holds keys and values of every layer, (N, 2 * depth, h, M, D/h).
    """

    def __init__(self, model: CLIP4STR) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the crops."""
        tokens = self.model.encode_image(images)
        return tokens, _stack(self.model.visual_decoder.memory_keys_values(tokens))


class TextGraph(nn.Module):
    """Caption ids (N, L) int64 and image tokens (N, M, D) to the cross-modal decoder's memory."""

    def __init__(self, model: CLIP4STR) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, tokens: Tensor) -> Tensor:
        """Encode the captions and join them to the image."""
        model = self.model
        if model.config.raw_token_memory:
            text = model.clip_model.token_embedding(ids)
        else:
            text = caption_tokens(model.clip_model, ids)
        if model.config.cls_eot_memory:
            is_end = (ids == model.caption_tokenizer.eot_id).int()
            first = (is_end * (is_end.cumsum(1) == 1)).to(text.dtype)  # N, L: one at the first end token
            text = (text * first[..., None]).sum(1, keepdim=True)
        return _stack(model.cross_decoder.memory_keys_values(model.cross_memory(tokens, text)))


class DecoderGraph(nn.Module):
    """One decoder: scores of any positions, given the tokens known so far.

    A greedy step asks for one position, a refinement for all of them.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, tokens: Tensor, memory: Tensor, positions: Tensor, visible: Tensor, content_visible: Tensor
    ) -> Tensor:
        """Predict the characters at ``positions``.

        Args:
            tokens: (N, L) int64 context, begin token first.
            memory: (N, 2 * depth, h, M, D/h) of `ImageGraph` or `TextGraph`.
            positions: (Q,) int64, the positions to predict.
            visible: (N, Q, L) bool, the tokens each position may see.
            content_visible: (N, L, L) bool, the tokens each token may see; used by decoders of several layers.

        Returns:
            (N, Q, C) logits.
        """
        decoder = self.decoder
        # ``Decoder.embed`` without its slices, which would tie the graph to contexts longer than the begin token.
        index = torch.arange(tokens.shape[1], device=tokens.device)
        place = decoder.pos_queries[0, (index - 1).clamp(min=0)] * (index > 0)[:, None]
        content = decoder.text_embed(tokens) + place
        query = decoder.pos_queries[0, positions].expand(tokens.shape[0], -1, -1)
        for i, (layer, keys_values) in enumerate(zip(decoder.layers, _unstack(memory))):
            normed = layer.norm_c(content)
            seen = layer.self_attn.keys_values(normed)
            query = layer(query, layer.norm_q(query), seen, keys_values, visible[:, None])
            if i + 1 < len(decoder.layers):
                content = layer(content, normed, seen, keys_values, content_visible[:, None])
        return decoder.head(decoder.norm(query))


class WholeGraph(nn.Module):
    """A whole recognition as one function: normalised crops to logits in docTR's order.

    Both greedy loops go on until the last crop of the batch has ended, and what lies beyond a crop's own end is
    replaced by a certain end token, so that every crop reads as it does alone. The captions are made and tokenised
    in the graph, which is possible for captions of ASCII letters and digits (see `CaptionGraph`).

    Args:
        model: with decoders of one layer.
        refine_iters: refinements after the first decoding.
        cross_branch: False for the reading of the visual branch.

    Raises:
        ValueError: the model has something a single graph cannot express.
    """

    def __init__(self, model: CLIP4STR, refine_iters: int | None = None, cross_branch: bool = True) -> None:
        super().__init__()
        if model.config.decoder_depth != 1:
            raise ValueError(f"a single graph needs decoders of one layer; these have {model.config.decoder_depth}")
        self.model = model
        self.refine_iters = model.config.refine_iters if refine_iters is None else refine_iters
        self.image = ImageGraph(model)
        self.visual = DecoderGraph(model.visual_decoder)
        self.cross_branch = cross_branch and model.config.cross_branch
        if self.cross_branch:
            if not isinstance(model.caption_tokenizer, CaptionTokenizer):
                raise ValueError("its captions are not tokenised by CLIP's own tokenizer")
            self.caption = CaptionGraph(model.tokenizer, model.caption_tokenizer, model.config)
            self.text = TextGraph(model)
            self.cross = DecoderGraph(model.cross_decoder)

    def forward(self, images: Tensor) -> Tensor:
        """Read crops (N, 3, H, W); return (N, T, len(charset) + 1) logits, the end token last."""
        count = self.model.config.max_label_length + 1
        tokens, visual_memory = self.image(images)
        logits, lengths = self._first(self.visual, visual_memory, None)
        if not self.cross_branch:
            for _ in range(self.refine_iters):
                logits = self._refine(self.visual, visual_memory, logits, lengths)
                lengths = torch.full_like(lengths, count)
            return self._doctr_order(logits)
        memory = self.text(self.caption(logits.argmax(-1)), tokens)
        cross, cross_lengths = self._first(self.cross, memory, lengths)
        for _ in range(self.refine_iters):
            logits = self._refine(self.visual, visual_memory, logits, lengths)
            memory = self.text(self.caption(logits.argmax(-1)), tokens)
            cross = self._refine(self.cross, memory, cross, cross_lengths)
            lengths = cross_lengths = torch.full_like(lengths, count)
        return self._doctr_order(cross)

    def _first(self, graph: DecoderGraph, memory: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Decode T positions; a crop's reading ends after ``lengths`` steps, or with its first end token if None."""
        n, count = memory.shape[0], self.model.config.max_label_length + 1
        begin = torch.full((n, 1), self.model.tokenizer.bos_id, device=memory.device)
        decode = self._greedy if self.model.config.decode_ar else self._at_once
        logits = decode(graph, memory, begin, lengths)
        if lengths is None:
            ended = (logits.argmax(-1) == self.model.tokenizer.eos_id).int().cumsum(1) > 0  # N, T
            lengths = (count + 1 - ended.sum(1)).clamp(max=count)
        index = torch.arange(count, device=memory.device)
        beyond = index >= lengths[:, None]
        is_end = torch.arange(logits.shape[-1], device=memory.device) == self.model.tokenizer.eos_id
        # Finite, since ONNX post-processors take the softmax of everything.
        end_scores = torch.where(is_end, 0.0, -1e4).to(logits.dtype)
        return torch.where(beyond[..., None], end_scores, logits), lengths

    def _greedy(self, graph: DecoderGraph, memory: Tensor, begin: Tensor, lengths: Tensor | None) -> Tensor:
        """Decode until the longest of ``lengths`` is reached, or until every crop has predicted an end token."""
        decoder, count = graph.decoder, self.model.config.max_label_length + 1
        layer = decoder.layers[0]
        memory_keys, memory_values = (
            x.clone() for x in _unstack(memory)[0]
        )  # a loop must not see the same storage twice
        eos_id = self.model.tokenizer.eos_id
        n, heads, _, head_dim = memory_keys.shape
        index = torch.arange(count, device=memory.device)

        def unfinished(i: Tensor, token: Tensor, ended: Tensor, *rest: Tensor) -> Tensor:
            more = i < count if lengths is None else i < lengths.max()
            return more & ~ended.all()

        def step(
            i: Tensor, token: Tensor, ended: Tensor, keys: Tensor, values: Tensor, logits: Tensor
        ) -> tuple[Tensor, ...]:
            place = decoder.pos_queries[0].index_select(0, (i - 1).clamp(min=0)[None]) * (i > 0)
            key, value = layer.self_attn.keys_values(layer.norm_c(decoder.text_embed(token) + place))
            here = index == i
            keys = torch.where(here[:, None], key, keys)
            values = torch.where(here[:, None], value, values)
            query = decoder.pos_queries[0].index_select(0, i[None]).expand(token.shape[0], -1, -1)
            visible = (index <= i).expand(token.shape[0], 1, 1, -1)
            query = layer(query, layer.norm_q(query), (keys, values), (memory_keys, memory_values), visible)
            scores = decoder.head(decoder.norm(query))  # N, 1, C
            token = scores.argmax(-1)
            if lengths is None:
                ended = ended | (token[:, 0] == eos_id)
            else:
                ended = ended.clone()
            return i + 1, token, ended, keys, values, torch.where(here[:, None], scores, logits)

        state = (
            torch.zeros((), dtype=torch.int64, device=memory.device),
            begin,
            torch.zeros(n, dtype=torch.bool, device=memory.device),
            memory.new_zeros(n, heads, count, head_dim),
            memory.new_zeros(n, heads, count, head_dim),
            memory.new_zeros(n, count, decoder.head.out_features),
        )
        return while_loop(unfinished, step, state)[-1]

    def _at_once(self, graph: DecoderGraph, memory: Tensor, begin: Tensor, lengths: Tensor | None) -> Tensor:
        positions = torch.arange(self.model.config.max_label_length + 1, device=memory.device)
        visible = torch.ones(memory.shape[0], len(positions), 1, dtype=torch.bool, device=memory.device)
        return graph(begin, memory, positions, visible, visible[:, :1])

    def _refine(self, graph: DecoderGraph, memory: Tensor, logits: Tensor, lengths: Tensor) -> Tensor:
        n, count = memory.shape[0], self.model.config.max_label_length + 1
        begin = torch.full((n, 1), self.model.tokenizer.bos_id, device=memory.device)
        tokens = torch.cat([begin, logits[:, :-1].argmax(-1)], 1)
        index = torch.arange(count, device=memory.device)
        ended = (tokens == self.model.tokenizer.eos_id).int().cumsum(1) > 0
        known = ~ended & (index < lengths[:, None])
        visible = known[:, None] & (index != index[:, None] + 1)
        return graph(tokens, memory, index, visible, visible)

    def _doctr_order(self, logits: Tensor) -> Tensor:
        return torch.cat([logits[..., 1:], logits[..., :1]], -1)
