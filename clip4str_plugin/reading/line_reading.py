"""Reading crops that hold a whole line, as line detectors give them, with a recognizer that reads single words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from clip4str_plugin.options import Orientation
    from clip4str_plugin.page import Word
    from clip4str_plugin.reading.detectors import Detections
    from clip4str_plugin.reading.orientation import Oriented
    from clip4str_plugin.reading.recognizer import Recognition, Recognizer

__all__ = ["LineReading", "WordReading", "mean_confidence", "read_lines", "read_lines_of_page"]


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
    """The words of one line crop, in reading order; words that were read as nothing are left out."""

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


def mean_confidence(readings: Sequence[Recognition | Word]) -> float:
    """Mean over the characters of all readings, 0.0 without any."""
    characters = [value for reading in readings for value in reading.char_confidences]
    return float(np.mean(characters)) if characters else 0.0


def read_lines(
    recognizer: Recognizer,
    crops: Sequence[np.ndarray],
    *,
    color: Literal["rgb", "bgr"] = "rgb",
    orientation: Orientation = "auto",
) -> list[LineReading]:
    """Cut line crops into words at their blanks, read the words and put the lines together again.

    >>> import numpy as np
    >>> from clip4str_plugin import Recognizer, load_model
    >>> line = np.full((32, 320, 3), 255, np.uint8)
    >>> [reading.text for reading in read_lines(Recognizer(load_model("tiny")), [line])]  # doctest: +SKIP
    ['']

    Args:
        recognizer: reads the words, those of all lines in shared batches.
        crops: uint8 arrays (h, w, 3) or (h, w), one line of text each.
        color: order of the crops' channels.
        orientation: which words are tried in other directions, see ``resolve_orientation``; a line that is upside down
            is given the right way round.

    Returns:
        one reading a crop, in the order of the crops.
    """
    from clip4str_plugin.reading.detectors import Detections
    from clip4str_plugin.reading.long_words import longest_text
    from clip4str_plugin.reading.region_reading import read_regions
    from clip4str_plugin.reading.regions import cut_words

    regions = []
    for crop in crops:
        height, width = crop.shape[:2]
        whole = [np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)] if crop.size else []
        regions.append(cut_words(crop, Detections(whole, np.ones(len(whole)), "line")))
    upright = getattr(recognizer, "upright", recognizer)
    found = read_regions(
        regions, lambda views: upright(views, color=color), orientation, max_length=longest_text(recognizer)
    )
    widths = [crop.shape[1] for crop in crops]
    return [
        _line([(item, region.polygon[:, 0].min() / width, region.polygon[:, 0].max() / width) for region, item in line])
        for line, width in zip(found, widths)
    ]


def read_lines_of_page(
    recognizer: Recognizer,
    page: np.ndarray,
    lines: Detections,
    *,
    orientation: Orientation = "auto",
) -> list[LineReading]:
    """Cut detected lines into words on the page itself, straighten and read the words, and put the lines together.

    Args:
        recognizer: reads the words, those of all lines in shared batches.
        page: uint8 RGB (H, W, 3).
        lines: what a detector of lines found on it.
        orientation: which words are tried in other directions, see ``resolve_orientation``; a line that is upside down
            is given the right way round.

    Returns:
        one reading a line, in their order; without words where a line encloses no pixel.
    """
    from clip4str_plugin.reading.region_reading import read_regions
    from clip4str_plugin.reading.regions import cut_words

    (found,) = read_regions([cut_words(page, lines)], recognizer, orientation)
    words: list[list[tuple[Oriented[Recognition], float, float]]] = [[] for _ in lines.polygons]
    for region, item in found:
        left, right = _extent(region.polygon, lines.polygons[region.line])
        words[region.line].append((item, left, right))
    return [_line(items) for items in words]


def _line(words: Sequence[tuple[Oriented[Recognition], float, float]]) -> LineReading:
    """Put words, with their left and right ends, together to a line, in reading order."""
    if words and words[0][0].turns == 2:  # the whole line is upside down
        words = [(item, 1 - right, 1 - left) for item, left, right in reversed(words)]
    read = [WordReading(item.reading, left, right) for item, left, right in words]
    return LineReading(tuple(word for word in read if word.recognition.text))


def _extent(word: np.ndarray, line: np.ndarray) -> tuple[float, float]:
    """Where a word begins and ends along a line, as shares of its length."""
    half = len(line) // 2
    start = (line[0] + line[-1]) / 2
    along = (line[half - 1] + line[half]) / 2 - start
    shares = (word - start) @ along / max(float(along @ along), 1e-6)
    return float(np.clip(shares.min(), 0, 1)), float(np.clip(shares.max(), 0, 1))
