"""The time budget of a training, and what its time was spent on."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

__all__ = ["Clock"]

_log = logging.getLogger(__name__)


class Clock(Callback):
    """Ends a training when its time is over, and says at the end what the time was spent on.

    Args:
        minutes: from now on, those of the runs that are resumed included; 0 sets no limit.

    Attributes:
        seconds: spent so far, the same in all processes.
    """

    def __init__(self, minutes: float = 0.0) -> None:
        self.limit = 60.0 * minutes
        self.seconds = 0.0
        self._began = time.monotonic()
        self._before = 0.0  # seconds of the runs before this one
        self._spent = {"preparation": 0.0, "waiting for words": 0.0, "training": 0.0, "validation": 0.0}
        self._mark = self._began
        self._steps = 0

    def total_steps(self, step: int) -> float:
        """Return how many steps there will be, judged by the time that the first ``step`` took."""
        part = min(1.0, self.seconds / self.limit)
        return max(step, step / part if part else 1.0)

    def _spend(self, on: str) -> None:
        now = time.monotonic()
        self._spent[on] += now - self._mark
        self._mark = now

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the preparation."""
        self._spend("preparation")

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """Count the time since the last batch as waiting."""
        self._spend("waiting for words")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Count the time since the batch came as training, and stop when the time is over."""
        self._spend("training")
        self._steps += 1
        self.seconds = self._before + self._mark - self._began
        if trainer.world_size > 1 and self.limit:  # all stop at the same step, and have the same learning rate
            self.seconds = trainer.strategy.broadcast(self.seconds)
        if self.limit and self.seconds >= self.limit:
            trainer.should_stop = True

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count validation."""
        self._spend("training")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the time since its start as validation."""
        self._spend("validation")

    def state_dict(self) -> dict[str, Any]:
        """Return the time spent, for a checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where a checkpoint stopped."""
        self._before = self.seconds = state_dict["seconds"]

    def summary(self, samples: int) -> str:
        """Return a line on the time of this run, given the samples of a step."""
        self._spend("training")
        whole = sum(self._spent.values())
        busy = self._spent["waiting for words"] + self._spent["training"]
        shares = ", ".join(f"{name} {100 * seconds / whole:.0f} %" for name, seconds in self._spent.items())
        words = self._steps * samples
        return f"{words:,} words in {whole:.0f} s, {words / max(busy, 1e-9):,.1f} a second while training: {shares}"
