"""Lines of real words: crops pasted side by side, and single words that have no blank."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import cv2
import numpy as np
from PIL import Image

from clip4str_plugin.reading.splitter import HEIGHT, STRIDE, splitter_answers, to_strip

__all__ = ["PastedLines"]

# Share of single words among the lines, and of those with a seam that is no blank, so that seams tell nothing.
_SINGLE, _SEAMED = 0.5, 0.5
# Height of capitals in a word's crop, and the blanks between two, in it.
_CAP, _BLANKS = 0.75, (0.12, 0.5)
# Share of words followed by one of the same photo: crops stand in their photos' order, so it is at most so far away.
_SAME, _NEAR = 0.7, 3
_SURE = 0.55
_TRIES = 8


class PastedLines:
    """Lines made of real word crops.

    Where a word begins and ends in its crop the network in use tells; what is taught is what lies between.

    Args:
        folders: each with `labels.tsv`, one line a crop: file, tab, text.
        seed: names the stream; line number i of it is always the same.
    """

    def __init__(self, folders: Sequence[str | Path], seed: int = 0) -> None:
        self.seed = seed
        self._sets: list[list[Path]] = []
        for folder in map(Path, folders):
            rows = [line.split("\t", 1) for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines()]
            self._sets.append([folder / file for file, text in rows if len(text) > 1 and text.isalnum()])

    def __call__(self, index: int) -> tuple[np.ndarray, list[tuple[float, float]]]:
        """Line number `index`: crop (h, w, 3) uint8 and the left and right end of each word in pixels."""
        rng = Random(f"{self.seed}:pasted:{index}")
        crops = rng.choice(self._sets)
        at = rng.randrange(len(crops))
        near = crops[max(0, at - _NEAR) : at + _NEAR] if rng.random() < _SAME else crops
        line, span = self._word(rng, near, crops)
        spans = [span]
        if rng.random() < _SINGLE:
            if rng.random() < _SEAMED:
                seam = round(rng.uniform(*span))
                line[:, seam:] += np.array([rng.gauss(0, 8) for _ in range(3)], np.float32)
                _smooth(line, seam)
        else:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                line, span = _beside(rng, line, spans[-1][1], *self._word(rng, near, crops, line.shape[0]))
                spans.append(span)
        return np.clip(line, 0, 255).astype(np.uint8), spans

    def _word(
        self, rng: Random, near: Sequence[Path], crops: Sequence[Path], height: int | None = None
    ) -> tuple[np.ndarray, tuple[float, float]]:
        """A word, (height, w, 3) float32, and where it begins and ends."""
        tries = 0
        while (found := _load(rng.choice(near if tries < _TRIES else crops))) is None:
            tries += 1
        pixels, left, right = found
        height = height or min(max(pixels.shape[0], 14), 48)
        width = max(4, round(pixels.shape[1] * height / pixels.shape[0] * rng.uniform(0.85, 1.15)))
        scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        return scaled, (left * width, right * width)


@cache
def _load(path: Path) -> tuple[np.ndarray, float, float] | None:
    """A crop, and where its word begins and ends in shares of its width; None where that is not to be seen."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    height, width = pixels.shape[:2]
    if not 0.8 * height < width < 8 * height or height < 8:
        return None
    word = np.flatnonzero(splitter_answers(to_strip(pixels)[None])[0] > _SURE)
    columns = width * HEIGHT / height / STRIDE
    return (pixels, word[0] / columns, min(1.0, (word[-1] + 1) / columns)) if len(word) > 0.4 * columns else None


def _beside(
    rng: Random, line: np.ndarray, end: float, word: np.ndarray, span: tuple[float, float]
) -> tuple[np.ndarray, tuple[float, float]]:
    """A line with a word more, and where that begins and ends."""
    gap = max(2, round(rng.uniform(*_BLANKS) * _CAP * line.shape[0]))
    before = rng.randint(0, gap)
    line = _to_width(line, round(end) + before)
    first = round(span[0]) - (gap - before)
    word = word[:, first:] if first > 0 else np.pad(word, ((0, 0), (-first, 0), (0, 0)), mode="edge")
    tone = line[:, -3:].mean(axis=(0, 1)) - word[:, :3].mean(axis=(0, 1))
    joined = np.concatenate([line, word + rng.uniform(0.6, 1.0) * tone], axis=1)
    _smooth(joined, line.shape[1])
    shift = line.shape[1] - first
    return joined, (span[0] + shift, span[1] + shift)


def _to_width(line: np.ndarray, width: int) -> np.ndarray:
    return np.pad(line[:, :width], ((0, 0), (0, max(0, width - line.shape[1])), (0, 0)), mode="edge")


def _smooth(line: np.ndarray, seam: int) -> None:
    part = line[:, max(0, seam - 2) : seam + 2]
    if part.shape[1]:
        part[:] = cv2.blur(part, (3, 1))
