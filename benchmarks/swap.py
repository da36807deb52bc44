"""What swapping the recognizer gains: RapidOCR's own against ours, on the same lines of the same pages.

    python benchmarks/swap.py FOLDER... [--model NAME|FILE] [--limit N] [--show N]

A folder holds `images/` and `gt.jsonl`, one object a page:
{"image": ..., "words": [{"poly": [[x, y], ...], "text": ..., "ignore": true}]}; "ignore" is optional, and texts may
be lines. Or it holds folders of cases, each with images of one text and its `expected.txt`.

RapidOCR's detector finds the lines once a page (no classifier); both recognizers get these, ours through the reader
with its defaults, RapidOCR's keeping lines of at least its default score.

Prints for each folder and recognizer, summed over its pages:
- precision, recall and F1 of the tokens between blanks, case kept, wherever they stand on the page. Tokens of which
  more than half lies in regions to be ignored do not count;
- the share of the truth's amounts (12.34) that are found whole where they stand, if it has any;
- seconds a page, without the detector's, and crops read beyond one a word, in percent of the words.

`--show N` names the N pages of each folder on which ours falls behind most, with the tokens that one of the two lacks.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from shapely import make_valid
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from clip4str_plugin import Reader, Recognition, Recognizer
from clip4str_plugin.reading.detectors import Detections, orient_detections

_TEXT_SCORE = 0.5  # RapidOCR's default
_AMOUNT = re.compile(r"\$?\d[\d,]*\.\d\d")


class Token(NamedTuple):
    """Text without blanks."""

    text: str
    polygon: np.ndarray  # (K, 2) pixels


@dataclass
class Score:
    """Sums over pages."""

    right: int = 0
    found: int = 0
    expected: int = 0
    amounts: int = 0
    whole_amounts: int = 0
    crops: int = 0
    words: int = 0
    seconds: float = 0.0
    behind: list[tuple[int, str, Counter[str]]] = field(default_factory=list)  # tokens right, page, tokens lacking


class Counting:
    """A recognizer that counts the crops it reads."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer, self.crops = recognizer, 0

    def __call__(self, crops: Iterable[Any], **options: Any) -> list[Recognition]:
        """Read crops."""
        crops = list(crops)
        self.crops += len(crops)
        return self.recognizer(crops, **options)

    @property
    def upright(self) -> Counting:
        """Itself: the crops of lines are all it gets."""
        self.recognizer = self.recognizer.upright
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recognizer, name)


class Found:
    """A detector that has found the lines of its page already."""

    max_side = 1 << 30  # no page is looked at in tiles: RapidOCR's recognizer does not get these either

    def __init__(self, boxes: np.ndarray) -> None:
        self.lines = orient_detections(list(boxes), [1.0] * len(boxes), "line")

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Give the lines."""
        return [self.lines]


def tokens(text: str, polygon: np.ndarray) -> list[Token]:
    """Cut text at its blanks, and its quad as if all characters were equally wide."""
    if len(polygon) != 4 or len(text.split()) == 1:
        return [Token(token, polygon) for token in text.split()]
    top_left, top_right, bottom_right, bottom_left = polygon

    def cut(match: re.Match[str]) -> np.ndarray:
        begin, end = (position / len(text) for position in match.span())
        top, bottom = top_right - top_left, bottom_right - bottom_left
        return np.stack(
            [top_left + begin * top, top_left + end * top, bottom_left + end * bottom, bottom_left + begin * bottom]
        )

    return [Token(match.group(), cut(match)) for match in re.finditer(r"\S+", text)]


def shape(polygon: np.ndarray) -> BaseGeometry:
    found = Polygon(polygon)
    return found if found.is_valid else make_valid(found)


def outside(found: list[Token], ignored: BaseGeometry) -> list[Token]:
    """The tokens of which at most half lies in the region."""
    kept = []
    for token in found:
        outline = shape(token.polygon)
        if ignored.is_empty or outline.intersection(ignored).area <= 0.5 * outline.area:
            kept.append(token)
    return kept


def whole_amounts(found: list[Token], expected: list[Token]) -> tuple[int, int]:
    """How many of the amounts expected are found as one token where they stand, and how many are expected."""
    amounts = [token for token in expected if _AMOUNT.fullmatch(token.text)]
    boxes = [(token.text, *token.polygon.min(axis=0), *token.polygon.max(axis=0)) for token in found]
    whole = 0
    for amount in amounts:
        (left, top), (right, bottom) = amount.polygon.min(axis=0), amount.polygon.max(axis=0)
        whole += any(
            # Currencies, marks and tax codes before and behind do not count.
            text.strip("$*:;-").rstrip("FTNBXAO") == amount.text.strip("$")
            and min(x1, right) - max(x0, left) > 0.3 * min(x1 - x0, right - left)
            and min(y1, bottom) - max(y0, top) > 0.4 * min(y1 - y0, bottom - top)
            for text, x0, y0, x1, y1 in boxes
        )
    return whole, len(amounts)


def add(score: Score, page: str, found: list[Token], truth: list[dict[str, Any]]) -> None:
    read = [(word["text"], np.asarray(word["poly"], float), bool(word.get("ignore"))) for word in truth]
    ignored = unary_union([shape(polygon) for text, polygon, ignore in read if ignore or text == "###"])
    expected = [
        token for text, polygon, ignore in read if not ignore and text != "###" for token in tokens(text, polygon)
    ]
    found = outside(found, ignored)
    have, want = (Counter(token.text for token in some) for some in (found, expected))
    right = (have & want).total()
    whole, amounts = whole_amounts(found, expected)
    score.right += right
    score.found += have.total()
    score.expected += want.total()
    score.whole_amounts += whole
    score.amounts += amounts
    score.behind.append((right, page, want - have))


class Swap:
    """RapidOCR's detector with either recognizer behind it."""

    def __init__(self, model: str) -> None:
        from rapidocr import RapidOCR

        self.engine = RapidOCR(params={"Global.use_cls": False, "Global.log_level": "error"})
        # Up to 3.9 the constructor loads what it needs; later versions load at the first call.
        self.own = self.engine.text_rec or self.engine._load_rec_model()
        self.counting = Counting(Recognizer(model))

    def detect(self, page: np.ndarray) -> np.ndarray:
        """The lines of an RGB page, (N, 4, 2) pixels."""
        found: Any = self.engine(np.ascontiguousarray(page[..., ::-1]), use_rec=False)
        return np.zeros((0, 4, 2)) if found.boxes is None else np.asarray(found.boxes, np.float32)

    def rapidocr(self, page: np.ndarray, boxes: np.ndarray) -> tuple[list[Token], int, int]:
        """The tokens it reads, and how many crops and words that were."""
        from rapidocr.ch_ppocr_rec import TextRecInput

        if not len(boxes):
            return [], 0, 0
        crops = self.engine.crop_text_regions(np.ascontiguousarray(page[..., ::-1]), boxes)
        result = self.own(TextRecInput(img=crops))
        read = [
            token
            for text, score, box in zip(result.txts, result.scores, boxes)
            if score >= _TEXT_SCORE
            for token in tokens(text, box)
        ]
        return read, len(crops), len(crops)

    def ours(self, page: np.ndarray, boxes: np.ndarray) -> tuple[list[Token], int, int]:
        """The tokens it reads, and how many crops and words that were."""
        before = self.counting.crops
        (read,) = Reader(Found(boxes), self.counting).stream([page])  # type: ignore[arg-type]
        if read.error:
            raise RuntimeError(read.error)
        found = [Token(word.text, word.polygon) for word in read.words]
        return found, self.counting.crops - before, len(read.words) + len(read.left_out)


