"""Whether one model is significantly better than another on the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clip4str_plugin.evaluation.evaluate import WordResult

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Two readers on the same words; differences are those of the second from the first, in percent points.

    Attributes:
        samples: words both have read.
        accuracy: word accuracy of both in percent.
        only_first: words only the first reads without a mistake.
        only_second: words only the second reads without a mistake.
        p_value: of the exact McNemar test: the probability of a split at least as uneven as these two numbers if
            both were equally good.
        difference: of the accuracies.
        interval: 95 % bootstrap interval of that difference.
        ned_difference: of 1-NED.
        ned_interval: 95 % bootstrap interval of that difference.
    """

    samples: int
    accuracy: tuple[float, float]
    only_first: int
    only_second: int
    p_value: float
    difference: float
    interval: tuple[float, float]
    ned_difference: float
    ned_interval: tuple[float, float]


def compare(first: Sequence[WordResult], second: Sequence[WordResult], resamples: int = 2000) -> Comparison:
    """Compare two readers.

    McNemar's test looks at the words that only one of the two reads (Q. McNemar, Psychometrika 12, 1947; exact:
    binomial). The bootstrap draws words with replacement, each with both of its readings (percentile intervals).

    Args:
        first: readings of the first.
        second: readings of the same words, in the same order, by the second.
        resamples: of the bootstrap.

    Raises:
        ValueError: there are no words, or they are not the same.

    >>> a = [WordResult("1", "one", "one", 1.0), WordResult("2", "two", "tvvo", 1.0)]
    >>> b = [WordResult("1", "one", "one", 1.0), WordResult("2", "two", "two", 1.0)]
    >>> compare(a, b).only_second, compare(a, b).p_value
    (1, 1.0)
    """
    from scipy import stats

    if not first or [(r.index, r.label) for r in first] != [(r.index, r.label) for r in second]:
        raise ValueError("both must be readings of the same words, in the same order, at least one")
    right = np.array([[r.correct for r in first], [r.correct for r in second]], float)
    similarity = np.array([[r.similarity for r in first], [r.similarity for r in second]])
    gained, lost = int((right[1] > right[0]).sum()), int((right[1] < right[0]).sum())
    test = stats.binomtest(gained, gained + lost) if gained + lost else None
    return Comparison(
        samples=len(first),
        accuracy=(100 * float(right[0].mean()), 100 * float(right[1].mean())),
        only_first=lost,
        only_second=gained,
        p_value=float(test.pvalue) if test else 1.0,
        difference=100 * float((right[1] - right[0]).mean()),
        interval=_interval(right[1] - right[0], resamples),
        ned_difference=100 * float((similarity[1] - similarity[0]).mean()),
        ned_interval=_interval(similarity[1] - similarity[0], resamples),
    )


def _interval(differences: np.ndarray, resamples: int) -> tuple[float, float]:
    """Bootstrap the mean of the differences of all words."""
    from scipy import stats

    if np.ptp(differences) == 0:  # nothing varies, so nothing can be drawn differently
        return (100 * float(differences[0]),) * 2
    found = stats.bootstrap(
        (differences,), np.mean, n_resamples=resamples, method="percentile", batch=64, rng=np.random.default_rng(0)
    ).confidence_interval
    return 100 * float(found.low), 100 * float(found.high)
