"""Reading crops that hold a whole line, as line detectors give them, with a recognizer that reads single words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from clip4str_plugin.recognizer import Recognition, Recognizer

__all__ = ["LineReading", "WordReading", "read_lines"]


@dataclass(frozen=True)
class WordReading:
    """One word of a line.

    Attributes:
        recognition: what it says.
        left: where it begins, as a share of the width of the line crop.
        right: where it ends, likewise.
    """

    recognition: Recognition
    left: float
    right: float


@dataclass(frozen=True)
class LineReading:
    """The words of one line crop, left to right; words that were read as nothing are left out."""

    words: tuple[WordReading, ...]

    @property
    def text(self) -> str:
        """The words with one blank between them."""
        return " ".join(word.recognition.text for word in self.words)

    @property
    def confidence(self) -> float:
        """Mean confidence of the characters of the whole line; 0.0 where nothing was read.

        Hosts whose own recognizers decode by CTC report the same quantity, so the thresholds they compare it with keep
        their meaning. A product over a line would fall with its length instead.
        """
        return mean_confidence([word.recognition for word in self.words])


def mean_confidence(recognitions: Sequence[Recognition]) -> float:
    """Mean over all characters of all recognitions, 0.0 without any."""
    characters = [value for recognition in recognitions for value in recognition.char_confidences]
    return float(np.mean(characters)) if characters else 0.0


def read_lines(
    recognizer: Recognizer, crops: Sequence[np.ndarray], *, color: Literal["rgb", "bgr"] = "rgb"
) -> list[LineReading]:
    """Cut upright line crops into words at their blanks, read the words and put the lines together again.

    >>> import numpy as np
    >>> from clip4str_plugin import Recognizer, load_model
    >>> line = np.full((32, 320, 3), 255, np.uint8)
    >>> [reading.text for reading in read_lines(Recognizer(load_model("tiny")), [line])]  # doctest: +SKIP
    ['']

    Args:
        recognizer: reads the words, those of all lines in shared batches.
        crops: uint8 arrays (h, w, 3) or (h, w), one line of text each.
        color: order of the crops' channels.

    Returns:
        one reading a crop, in the order of the crops.
    """
    from clip4str_plugin.lines import find_words_in
    from clip4str_plugin.long_words import longest_text, read_long_words

    spans: list[list[tuple[float, float]]] = [[] for _ in crops]
    filled = [index for index, crop in enumerate(crops) if crop.size]
    for index, found in zip(filled, find_words_in([crops[index] for index in filled])):
        spans[index] = found
    words: list[np.ndarray] = []  # views: they take no memory of their own
    for crop, pieces in zip(crops, spans):
        width = crop.shape[1]
        for left, right in pieces:
            start = min(int(left * width), width - 1)
            words.append(crop[:, start : max(start + 1, round(right * width))])

    recognitions = iter(
        read_long_words(
            words,
            recognizer(words, color=color),
            lambda parts: recognizer(parts, color=color),
            longest_text(recognizer),
        )
    )
    readings = []
    for pieces in spans:
        read = [WordReading(next(recognitions), left, right) for left, right in pieces]
        readings.append(LineReading(tuple(word for word in read if word.recognition.text)))
    return readings
