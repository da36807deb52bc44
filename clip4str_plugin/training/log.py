"""The loggers of a training, by name; the CSV one goes on where a resumed training does."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from clip4str_plugin.errors import Clip4StrError

__all__ = ["CsvLog", "make_loggers"]


class CsvLog(Logger):
    """Writes ``metrics.csv``: one row per step, one column per metric, every row at once, so that a kill loses nothing.

    Args:
        folder: created if missing.
        resume_step: step a resumed training goes on from: rows after it, which are about to be repeated, are dropped.
            0 starts an empty file.
    """

    def __init__(self, folder: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        self._columns = ["step"]
        self._rows: list[dict[str, Any]] = []
        if resume_step and self.path.is_file():
            with self.path.open(encoding="utf-8", newline="") as f:
                reader = csv.DictReader(f)
                self._columns = list(reader.fieldnames or self._columns)
                self._rows = [row for row in reader if int(row["step"] or 0) <= resume_step]
        self._last_row = 0  # where in the file the last row begins, and ends
        self._end: int | None = None

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """There is one version only: a training that is resumed is the same."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: every checkpoint holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the metrics of a step (an optimizer step, counted from 0 by Lightning, from 1 here)."""
        number = (step or 0) + 1
        new = {name: f"{float(value):.8g}" for name, value in metrics.items() if name != "epoch"}
        unknown = sorted(set(new) - set(self._columns))
        self._columns += unknown
        if unknown or self._end is None:
            self._rewrite()
        if self._rows and int(self._rows[-1]["step"]) == number:
            self._rows[-1].update(new)
        else:
            self._rows.append({"step": number, **new})
            self._last_row = self._end or 0
        with self.path.open("r+", encoding="utf-8", newline="") as f:
            f.seek(self._last_row)
            f.truncate()
            csv.DictWriter(f, self._columns).writerow(self._rows[-1])
            self._end = f.tell()

    def _rewrite(self) -> None:
        """Write the whole file: a new column changes every row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        with new.open("w", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, self._columns)
            writer.writeheader()
            writer.writerows(self._rows[:-1])
            self._last_row = f.tell()
            writer.writerows(self._rows[-1:])
            self._end = f.tell()
        new.replace(self.path)


def make_loggers(names: str, folder: Path, resume_step: int = 0) -> list[Logger]:
    """Return the loggers of a training.

    Args:
        names: "csv", "tensorboard", "wandb", or several joined by "+".
        folder: of the training; logs go to ``log/`` in it.
        resume_step: step the training goes on from.

    Raises:
        Clip4StrError: a name is unknown, or what it needs is not installed.
    """
    loggers: list[Logger] = []
    for name in names.split("+"):
        try:
            if name == "csv":
                loggers.append(CsvLog(folder / "log", resume_step))
            elif name == "tensorboard":
                loggers.append(TensorBoardLogger(folder, name="log", version="", purge_step=resume_step or None))
            elif name == "wandb":
                # A fixed id, so that a resumed training goes on in the same run.
                run_id = folder.resolve().name
                loggers.append(WandbLogger(save_dir=folder, name=run_id, id=run_id, resume="allow"))
            else:
                raise Clip4StrError(f"unknown logger {name!r}: use csv, tensorboard or wandb")
        except ModuleNotFoundError as e:
            raise Clip4StrError(f"the logger {name!r} needs a package: pip install {e.name or name} ({e})") from None
    return loggers
