"""PyTorch as what a recognizer computes with."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import nn

from clip4str_plugin.model.checkpoint import load_model
from clip4str_plugin.model.devices import pick_device
from clip4str_plugin.model.engines import set_precision
from clip4str_plugin.model.packed_crops import PackedCrops
from clip4str_plugin.model.preprocess import Color, normalize, resize_all

if TYPE_CHECKING:
    from clip4str_plugin.model.clip4str import CLIP4STR
    from clip4str_plugin.options import RecognizerOptions
    from clip4str_plugin.reading.backend import ScoredText

__all__ = ["TorchBackend"]

_Staged: TypeAlias = torch.Tensor | PackedCrops


class TorchBackend:
    """Reads with a PyTorch model, on any device; see `clip4str_plugin.reading.backend.Backend`.

    Args:
        model: a model, put in evaluation mode, or what ``load_model`` takes. Where device or precision ask for a
            change, the backend changes a model of its own, which shares the weights that stay as they are.
        options: device, precision, charset and early exit.

    Raises:
        ValueError: the device cannot be used, or ``charset`` holds characters the model does not know.
    """

    out_of_memory = torch.OutOfMemoryError

    def __init__(self, model: CLIP4STR | str | Path, options: RecognizerOptions) -> None:
        if isinstance(model, (str, Path)):
            model = load_model(model, device=pick_device(options.device), precision=options.precision)
        elif (options.device, options.precision) != ("auto", "auto"):
            # Others may read with this model, too.
            model = _own(model)
            if options.device != "auto":
                model = model.to(pick_device(options.device))
            if options.precision != "auto":
                set_precision(model, options.precision)
        self.model = model.eval()
        self._allowed = None if options.charset is None else model.tokenizer.class_mask(options.charset)
        early_exit = options.early_exit
        if early_exit is None and self.device.type == "cpu":  # on a GPU it costs more than it saves
            early_exit = getattr(self.config, "early_exit", None)
        # Asked for only when wanted: models of others need not know it.
        self._options: dict[str, Any] = {} if early_exit is None else {"early_exit": early_exit}

    @property
    def config(self) -> Any:
        """The configuration of the model."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self._weight().device

    @property
    def dtype(self) -> torch.dtype:
        """The floating point type of the model."""
        return self._weight().dtype

    def _weight(self) -> torch.Tensor:
        weights = (p for p in self.model.parameters() if p.is_floating_point())
        return next(weights, torch.empty(0))

    @property
    def runs_ahead(self) -> bool:
        """Whether the device works while the host goes on."""
        return self.device.type == "cuda"

    @property
    def batch_size(self) -> int:
        """Enough crops to keep the device busy."""
        return 512 if self.device.type == "cuda" else 32

    def stage(self, crops: Sequence[np.ndarray], color: Color) -> _Staged:
        """Resize crops; for a GPU, pack them, to be resized there with the same result."""
        size = self.config.image_size
        if self.device.type == "cuda":
            return PackedCrops.pack(crops, size, color, pin=True)
        return torch.from_numpy(resize_all(crops, size, color))

    @torch.inference_mode()
    def read(self, batch: _Staged) -> Iterable[ScoredText]:
        """Read a staged batch."""
        config, weight = self.model.config, self._weight()
        if isinstance(batch, PackedCrops):
            batch = batch.resized(config.image_size, weight.device)
        images = normalize(batch.to(weight.device), config.mean, config.std, weight.dtype)
        allowed = None if self._allowed is None else self._allowed.to(weight.device)
        decoding = self.model.generate(images, allowed=allowed, complete=False, **self._options)
        return self._fetched(self.model.tokenizer.scores(decoding.logits, decoding.lengths))

    def _fetched(self, scores: torch.Tensor) -> Iterator[ScoredText]:
        """Yield what scores say, when they have come from the device."""
        if not scores.is_cuda:
            return iter(self.model.tokenizer.texts(scores.numpy()))
        host = torch.empty(scores.shape, dtype=scores.dtype, pin_memory=True)
        host.copy_(scores, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()

        def wait() -> Iterator[ScoredText]:
            copied.synchronize()
            yield from self.model.tokenizer.texts(host.numpy())

        return wait()

    def free_memory(self) -> None:
        """Give PyTorch's unused memory back to the GPU."""
        torch.cuda.empty_cache()


def _own(model: CLIP4STR) -> CLIP4STR:
    """Return a model that can be moved and converted without changing the one given, whose weights it shares."""
    shared: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        alias = tensor.detach()
        if isinstance(tensor, nn.Parameter):
            alias = nn.Parameter(alias, requires_grad=tensor.requires_grad)
        shared[id(tensor)] = alias
    engine = getattr(model, "engine", None)
    shared[id(engine)] = engine
    return copy.deepcopy(model, shared)
