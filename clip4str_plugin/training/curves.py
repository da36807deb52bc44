"""Learning curves of trainings, from their logs: accuracy or any other figure against the samples seen."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.evaluation.plotting import Axis, Series, line_chart

__all__ = ["learning_chart", "read_curves"]

Curve = list[tuple[float, float]]


def read_curves(path: str | Path, metrics: Sequence[str] = ()) -> tuple[dict[str, Curve], float]:
    """Read the curves of one training.

    Args:
        path: its folder, or its ``metrics.csv``.
        metrics: columns to read; by default ``accuracy/...``, the accuracies of the validation sets.

    Returns:
        by column: (samples seen so far, value), ascending; and the samples of the whole training.

    Raises:
        Clip4StrError: there is no such log, or nothing of this kind in it.
    """
    path = Path(path)
    file = next((f for f in (path / "log" / "metrics.csv", path / "metrics.csv", path) if f.is_file()), None)
    if file is None:
        raise Clip4StrError(f"{path}: holds no log/metrics.csv; name the folder of a training (run.logger: csv)")
    try:
        with file.open(encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        counts = [(int(row["step"]), float(row["samples"])) for row in rows if row["samples"]]
        columns = list(rows[0]) if rows else []
        wanted = list(metrics) or [c for c in columns if c.startswith("accuracy/")]
        found = {c: [(int(row["step"]), float(row[c])) for row in rows if row[c]] for c in wanted if c in columns}
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise Clip4StrError(f"{file}: is not the log of a training ({error!r})") from None
    missing = [c for c in wanted if not found.get(c)]
    if missing or not wanted or not counts:
        given = f"no values of {', '.join(missing)}" if missing else "no accuracies: it validated on nothing so far"
        raise Clip4StrError(f"{file}: has {given}; its columns are {', '.join(columns) or 'none'}")
    # A row of a validation need not tell the samples; they grow evenly with the steps.
    last = max(step for curve in found.values() for step, _ in curve)
    steps, samples = np.array([(0, 0.0), *counts]).T
    if last > steps[-1]:
        steps, samples = np.append(steps, last), np.append(samples, samples[-1] / steps[-1] * last)
    curves = {c: [(float(np.interp(step, steps, samples)), v) for step, v in curve] for c, curve in found.items()}
    return curves, float(samples[-1])


def learning_chart(
    trainings: Mapping[str, Sequence[str | Path]],
    metrics: Sequence[str] = (),
    title: str = "Learning curves",
    log: bool = False,
) -> str:
    """Draw learning curves as SVG.

    Args:
        trainings: by name the folders of a training; of several, each went on where the one before ended, and their
            samples are added up.
        metrics: columns of the logs; by default the accuracies of the validation sets.
        title: above the chart.
        log: make the axis of samples logarithmic.
    """
    series = []
    for name, folders in trainings.items():
        joined: dict[str, Curve] = {}
        seen = 0.0
        for folder in folders:
            curves, total = read_curves(folder, metrics)
            for column, curve in curves.items():
                joined.setdefault(column, []).extend((seen + samples, value) for samples, value in curve)
            seen += total
        for column, curve in joined.items():
            short = column.removeprefix("accuracy/")
            series.append(Series(f"{name}: {short}" if len(trainings) > 1 else short, curve, marks=len(curve) < 60))
    points = [point for one in series for point in one.points]
    x = Axis("samples seen", min(p[0] for p in points) if log else 0.0, 1.02 * max(p[0] for p in points), log)
    values = [value for _, value in points]
    percent = not metrics or all(m.startswith(("accuracy", "val_accuracy")) for m in metrics)
    low, high = (0.0, 100.0) if percent else (min(0.0, *values), max(values) or 1.0)
    label = "words read without a mistake, %" if percent else ", ".join(metrics)
    return line_chart(title, x, Axis(label, low, high), series)
