"""What a recognizer computes with: prepared crops in, text and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

__all__ = ["Backend", "Reading"]

Reading: TypeAlias = tuple[str, tuple[float, ...]]
"""A text, and the probability of each of its characters followed by that of the end token if there is one."""


class Backend(Protocol):
    """Computes for a :class:`~clip4str_plugin.reading.recognizer.Recognizer`; several threads may share one.

    Attributes:
        config: of the model: ``image_size`` (height, width), ``charset``, ``max_label_length``, ``turn_tall``.
        device: where it computes, "cpu" or "cuda:0" say.
        out_of_memory: what :meth:`read` raises where smaller batches may help; an empty tuple where nothing is.
    """

    config: Any
    device: Any
    out_of_memory: type[Exception] | tuple[type[Exception], ...]

    def stage(self, images: np.ndarray) -> Any:
        """Take a batch, (N, 3, H, W) uint8 RGB of the model's size, nearer to the device.

        Called ahead of time, in another thread than :meth:`read`. The array is not used for anything else.

        Returns:
            what has a length N and can be sliced; waiting batches should not take more memory than their pixels.
        """
        ...

    def read(self, batch: Any) -> Sequence[Reading]:
        """Read a staged batch, or a slice of one; what is read in a crop does not depend on the others."""
        ...

    def free_memory(self) -> None:
        """Give unused memory back, after ``out_of_memory``."""
        ...
