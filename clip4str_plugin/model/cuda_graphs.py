"""Decoding with shapes that never change, so that a GPU can replay it as a handful of CUDA graphs.

Every crop takes every step, those that have ended too, and captions are made where they are used. The host is asked
twice a batch or so: whether all texts have ended, and whether the cross-modal branch has read all crops. On the CPU the
same operations run one after another, which is how they are tested.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.model.caption_graph import CaptionGraph
from clip4str_plugin.model.decoder import Decoder, GreedyState, KeysValues, select_rows
from clip4str_plugin.model.search import Decoding, Search

__all__ = ["GraphDecoder"]

# Batch sizes are rounded up to powers of two, at least this one, so that few of them need graphs of their own.
_SMALLEST = 8
# Batch sizes whose buffers and graphs are kept. A smaller batch takes the buffers of one up to so many times as large:
# decoding idle rows costs less than new graphs.
_KEPT, _SPARE = 4, 4
# Steps in one graph; after each the host looks whether all texts have ended.
_STEPS = 4


class GraphDecoder:
    """Decodes the batches of one model, from image tokens on; may be used from several threads at once.

    Copies and pickles start anew: buffers and graphs belong to the weights they were made for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: OrderedDict[int, _Size] = OrderedDict()
        self._weights: Hashable = None
        self._captions: CaptionGraph | None = None
        self._last: torch.cuda.Event | None = None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return GraphDecoder, ()

    @staticmethod
    def can_decode(model: Any) -> bool:
        """Tell whether a model's captions can be made on the GPU; see `CaptionGraph`."""
        config = model.config
        if not config.cross_branch:
            return True
        plain = all(c.isascii() and c.isalnum() for c in config.caption_charset)
        return plain and isinstance(model.caption_tokenizer, CaptionTokenizer)

    @torch.inference_mode()
    def decode(
        self, model: Any, memory: Tensor, forbidden: Tensor | None, refine_iters: int, complete: bool = True
    ) -> Decoding:
        """Read crops, given their image tokens.

        Args:
            model: a ``CLIP4STR``.
            memory: (N, M, D) from its image encoder, N at least 1.
            forbidden: (C,) bool, classes never to be predicted.
            refine_iters: refinements after the first decoding.
            complete: False leaves out the captions, which the host would have to wait for.
        """
        with self._lock:
            if self._last is not None:  # another thread's stream may still work on the buffers
                self._last.wait()
            size = self._size(model, memory)
            try:
                decoding = size.decode(memory, forbidden, refine_iters, complete)
            except BaseException:
                self._sizes.clear()  # what a failed capture leaves behind is of no use
                raise
            if memory.is_cuda:
                self._last = self._last or torch.cuda.Event()
                self._last.record()
            return decoding

    def _size(self, model: Any, memory: Tensor) -> _Size:
        # A graph reads the weights where they lay when it was captured.
        weights = model.visual_decoder.pos_queries
        key = (weights.data_ptr(), weights.dtype, weights.device)
        if key != self._weights:
            self._sizes.clear()
            self._weights, self._captions = key, None
        if self._captions is None and model.config.cross_branch:
            self._captions = CaptionGraph(model.tokenizer, model.caption_tokenizer, model.config, unrolled=True)
            self._captions.to(memory.device)
        rows = max(_SMALLEST, 1 << (len(memory) - 1).bit_length())
        fitting = [kept for kept in self._sizes if rows <= kept <= _SPARE * rows]
        rows = min(fitting, default=rows)
        size = self._sizes.pop(rows, None) or _Size(model, memory, rows, self._captions)
        self._sizes[rows] = size
        while len(self._sizes) > _KEPT:
            self._sizes.popitem(last=False)
        return size


