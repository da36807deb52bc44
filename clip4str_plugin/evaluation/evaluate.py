"""Word accuracy and edit distance of a recognizer on labelled crops, by the protocol of the published tests."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_36, CHARSET_62, CHARSET_94

if TYPE_CHECKING:
    import numpy as np

    from clip4str_plugin.data.datasets import WordDataset
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["CHARSETS", "Evaluation", "GroupScore", "WordResult", "combine", "evaluate", "score"]

# Test charsets of the published protocol by their number of characters; 36 is the usual one.
CHARSETS = {"36": CHARSET_36, "62": CHARSET_62, "94": CHARSET_94}

# Crops at least this many times higher than wide count as vertical, and the other way round.
ELONGATED = 1.5

# Heights in pixels at which a group of crops ends and the next begins.
HEIGHTS = (8, 12, 16, 24, 32, 48, 64, 96)


@dataclass(frozen=True)
class GroupScore:
    """Words and right words of a group.

    Attributes:
        samples: how many words it has.
        correct: how many of them were read without a mistake.
    """

    samples: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Word accuracy in percent."""
        return 100 * self.correct / self.samples

    def __add__(self, other: GroupScore) -> GroupScore:
        return GroupScore(self.samples + other.samples, self.correct + other.correct)


@dataclass(frozen=True)
class WordResult:
    """One word of an evaluation: what it is, and what was read.

    Attributes:
        source: what names the sample: a file, or a set and a key.
        label: reduced to the charset.
        text: what was read, reduced to the charset.
        confidence: of the recognizer, between 0 and 1.
        index: of the sample in its set.
        width: of the crop in pixels.
        height: of the crop in pixels.
    """

    source: str
    label: str
    text: str
    confidence: float
    index: int = 0
    width: int = 0
    height: int = 0

    @property
    def correct(self) -> bool:
        """Whether it was read without a mistake."""
        return self.text == self.label

    @property
    def similarity(self) -> float:
        """1 - Levenshtein(text, label) / length of the longer one, between 0 and 1."""
        from rapidfuzz.distance import Levenshtein

        return 1 - Levenshtein.distance(self.text, self.label) / max(len(self.text), len(self.label))

    @property
    def orientation(self) -> str:
        """Shape of the crop: "horizontal", "vertical" (upright or turned text in a column), or "square"."""
        if self.width >= ELONGATED * self.height:
            return "horizontal"
        return "vertical" if self.height >= ELONGATED * self.width else "square"

    @property
    def height_group(self) -> str:
        """Range of heights the crop belongs to, in pixels: "1-7", "8-11", ..., "96+"."""
        place = bisect_right(HEIGHTS, self.height)
        low = HEIGHTS[place - 1] if place else 1
        return f"{low}-{HEIGHTS[place] - 1}" if place < len(HEIGHTS) else f"{low}+"


@dataclass(frozen=True)
class Evaluation:
    """The figures of a set.

    Attributes:
        name: of the set.
        samples: words read and compared.
        accuracy: words read exactly, in percent.
        ned: 1-NED in percent: the mean over all words of 1 - Levenshtein(reading, label) / length of the longer one.
        confidence: mean confidence of the readings, in percent.
        length: mean number of characters of the readings.
        by_length: scores by length of the label in characters, in ascending order.
        by_orientation: scores by shape of the crop; see ``WordResult.orientation``.
        by_height: scores by height of the crop; see ``WordResult.height_group``. Ascending.
        dropped: labels left out because they are too long or nothing is left of them in the charset.
        unreadable: samples left out because their image or label is damaged.
        seconds: time for reading the set, images included.
        timed: words that were read in that time; the others had been read before.
    """

    name: str
    samples: int
    accuracy: float
    ned: float
    confidence: float
    length: float
    by_length: dict[int, GroupScore] = field(default_factory=dict)
    by_orientation: dict[str, GroupScore] = field(default_factory=dict)
    by_height: dict[str, GroupScore] = field(default_factory=dict)
    dropped: int = 0
    unreadable: int = 0
    seconds: float = 0.0
    timed: int = 0