def load_truth(folder: Path) -> list[dict[str, Any]]:
    """The pages of a folder with their words; those of cases may stand anywhere on their page."""
    if (folder / "gt.jsonl").is_file():
        lines = (folder / "gt.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line]
    pages = []
    for expected in sorted(folder.glob("*/expected.txt")):
        for image in sorted(expected.parent.glob("*.png")):
            width, height = Image.open(image).size
            page = [[0, 0], [width, 0], [width, height], [0, height]]
            words = [{"poly": page, "text": word} for word in expected.read_text(encoding="utf-8").split()]
            pages.append({"image": str(image.relative_to(folder)), "words": words})
    return pages


def report(folder: Path, pages: int, scores: dict[str, Score]) -> list[str]:
    lines = [f"{folder.name}: {pages} pages, {scores['ours'].expected} words, {scores['ours'].amounts} amounts"]
    lines += ["            precision  recall     F1  amounts whole  s/page  extra crops"]
    for name, s in scores.items():
        f1 = 200 * s.right / max(1, s.found + s.expected)
        amounts = f"{100 * s.whole_amounts / s.amounts:.1f}" if s.amounts else "-"
        extra = f"{100 * (s.crops - s.words) / max(1, s.words):.0f} %"
        lines.append(
            f"  {name:8} {100 * s.right / max(1, s.found):>10.1f} {100 * s.right / max(1, s.expected):>7.1f} {f1:>6.1f}"
            f" {amounts:>14} {s.seconds / max(1, pages):>7.2f} {extra:>12}"
        )
    return lines


def worst(scores: dict[str, Score], count: int) -> list[str]:
    """The pages on which ours falls behind most."""
    pages = sorted(zip(scores["ours"].behind, scores["rapidocr"].behind), key=lambda pair: pair[0][0] - pair[1][0])
    lines = []
    for (right, page, lacking), (other_right, _, other_lacking) in pages[:count]:
        lines.append(f"  {page}: right {right} (ours), {other_right} (rapidocr)")
        lines.append(f"    only ours lacks: {' '.join((lacking - other_lacking).elements())}")
        lines.append(f"    only rapidocr lacks: {' '.join((other_lacking - lacking).elements())}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--limit", type=int, help="pages of each folder (default: all)")
    parser.add_argument("--show", type=int, default=0, help="pages to name (default: none)")
    args = parser.parse_args()
    swap = Swap(args.model)
    systems: dict[str, Callable[[np.ndarray, np.ndarray], tuple[list[Token], int, int]]]
    systems = {"rapidocr": swap.rapidocr, "ours": swap.ours}
    warm = True
    for folder in args.folders:
        truth = load_truth(folder)[: args.limit]
        scores = {name: Score() for name in systems}
        for entry in truth:
            page = np.asarray(ImageOps.exif_transpose(Image.open(folder / entry["image"])).convert("RGB"))
            boxes = swap.detect(page)
            for name, read in systems.items():
                if warm:  # the first call builds what is built once
                    read(page, boxes)
                begin = time.perf_counter()
                found, crops, words = read(page, boxes)
                score = scores[name]
                score.seconds += time.perf_counter() - begin
                score.crops += crops
                score.words += words
                add(score, entry["image"].removeprefix("images/"), found, entry["words"])
            warm = False
        print("\n".join([*report(folder, len(truth), scores), *worst(scores, args.show)]), flush=True)


if __name__ == "__main__":
    main()
