"""Decoding step by step with shapes that never change, so that a GPU can replay a step as one CUDA graph.

Opt-in (engine "cuda_graphs" of ``engines.set_precision``): the arithmetic is tested on the CPU, where steps run one
operation after another; capture and speed on a GPU have not been measured.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from clip4str_plugin.model.decoder import Decoder, KeysValues

__all__ = ["FixedSteps"]

# Graphs kept for each decoder and thread: one a batch size; the last, smaller batch of a run would else need its own.
_KEPT = 4
_local = threading.local()


class FixedSteps:
    """Buffers of one batch size, and on a GPU the graph that works on them.

    All crops take every step, those that have ended too; attention looks at all positions through a mask.

    Args:
        decoder: of one branch.
        memory: keys and values of N crops, from ``Decoder.memory_keys_values``; their shapes and type count.

    Attributes:
        tokens: (N,) what was found last, the begin token at first.
        logits: (N, C) of the step taken last.
    """

    def __init__(self, decoder: Decoder, memory: list[KeysValues]) -> None:
        keys = memory[0][0]
        n, heads, _, head_dim = keys.shape
        self.memory = [(torch.empty_like(k), torch.empty_like(v)) for k, v in memory]
        self.content = [
            (
                keys.new_zeros(n, heads, decoder.num_positions, head_dim),
                keys.new_zeros(n, heads, decoder.num_positions, head_dim),
            )
            for _ in decoder.layers
        ]
        self.tokens = torch.zeros(n, dtype=torch.long, device=keys.device)
        self.step = torch.zeros(1, dtype=torch.long, device=keys.device)
        self.forbidden = torch.zeros(decoder.head.out_features, dtype=torch.bool, device=keys.device)
        self.logits = torch.zeros(n, decoder.head.out_features, device=keys.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    @classmethod
    def of(cls, decoder: Decoder, memory: list[KeysValues], bos_id: int, forbidden: Tensor | None) -> FixedSteps:
        """Return steps that stand before the first position of these crops; those of this thread are used again.

        Args:
            decoder: as above.
            memory: as above.
            bos_id: begin token.
            forbidden: (C,) bool, classes never to be predicted.
        """
        if not hasattr(_local, "steps"):
            _local.steps = WeakKeyDictionary()
        kept: OrderedDict[tuple[object, ...], FixedSteps] = _local.steps.setdefault(decoder, OrderedDict())
        # A graph reads the weights where they lay when it was captured.
        weights = decoder.pos_queries
        key = (memory[0][0].shape, weights.dtype, weights.device, weights.data_ptr())
        steps = kept.pop(key, None) or cls(decoder, memory)
        kept[key] = steps
        while len(kept) > _KEPT:
            kept.popitem(last=False)
        for (k, v), (new_k, new_v) in zip(steps.memory, memory):
            k.copy_(new_k)
            v.copy_(new_v)
        steps.tokens.fill_(bos_id)
        steps.step.zero_()
        steps.forbidden.zero_() if forbidden is None else steps.forbidden.copy_(forbidden)
        return steps

    def advance(self, decoder: Decoder) -> None:
        """Predict the next position of every crop."""
        if self.tokens.device.type != "cuda":
            self._compute(decoder)
            return
        if self._graph is None:
            self._graph = self._capture(decoder)
        self._graph.replay()

    def _compute(self, decoder: Decoder) -> None:
        step = self.step
        # The begin token has no position; every other token carries the query of the position it was predicted at.
        position = decoder.pos_queries.index_select(1, (step - 1).clamp(min=0)) * (step > 0)
        content = decoder.text_embed(self.tokens[:, None]) + position
        query = decoder.pos_queries.index_select(1, step)
        visible = torch.arange(decoder.num_positions, device=step.device)[None] <= step
        for depth, layer in enumerate(decoder.layers):
            normed = layer.norm_c(content)
            for kept, new in zip(self.content[depth], layer.self_attn.keys_values(normed)):
                kept.index_copy_(2, step, new)
            query = layer(query, layer.norm_q(query), self.content[depth], self.memory[depth], visible)
            if depth + 1 < len(decoder.layers):
                content = layer(content, normed, self.content[depth], self.memory[depth], visible)
        self.logits.copy_(decoder.classify(query)[:, 0].float().masked_fill(self.forbidden, float("-inf")))
        self.tokens.copy_(self.logits.argmax(-1))
        self.step += 1

    def _capture(self, decoder: Decoder) -> torch.cuda.CUDAGraph:
        before = self.tokens.clone(), self.step.clone()
        # Libraries set themselves up in the first runs, which must not become part of the graph.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._compute(decoder)
                self.step.copy_(before[1])
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute(decoder)
        # Capturing computes nothing; the runs before it did.
        self.tokens.copy_(before[0])
        self.step.copy_(before[1])
        return graph