class _Size:
    """Buffers for batches of up to so many crops, and on a GPU the graphs that work on them.

    Args:
        model: a ``CLIP4STR``.
        memory: image tokens, for their shape and type.
        rows: crops B.
        captions: makes captions; None in a model without cross-modal branch.
    """

    def __init__(self, model: Any, memory: Tensor, rows: int, captions: CaptionGraph | None) -> None:
        config, ids, device = model.config, model.tokenizer, memory.device
        self.model, self.captions = model, captions
        self.positions = config.max_label_length + 1
        self.forbidden = torch.zeros(ids.num_classes, dtype=torch.bool, device=device)
        self.is_idle = torch.zeros(rows, dtype=torch.bool, device=device)
        self.index = torch.arange(rows, device=device)
        self.flag = torch.zeros((), dtype=torch.bool, device=device)
        self.visual = _Branch(model.visual_decoder, self, memory, memory.shape[1])
        if config.cross_branch:
            image = model.cross_image_memory(memory[:1])
            self.text_length = 1 if config.cls_eot_memory else config.context_length
            self.cross = _Branch(model.cross_decoder, self, image, image.shape[1] + self.text_length)
        decoder = model.visual_decoder
        keys = self.visual.memory[0][0]
        content = (rows, keys.shape[1], self.positions, keys.shape[3])
        self.state = GreedyState(
            self.visual.memory,
            [keys.new_zeros(content) for _ in decoder.layers],
            [keys.new_zeros(content) for _ in decoder.layers],
        )
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.wrong = torch.zeros(rows, dtype=torch.bool, device=device)
        self.guess = torch.zeros(rows, self.positions, dtype=torch.long, device=device)
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def decode(self, memory: Tensor, forbidden: Tensor | None, refine_iters: int, complete: bool) -> Decoding:
        model, visual, n = self.model, self.visual, len(memory)
        torch.ge(self.index, n, out=self.is_idle)
        self.forbidden.zero_() if forbidden is None else self.forbidden.copy_(forbidden)
        visual.show_image(memory)
        if model.config.cross_branch:
            self.cross.show_image(model.cross_image_memory(memory))
        if model.config.decode_ar:
            self._greedy()
        else:
            self._run("parallel", self._parallel)
        captions: list[tuple[str, ...]] = []

        def note() -> None:
            if complete:
                captions.append(tuple(model.caption(visual.logits[:n], visual.lengths[:n])))

        result = visual
        if model.config.cross_branch:
            result = self.cross
            note()
            self._run("cross", self._cross)
            if model.config.decode_ar:
                self._settle()
        for _ in range(refine_iters):
            self._run("refine", self._refine)
            if model.config.cross_branch:
                note()
                self._run("correct", self._correct)
        # Copies: the buffers serve the next batch.
        found = result.logits[:n].clone(), result.lengths[:n].clone()
        if result is visual:
            return Decoding(*found, *found, ())
        return Decoding(*found, visual.logits[:n].clone(), visual.lengths[:n].clone(), tuple(captions))

    # ---- stages -----------------------------------------------------------------------------------------

    def _greedy(self) -> None:
        visual, search = self.visual, self.visual.search
        self.tokens.fill_(search.bos_id)
        self.ended.copy_(self.is_idle)
        visual.logits.copy_(search.end_logits(1, 1, visual.logits))
        for start in range(0, self.positions, _STEPS):
            self._run(("steps", start), partial(self._steps, start))
            if self.flag:
                break
        self._run("ends", self._ends)

    def _steps(self, start: int) -> None:
        search = self.visual.search
        self.state.step = start
        for i in range(start, min(start + _STEPS, self.positions)):
            logits = search.restrict(search.decoder.step(self.tokens, self.state))
            self.visual.logits[:, i] = logits
            self.tokens.copy_(logits.argmax(-1))
            self.ended |= self.tokens == search.eos_id
        self.flag.copy_(self.ended.all())

    def _ends(self) -> None:
        visual = self.visual
        visual.lengths.copy_(visual.search.ends(visual.logits))
        visual.logits.copy_(visual.search.cut(visual.logits, visual.lengths))

    def _parallel(self) -> None:
        self.visual.logits.copy_(self.visual.search.parallel_logits(self.visual.memory))
        self._ends()

    def _cross(self) -> None:
        self._show_caption()
        self.cross.lengths.copy_(self.visual.lengths)
        if not self.model.config.decode_ar:
            logits = self.cross.search.parallel_logits(self.cross.memory)
            self.cross.logits.copy_(self.cross.search.cut(logits, self.cross.lengths))
            return
        # Both branches read nearly every crop alike; where they do not, the second pass mostly settles it.
        self.guess.copy_(self.visual.logits.argmax(-1))
        self._verify()
        self._verify()

    def _verify(self) -> None:
        cross = self.cross
        logits, better, wrong = cross.search.verify(cross.memory, self.guess, cross.lengths)
        cross.logits.copy_(cross.search.cut(logits, cross.lengths))
        self.guess.copy_(better)
        torch.logical_and(wrong, ~self.is_idle, out=self.wrong)

    def _settle(self) -> None:
        """Check the crops again that the cross-modal branch reads differently; few are left, so without a graph."""
        cross, rows = self.cross, self.wrong.nonzero()[:, 0]
        while len(rows):
            memory, guess, lengths = select_rows(cross.memory, rows), self.guess[rows], cross.lengths[rows]
            # Every pass finds at least one more token of each crop.
            logits, better, wrong = cross.search.verify(memory, guess, lengths)
            cross.logits[rows] = cross.search.cut(logits, lengths)
            self.guess[rows] = better
            rows = rows[wrong]

    def _refine(self) -> None:
        self.visual.refine()

    def _correct(self) -> None:
        self._show_caption()
        self.cross.refine()

    def _show_caption(self) -> None:
        assert self.captions is not None
        text = self.model.text_tokens(self.captions(self.visual.logits.argmax(-1)))
        pairs = self.cross.search.decoder.memory_keys_values(text.to(self.cross.memory[0][0].dtype))
        for kept, new in zip(self.cross.memory, pairs):
            for to, part in zip(kept, new):
                to[:, :, -self.text_length :] = part

    # ---- graphs -----------------------------------------------------------------------------------------

    def _run(self, name: Hashable, stage: Callable[[], None]) -> None:
        if self._pool is None:
            stage()
        elif (graph := self._graphs.get(name)) is not None:
            graph.replay()
        else:
            # Libraries set themselves up in the first run, which must not become part of the graph.
            stage()
            self._graphs[name] = self._capture(stage)

    def _capture(self, stage: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Capture a stage, which computes nothing."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Other threads may go on allocating memory.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                stage()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph


class _Branch:
    """One branch's buffers: its memory and what it has read.

    Attributes:
        search: of its decoder.
        memory: keys and values of image (and text), one pair per layer, (B, h, M + L, D/h).
        logits: (B, T, C) float32.
        lengths: (B,) positions that count.
    """

    def __init__(self, decoder: Decoder, size: _Size, image: Tensor, length: int) -> None:
        ids, rows = size.model.tokenizer, len(size.index)
        self.search = Search(decoder, ids.bos_id, ids.eos_id, size.positions, True, size.forbidden)
        pairs = decoder.memory_keys_values(image[:1])
        self.memory: list[KeysValues] = [
            (k.new_zeros(rows, k.shape[1], length, k.shape[3]), v.new_zeros(rows, v.shape[1], length, v.shape[3]))
            for k, v in pairs
        ]
        self.logits = self.search.end_logits(rows, size.positions, image)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=image.device)

    def show_image(self, memory: Tensor) -> None:
        """Project image tokens, (N, M, D), into the memory's first rows."""
        for kept, layer in zip(self.memory, self.search.decoder.layers):
            for to, new in zip(kept, layer.cross_attn.keys_values(memory)):
                to[: len(memory), :, : memory.shape[1]] = new

    def refine(self) -> None:
        """Predict every position again."""
        self.logits.copy_(self.search.refine(self.memory, self.logits, self.lengths))
        self.lengths.fill_(self.search.positions)