def evaluate(
    recognizer: Recognizer,
    dataset: WordDataset,
    charset: str = CHARSET_36,
    *,
    known: Mapping[int, WordResult] | None = None,
    on_reading: Callable[[WordResult], None] | None = None,
    on_unreadable: Callable[[ImageError], None] | None = None,
    on_known: Callable[[WordResult], None] | None = None,
) -> Evaluation:
    """Read a set and compare with its labels, both reduced to a charset, as the published tests do.

    Samples with nothing left of their label are left out, and so are damaged images, which are counted. Confidences
    enter as the recognizer gives them: the published figure is that of ``confidence="product"``.

    To equal the published figures for 62 or 94 characters, the model's ``caption_charset`` has to be the same as
    ``charset``: the published tests change both at once.

    Args:
        recognizer: reads the crops.
        dataset: from ``open_dataset``.
        charset: characters that count; one of ``CHARSETS``, or any other. See ``CharsetFilter`` for letter case.
        known: readings of an interrupted evaluation by their index; these samples are not read again.
        on_reading: called with each sample that is read, in order.
        on_unreadable: called with the error of each damaged image.
        on_known: called with each reading of ``known`` that still holds: of the same source and label.

    >>> from clip4str_plugin import Recognizer, load_model
    >>> from clip4str_plugin.data.datasets import open_dataset
    >>> evaluate(Recognizer(load_model("tiny")), open_dataset("IIIT5k")).accuracy  # doctest: +SKIP
    80.1
    """
    import time

    reduce = CharsetFilter(charset)
    known = known or {}
    pending: deque[WordResult] = deque()  # filled by the recognizer's background thread
    dropped, unreadable = dataset.dropped, dataset.corrupt
    readings: list[WordResult] = []

    def crops() -> Iterator[np.ndarray]:
        nonlocal dropped, unreadable
        for index in range(len(dataset)):
            label = reduce(dataset.label(index))
            if not label:
                dropped += 1
                continue
            reading = known.get(index)
            # A label corrected since, or another set at the same path, makes an old reading worthless.
            if reading is not None and (reading.source, reading.label) == (dataset.source(index), label):
                readings.append(reading)
                if on_known:
                    on_known(reading)
                continue
            try:
                crop, _ = dataset[index]
            except ImageError as error:
                unreadable += 1
                if on_unreadable:
                    on_unreadable(error)
                continue
            height, width = crop.shape[:2]
            pending.append(WordResult(dataset.source(index), label, "", 0.0, index, width, height))
            yield crop

    start, timed = time.perf_counter(), 0
    for recognition in recognizer.stream(crops()):
        reading = replace(pending.popleft(), text=reduce(recognition.text), confidence=recognition.confidence)
        readings.append(reading)
        timed += 1
        if on_reading:
            on_reading(reading)
    result = score(readings, dataset.name)
    seconds = time.perf_counter() - start
    return replace(result, dropped=dropped, unreadable=unreadable, seconds=seconds, timed=timed)


def score(readings: Iterable[WordResult], name: str = "") -> Evaluation:
    """Compute the figures of readings."""
    samples = correct = length = 0
    similarity = confidence = 0.0
    groups: list[dict[Any, GroupScore]] = [{}, {}, {}]
    for reading in readings:
        samples += 1
        correct += reading.correct
        similarity += reading.similarity
        confidence += reading.confidence
        length += len(reading.text)
        one = GroupScore(1, int(reading.correct))
        for group, key in zip(groups, (len(reading.label), reading.orientation, reading.height_group)):
            group[key] = group.get(key, GroupScore(0, 0)) + one
    n = max(1, samples)
    by_length, by_orientation, by_height = (_sorted(group) for group in groups)
    return Evaluation(
        name=name,
        samples=samples,
        accuracy=100 * correct / n,
        ned=100 * similarity / n,
        confidence=100 * confidence / n,
        length=length / n,
        by_length=by_length,
        by_orientation=by_orientation,
        by_height=by_height,
    )


def combine(evaluations: Sequence[Evaluation], name: str = "combined") -> Evaluation:
    """Return the means over several sets, every word counting the same."""
    samples = sum(e.samples for e in evaluations)

    def mean(figure: str) -> float:
        return sum(getattr(e, figure) * e.samples for e in evaluations) / max(1, samples)

    def joined(groups: str) -> dict[Any, GroupScore]:
        sums: dict[Any, GroupScore] = {}
        for e in evaluations:
            for key, group in getattr(e, groups).items():
                sums[key] = sums.get(key, GroupScore(0, 0)) + group
        return _sorted(sums)

    return Evaluation(
        name=name,
        samples=samples,
        accuracy=mean("accuracy"),
        ned=mean("ned"),
        confidence=mean("confidence"),
        length=mean("length"),
        by_length=joined("by_length"),
        by_orientation=joined("by_orientation"),
        by_height=joined("by_height"),
        dropped=sum(e.dropped for e in evaluations),
        unreadable=sum(e.unreadable for e in evaluations),
        seconds=sum(e.seconds for e in evaluations),
        timed=sum(e.timed for e in evaluations),
    )


def _sorted(groups: dict[Any, GroupScore]) -> dict[Any, GroupScore]:
    """Sort by the number a key is or begins with, other keys by name."""

    def order(key: int | str) -> tuple[int, str]:
        number = re.match(r"\d+", str(key))
        return (int(number[0]) if number else 0, str(key))

    return {key: groups[key] for key in sorted(groups, key=order)}
