"""Cut words into parts, to get more training crops from few words."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.data.tools import new_set
from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_36
from clip4str_plugin.model.ppocr_weights import bundled_recognizer

__all__ = ["LetterFinder", "write_word_parts"]

_HEIGHT, _MIN_WIDTH = 48, 320  # what the recognizer was trained on, in pixels
_MIN_LENGTH = 4
_MIN_ELONGATION = 1.4  # a vertical cut through a steeply sloping word goes through two letters
_MIN_PART = 6  # pixels
_JITTER = 0.08  # of the mean distance of letters


class LetterFinder:
    """Tells where in a crop its letters are, by the columns at which PP-OCRv6-small's CTC recognizer names them."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(bundled_recognizer()), options, providers=["CPUExecutionProvider"]
        )
        characters = self._session.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._characters = ["", *characters, " "]  # CTC's blank comes first

    def __call__(self, crop: np.ndarray) -> tuple[str, np.ndarray]:
        """Read a crop.

        Args:
            crop: uint8 (H, W, 3) RGB.

        Returns:
            the text, spaces left out, and the middle of each of its n characters, (n,) pixels from the left.
        """
        height, width = crop.shape[:2]
        scaled = max(1, round(_HEIGHT * width / height))
        padded = max(_MIN_WIDTH, scaled)
        strip = np.zeros((1, 3, _HEIGHT, padded), np.float32)
        bgr = cv2.resize(crop, (scaled, _HEIGHT))[..., ::-1]
        strip[0, :, :, :scaled] = bgr.transpose(2, 0, 1) / 127.5 - 1
        classes = self._session.run(None, {self._session.get_inputs()[0].name: strip})[0][0].argmax(1)
        runs: list[tuple[int, int, int]] = []  # class, first and last column
        for column, found in enumerate(classes):
            if runs and runs[-1][0] == found:
                runs[-1] = (found, runs[-1][1], column)
            else:
                runs.append((found, column, column))
        letters = [(self._characters[c], (a + b + 1) / 2) for c, a, b in runs if self._characters[c].strip()]
        pixels = padded / len(classes) * width / scaled
        return "".join(text for text, _ in letters), np.array([place for _, place in letters]) * pixels


def write_word_parts(source: str | Path, target: str | Path, count: int = 3, seed: int = 0) -> dict[str, int]:
    """Cut the words of a set between letters, and write the parts as a set.

    A word is cut where the bundled recognizer reads its label, letters and digits, case ignored: only then is known
    where its letters are. Words of fewer than four characters, and crops less than 1.4 times as wide as high, which
    may hold sloping words, are left alone. Parts have at least two characters, and not all.

    Args:
        source: folder with ``labels.tsv``, or with LMDB sets at any depth.
        target: new folder, with ``labels.tsv`` and images as PNG.
        count: parts of a word; the same part is written once.
        seed: of the choice of parts.

    Returns:
        how many ``words`` were cut, and how many ``parts`` were written.

    Raises:
        DatasetError: the source cannot be opened, or the target exists.
    """
    dataset, find, same = open_dataset(source), LetterFinder(), CharsetFilter(CHARSET_36)
    rng, words, parts = np.random.default_rng(seed), 0, 0
    with new_set(target) as add:
        for index in range(len(dataset)):
            try:
                crop, label = dataset[index]
            except ImageError:
                continue
            length, (height, width) = len(label), crop.shape[:2]
            if length < _MIN_LENGTH or width < _MIN_ELONGATION * height:
                continue
            text, places = find(crop)
            if len(text) != length or same(text) != same(label):
                continue
            words += 1
            cuts = np.array([0, *(places[1:] + places[:-1]) / 2, width])
            jitter = _JITTER * (places[-1] - places[0]) / (length - 1)
            for first, last in {_part(length, rng) for _ in range(count)}:
                left, right = (
                    round(float(cuts[cut]) + (rng.uniform(-jitter, jitter) if 0 < cut < length else 0))
                    for cut in (first, last)
                )
                if right - left < _MIN_PART:
                    continue
                add(crop[:, left:right], label[first:last])
                parts += 1
    return {"words": words, "parts": parts}


def _part(length: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the first character of a part and the one after its last."""
    size = int(rng.integers(2 if length < 7 else 3, length))
    first = int(rng.integers(0, length - size + 1))
    return first, first + size
