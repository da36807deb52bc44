"""Charts of an evaluation: reliability of confidences, and accuracy against coverage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clip4str_plugin.evaluation.evaluate import WordResult
from clip4str_plugin.evaluation.plotting import Axis, Series, line_chart

__all__ = ["calibration_error", "coverage_chart", "coverage_curve", "reliability_bins", "reliability_chart"]

BINS = 10
# The first point of a coverage curve: the mean of fewer words says nothing.
_FEWEST = 10


def reliability_bins(readings: Iterable[WordResult], bins: int = BINS) -> list[tuple[int, float, float]]:
    """Sort readings into bins of equal width by their confidence.

    Args:
        readings: with confidences between 0 and 1.
        bins: how many.

    Returns:
        of each bin: the number of words, their mean confidence and their accuracy, both in percent (0 if there are
        none).
    """
    found: list[list[WordResult]] = [[] for _ in range(bins)]
    for reading in readings:
        found[min(bins - 1, int(reading.confidence * bins))].append(reading)
    return [
        (len(b), 100 * sum(r.confidence for r in b) / (len(b) or 1), 100 * sum(r.correct for r in b) / (len(b) or 1))
        for b in found
    ]


def calibration_error(readings: Sequence[WordResult], bins: int = BINS) -> float:
    """Return the expected calibration error in percent points.

    It is the mean over all words of |accuracy - mean confidence| of the word's bin (C. Guo et al., "On Calibration of
    Modern Neural Networks", 2017).

    >>> calibration_error([WordResult("1", "a", "a", 0.9), WordResult("2", "b", "x", 0.9)])
    40.0
    """
    parts = reliability_bins(readings, bins)
    return round(sum(n * abs(accuracy - confidence) for n, confidence, accuracy in parts) / max(1, len(readings)), 9)


def coverage_curve(readings: Iterable[WordResult]) -> list[tuple[float, float]]:
    """Return what part of the words is kept at each threshold of confidence, and the accuracy of these words.

    Returns:
        (kept, accuracy), both in percent, from the most confident words to all of them. Words of equal confidence are
        kept together.
    """
    ranked = sorted(readings, key=lambda r: -r.confidence)
    points, correct = [], 0
    for number, reading in enumerate(ranked, start=1):
        correct += reading.correct
        last = number == len(ranked)
        if last or (number >= _FEWEST and ranked[number].confidence < reading.confidence):
            points.append((100 * number / len(ranked), 100 * correct / number))
    return points


def reliability_chart(readings: Mapping[str, Sequence[WordResult]], title: str = "Reliability of confidences") -> str:
    """Draw accuracy against confidence as SVG.

    Each point is a bin of words of similar confidence; on the dashed line the confidence is the probability of being
    right. Grey bars say what part of all words each bin holds. The legend gives the expected calibration error.

    Args:
        readings: by the name of their line.
        title: above the chart.
    """
    series = [
        Series(
            f"{name}: {len(rows):,} words, calibration error {calibration_error(rows):.1f}",
            [(confidence, accuracy) for n, confidence, accuracy in reliability_bins(rows) if n],
            marks=True,
        )
        for name, rows in readings.items()
    ]
    every = [reading for rows in readings.values() for reading in rows]
    shares = [100 * n / max(1, len(every)) for n, _, _ in reliability_bins(every)]
    bars = [(i * 100 / BINS, (i + 1) * 100 / BINS, share) for i, share in enumerate(shares)]
    x, y = Axis("confidence, %", 0, 100), Axis("words read without a mistake, %  (bars: share of words)", 0, 100)
    return line_chart(title, x, y, series, bars=bars, diagonal=True)


def coverage_chart(readings: Mapping[str, Sequence[WordResult]], title: str = "Accuracy against coverage") -> str:
    """Draw the accuracy of the most confident words against their share of all words as SVG.

    Args:
        readings: by the name of their line.
        title: above the chart.
    """
    curves = {name: coverage_curve(rows) for name, rows in readings.items()}
    lowest = min((accuracy for curve in curves.values() for _, accuracy in curve), default=0.0)
    series = [Series(f"{name}: {len(readings[name]):,} words", _thinned(curve)) for name, curve in curves.items()]
    x, y = Axis("words kept, the most confident first, %", 0, 100), Axis("of these without a mistake, %", 0, 100)
    return line_chart(title, x, Axis(y.label, min(90.0, 5 * (lowest // 5)), 100), series)


def _thinned(curve: list[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    step = -(-len(curve) // most) or 1
    return curve[:-1:step] + curve[-1:]
