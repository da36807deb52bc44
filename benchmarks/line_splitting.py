"""Word boundaries found in line crops, measured against boxes set by people.

    python benchmarks/line_splitting.py DATA [--word 0.6 0.7 0.8] [--limit N]

DATA holds `lines.jsonl` and the folder `images`. One line crop an object:
{"image": ..., "words": [{"box": [x0, y0, x1, y1], "text": ...}, ...], "tight": [i, ...]}, the words in order; `tight`
names the boundaries (after word i) where words are told apart without a visible blank, at punctuation.

A cut, taken in the middle between two words found, counts if it lies in the gap between two boxes or at most 0.15 of
the crop's height (2 pixels) beside it; each gap takes one cut. Prints precision, recall and F1 without the tight
boundaries (a cut there is neither right nor wrong) and with them, and the processor time one line takes: of the
splitter alone for each threshold, and with its doubtful cuts settled by reading with the embedded model.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clip4str_plugin import Recognizer
from clip4str_plugin.reading import line_splitting
from clip4str_plugin.reading.line_reading import read_lines

_BESIDE = 0.15


Words = list[tuple[float, float]]
"""Left and right end of each word of a line, in shares of its width."""


def split(crops: list[np.ndarray]) -> list[Words]:
    """The words of lines by the look of their blanks."""
    return [line_splitting.find_words(crop) for crop in crops]


def read(crops: list[np.ndarray]) -> list[Words]:
    """The words of lines as they are read."""
    lines = [line for begin in range(0, len(crops), 50) for line in read_lines(recognizer(), crops[begin : begin + 50])]
    return [[(word.left, word.right) for word in line.words] for line in lines]


@cache
def recognizer() -> Recognizer:
    return Recognizer("tiny")


def gaps_met(boxes: list[list[float]], cuts: list[float], height: int) -> list[int | None]:
    """For each cut the number of the gap it lies in, None if it lies in none that is still free; the nearest first."""
    beside = max(2.0, _BESIDE * height)
    gaps = [sorted((before[2], after[0])) for before, after in itertools.pairwise(boxes)]
    pairs = sorted(
        (abs(cut - (low + high) / 2), number, gap)
        for number, cut in enumerate(cuts)
        for gap, (low, high) in enumerate(gaps)
        if low - beside <= cut <= high + beside
    )
    met: list[int | None] = [None] * len(cuts)
    taken: set[int] = set()
    for _, number, gap in pairs:
        if met[number] is None and gap not in taken:
            met[number] = gap
            taken.add(gap)
    return met


def measure(
    rows: list[dict[str, Any]], crops: list[np.ndarray], find: Callable[[list[np.ndarray]], list[Words]]
) -> str:
    """One row of the table."""
    found = found_tight = wrong = boundaries = tight_boundaries = 0
    begin = time.process_time()
    for row, crop, words in zip(rows, crops, find(crops)):
        tight = set(row["tight"])
        boxes = [word["box"] for word in row["words"]]
        cuts = [(before[1] + after[0]) / 2 * crop.shape[1] for before, after in itertools.pairwise(words)]
        for gap in gaps_met(boxes, cuts, crop.shape[0]):
            wrong += gap is None
            found_tight += gap in tight
            found += gap is not None and gap not in tight
        boundaries += len(boxes) - 1 - len(tight)
        tight_boundaries += len(tight)
    seconds = time.process_time() - begin

    def scores(right: int, there: int) -> str:
        precision, recall = right / max(right + wrong, 1), right / max(there, 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        return f"{precision:6.3f} {recall:6.3f} {f1:6.3f}"

    without, with_tight = scores(found, boundaries), scores(found + found_tight, boundaries + tight_boundaries)
    return f"{without}   {with_tight}   {wrong:5} {boundaries - found:6} {1000 * seconds / len(rows):8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--word", type=float, nargs="*", help="thresholds to try in place of the one in use")
    parser.add_argument("--limit", type=int, help="lines (default: all)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = [json.loads(line) for line in (options.data / "lines.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = rows[: options.limit]
    crops = [cv2.imread(str(options.data / "images" / Path(row["image"]).name))[:, :, ::-1] for row in rows]
    split(crops[:1])  # these load the networks
    read(crops[:1])
    print(f"{len(rows)} lines, {sum(len(row['words']) - 1 for row in rows)} boundaries")
    print(f"{'':9}{'without tight':^20}   {'with tight':^20}")
    print(f"threshold{'P':>6} {'R':>6} {'F1':>6}   {'P':>6} {'R':>6} {'F1':>6}   wrong missed  ms/line")
    for word in options.word or [line_splitting._WORD]:
        line_splitting._WORD = word
        print(f"{word:9.2f}{measure(rows, crops, split)}", flush=True)
    if not options.word:
        print(f"{'read':9}{measure(rows, crops, read)}")


if __name__ == "__main__":
    main()
