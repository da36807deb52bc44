"""Word accuracy and edit distance of a recognizer on labelled crops, by the protocol of the published tests."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

import numpy as np

from clip4str_plugin.datasets import WordDataset, open_dataset
from clip4str_plugin.errors import Clip4StrError, ImageError
from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_36, CHARSET_62, CHARSET_94
from clip4str_plugin.recognizer import Recognizer

__all__ = ["CHARSETS", "Evaluation", "LengthScore", "Reading", "add_arguments", "combine", "evaluate", "main"]

# Test charsets of the published protocol by their number of characters; 36 is the usual one.
CHARSETS = {"36": CHARSET_36, "62": CHARSET_62, "94": CHARSET_94}


@dataclass(frozen=True)
class LengthScore:
    """Words of one length.

    Attributes:
        samples: how many labels have this length.
        correct: how many of them were read without a mistake.
    """

    samples: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Word accuracy in percent."""
        return 100 * self.correct / self.samples


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a set.

    Attributes:
        name: of the set.
        samples: words read and compared.
        accuracy: words read exactly, in percent.
        ned: 1-NED in percent: the mean over all words of 1 - Levenshtein(reading, label) / length of the longer one.
        confidence: mean confidence of the readings, in percent.
        length: mean number of characters of the readings.
        by_length: scores by length of the label in characters, in ascending order.
        dropped: labels left out because they are too long or nothing is left of them in the charset.
        unreadable: samples left out because their image or label is damaged.
        seconds: time for reading the set, images included.
    """

    name: str
    samples: int
    accuracy: float
    ned: float
    confidence: float
    length: float
    by_length: dict[int, LengthScore] = field(default_factory=dict)
    dropped: int = 0
    unreadable: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Reading:
    """One sample of an evaluation.

    Attributes:
        source: what names the sample: a file, or a set and a key.
        label: reduced to the charset.
        text: what was read, reduced to the charset.
        confidence: of the recognizer, between 0 and 1.
    """

    source: str
    label: str
    text: str
    confidence: float


def evaluate(
    recognizer: Recognizer,
    dataset: WordDataset,
    charset: str = CHARSET_36,
    *,
    on_reading: Callable[[Reading], None] | None = None,
    on_unreadable: Callable[[ImageError], None] | None = None,
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
        on_reading: called with each sample, in order.
        on_unreadable: called with the error of each damaged image.

    >>> from clip4str_plugin import Recognizer, load_model
    >>> from clip4str_plugin.datasets import open_dataset
    >>> evaluate(Recognizer(load_model("tiny")), open_dataset("IIIT5k")).accuracy  # doctest: +SKIP
    80.1
    """
    from rapidfuzz.distance import Levenshtein

    reduce = CharsetFilter(charset)
    pending: deque[tuple[int, str]] = deque()  # filled by the recognizer's background thread
    left_out = {"dropped": dataset.dropped, "unreadable": dataset.corrupt}

    def crops() -> Iterator[np.ndarray]:
        for index in range(len(dataset)):
            label = reduce(dataset.label(index))
            if not label:
                left_out["dropped"] += 1
                continue
            try:
                crop, _ = dataset[index]
            except ImageError as error:
                left_out["unreadable"] += 1
                if on_unreadable:
                    on_unreadable(error)
                continue
            pending.append((index, label))
            yield crop

    samples = correct = 0
    similarity = confidence = length = 0.0
    by_length: dict[int, LengthScore] = {}
    start = time.perf_counter()
    for recognition in recognizer.stream(crops()):
        index, label = pending.popleft()
        text = reduce(recognition.text)
        samples += 1
        correct += text == label
        similarity += 1 - Levenshtein.distance(text, label) / max(len(text), len(label))
        confidence += recognition.confidence
        length += len(text)
        score = by_length.get(len(label), LengthScore(0, 0))
        by_length[len(label)] = LengthScore(score.samples + 1, score.correct + (text == label))
        if on_reading:
            on_reading(Reading(dataset.source(index), label, text, recognition.confidence))
    n = max(1, samples)
    return Evaluation(
        name=dataset.name,
        samples=samples,
        accuracy=100 * correct / n,
        ned=100 * similarity / n,
        confidence=100 * confidence / n,
        length=length / n,
        by_length=dict(sorted(by_length.items())),
        seconds=time.perf_counter() - start,
        **left_out,
    )


