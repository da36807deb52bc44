"""What a recognizer computes with: prepared crops in, text and probabilities out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from clip4str_plugin.model.preprocess import Color

__all__ = ["Backend", "ScoredText"]

ScoredText: TypeAlias = tuple[str, tuple[float, ...]]
"""A text, and the probability of each of its characters followed by that of the end token if there is one."""


class Backend(Protocol):
    """Computes for a `clip4str_plugin.reading.recognizer.Recognizer`; several threads may share one.

    Attributes:
        config: of the model: ``image_size`` (height, width), ``charset``, ``max_label_length``, ``turn_tall``,
            ``early_exit``.
        device: where it computes, "cpu" or "cuda:0" say.
        batch_size: crops in one pass, where nobody says otherwise.
        runs_ahead: `read` returns before the work is done, so that it is worth calling before its last result is
            taken.
        out_of_memory: what `read` raises where smaller batches may help; an empty tuple where nothing is.
    """

    @property
    def batch_size(self) -> int: ...  # noqa: D102

    @property
    def runs_ahead(self) -> bool: ...  # noqa: D102

    @property
    def config(self) -> Any: ...  # noqa: D102

    @property
    def device(self) -> Any: ...  # noqa: D102

    @property
    def out_of_memory(self) -> type[Exception] | tuple[type[Exception], ...]: ...  # noqa: D102

    def stage(self, crops: Sequence[np.ndarray], color: Color) -> Any:
        """Take a batch of crops nearer to the device.

        Called ahead of time, in another thread than `read`.

        Args:
            crops: N crops of any size, from ``preprocess.as_array``.
            color: their channel order.

        Returns:
            what has a length N and can be sliced; waiting batches should not take more memory than their pixels.
        """
        ...

    def read(self, batch: Any) -> Iterable[ScoredText]:
        """Read a staged batch, or a slice of one; what is read in a crop does not depend on the others.

        Returns:
            one reading a crop, waited for when they are iterated over; that may be in another thread.
        """
        ...

    def free_memory(self) -> None:
        """Give unused memory back, after ``out_of_memory``."""
        ...
