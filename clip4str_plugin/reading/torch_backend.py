"""PyTorch as what a recognizer computes with."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from clip4str_plugin.model.preprocess import normalize

if TYPE_CHECKING:
    from clip4str_plugin.model.clip4str import CLIP4STR
    from clip4str_plugin.model.engines import Precision
    from clip4str_plugin.reading.backend import Reading

__all__ = ["TorchBackend"]


class TorchBackend:
    """Reads with a PyTorch model, on any device; see :class:`~clip4str_plugin.reading.backend.Backend`.

    Args:
        model: from ``load_model``; put in evaluation mode. Where device, dtype or precision ask for a change, the
            backend changes a model of its own, which shares the weights that stay as they are.
        device: "cpu", "cuda", ...; None leaves the model where it is.
        dtype: of the weights; None leaves them as they are.
        precision: see :func:`clip4str_plugin.model.engines.set_precision`; None leaves the model as it is.
        charset: the only characters to read; None for all.
        early_exit: see ``CLIP4STR.generate``.

    Raises:
        ValueError: ``charset`` holds characters the model does not know.
    """

    out_of_memory = torch.OutOfMemoryError

    def __init__(
        self,
        model: CLIP4STR,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        precision: Precision | None = None,
        charset: str | None = None,
        early_exit: float | None = None,
    ) -> None:
        if (device, dtype, precision) != (None, None, None):
            # Others may read with this model, too.
            model = _own(model).to(device=device, dtype=dtype)
        self.model = model.eval()
        if precision is not None:
            from clip4str_plugin.model.engines import set_precision

            set_precision(self.model, precision)
        self._allowed = None if charset is None else model.tokenizer.class_mask(charset)
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

    def stage(self, images: np.ndarray) -> torch.Tensor:
        """Pin a batch for a GPU; it waits as bytes, and is normalised when its turn comes."""
        tensor = torch.from_numpy(images)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    @torch.inference_mode()
    def read(self, batch: torch.Tensor) -> list[Reading]:
        """Read a staged batch."""
        config, weight = self.model.config, self._weight()
        images = normalize(batch.to(weight.device, non_blocking=True), config.mean, config.std, weight.dtype)
        allowed = None if self._allowed is None else self._allowed.to(weight.device)
        decoding = self.model.generate(images, allowed=allowed, complete=False, **self._options)
        return self.model.tokenizer.decode(decoding.logits, decoding.lengths)

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