def combine(evaluations: Sequence[Evaluation], name: str = "combined") -> Evaluation:
    """Return the means over several sets, every word counting the same."""
    samples = sum(e.samples for e in evaluations)

    def mean(figure: str) -> float:
        return sum(getattr(e, figure) * e.samples for e in evaluations) / max(1, samples)

    by_length: dict[int, LengthScore] = {}
    for length in sorted({length for e in evaluations for length in e.by_length}):
        scores = [e.by_length[length] for e in evaluations if length in e.by_length]
        by_length[length] = LengthScore(sum(s.samples for s in scores), sum(s.correct for s in scores))
    return Evaluation(
        name=name,
        samples=samples,
        accuracy=mean("accuracy"),
        ned=mean("ned"),
        confidence=mean("confidence"),
        length=mean("length"),
        by_length=by_length,
        dropped=sum(e.dropped for e in evaluations),
        unreadable=sum(e.unreadable for e in evaluations),
        seconds=sum(e.seconds for e in evaluations),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that only ``clip4str evaluate`` has."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folder with labels.tsv, or with LMDB sets below")
    parser.add_argument(
        "--charset",
        choices=list(CHARSETS),
        default="36",
        help="characters that count: 0-9a-z with case ignored (36), both cases (62), punctuation too (94)",
    )
    parser.add_argument("--by-length", action="store_true", help="also print the accuracy for each length of word")
    parser.add_argument("--errors", metavar="FILE", help="write misread words: image, label, text, confidence (TSV)")
    parser.add_argument("--format", choices=["text", "json"], default="text")


def main(args: argparse.Namespace, load: Callable[[dict[str, Any]], Recognizer]) -> int:
    """Run ``clip4str evaluate``: the table or JSON on standard output, all else on standard error.

    Args:
        args: parsed with :func:`add_arguments`.
        load: returns the recognizer for these changes to the model's configuration.

    Returns:
        exit status: 1 if a set, or a sample of one, could not be read.
    """
    # The published tests reduce the captions to the charset of the test as well, which changes the readings.
    recognizer = load({"caption_charset": CHARSETS[args.charset]})
    with open(args.errors, "w", encoding="utf-8", newline="") if args.errors else nullcontext() as errors:
        done = [_evaluate_path(path, recognizer, CHARSETS[args.charset], errors) for path in args.paths]
    evaluations = [e for e in done if e is not None]
    failed = len(evaluations) < len(done) or any(e.unreadable for e in evaluations)
    if len(evaluations) > 1:
        evaluations.append(combine(evaluations))
    if args.format == "json":
        print(json.dumps([asdict(e) for e in evaluations]))
    else:
        print(_table(evaluations, args.by_length))
    return int(failed)


def _evaluate_path(path: str, recognizer: Recognizer, charset: str, errors: TextIO | None) -> Evaluation | None:
    """Evaluate one set with a progress bar; report a set that cannot be opened, and return None."""
    from tqdm import tqdm

    try:
        dataset = open_dataset(path, on_error="skip")
    except Clip4StrError as error:
        print(f"error: {error}", file=sys.stderr)
        return None
    with tqdm(total=len(dataset), desc=dataset.name, unit="word", disable=None, leave=False) as bar:

        def note(reading: Reading) -> None:
            bar.update()
            if errors and reading.text != reading.label:
                row = [reading.source, reading.label, reading.text, f"{reading.confidence:.4f}"]
                csv.writer(errors, delimiter="\t", lineterminator="\n").writerow(row)

        def complain(error: ImageError) -> None:
            bar.write(f"left out: {error}", file=sys.stderr)

        return evaluate(recognizer, dataset, charset, on_reading=note, on_unreadable=complain)


def _table(evaluations: Sequence[Evaluation], by_length: bool) -> str:
    width = max([len(e.name) for e in evaluations] + [len("set")])
    lines = [f"{'set':<{width}}  words  accuracy  1-NED  confidence  length  left out  words/s"]
    for e in evaluations:
        lines.append(
            f"{e.name:<{width}}  {e.samples:>5}  {e.accuracy:>8.2f}  {e.ned:>5.2f}  {e.confidence:>10.2f}  "
            f"{e.length:>6.2f}  {e.dropped + e.unreadable:>8}  {e.samples / max(e.seconds, 1e-9):>7.1f}"
        )
        if by_length:
            for length, score in e.by_length.items():
                label = f"  {length} characters"
                lines.append(f"{label:<{width}}  {score.samples:>5}  {score.accuracy:>8.2f}")
    return "\n".join(lines)
