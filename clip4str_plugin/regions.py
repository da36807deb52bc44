"""The words within detected regions of a page: where they are, straightened, and read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.detectors import Detections
from clip4str_plugin.errors import PolygonError
from clip4str_plugin.lines import split_lines
from clip4str_plugin.orientation import Mode, Oriented, stands_on_end
from clip4str_plugin.rectification import rectify
from clip4str_plugin.word_reading import read_words

if TYPE_CHECKING:
    from clip4str_plugin.recognizer import Recognition

__all__ = ["Region", "cut_words", "read_regions", "split_each"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Region:
    """A word that was detected.

    Attributes:
        polygon: (K, 2) float32 pixels of the page, clockwise from what is taken for the text's top left corner.
        score: the detector's, in [0, 1]; that of the line where it finds lines.
        line: index of the detected region that it was cut from; words of one line share it.
        crop: uint8 (h, w, 3), straightened.
    """

    polygon: np.ndarray
    score: float
    line: int
    crop: np.ndarray


def cut_words(image: np.ndarray, detections: Detections) -> list[Region]:
    """Cut detected lines into words and straighten every word; what encloses no pixel is left out.

    Args:
        image: the page, uint8 (H, W, 3).
        detections: what a detector found on it.
    """
    polygons = detections.polygons
    lines = split_each(image, polygons) if detections.granularity == "line" else [[polygon] for polygon in polygons]
    regions = []
    for number, (words, score) in enumerate(zip(lines, detections.scores.tolist())):
        for word in words:
            with _leaving_out():
                regions.append(Region(word, score, number, rectify(image, word, start="top-left")))
    return regions


def read_regions(
    pages: Sequence[Sequence[Region]],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    orientation: Mode = "auto",
) -> list[Oriented[Recognition]]:
    """Read the words of several pages together.

    Args:
        pages: for each page its words.
        recognize: reads crops; a ``Recognizer``, say.
        orientation: which words are tried in other directions, see ``settle_orientation``.

    Returns:
        for each word, page after page, its reading and the direction it was read in.
    """
    regions = [region for page in pages for region in page]
    return read_words(
        [region.crop for region in regions],
        recognize,
        orientation=orientation,
        on_end=[orientation != "off" and stands_on_end(region.polygon) for region in regions],
        lines=[(number, region.line) for number, page in enumerate(pages) for region in page],
    )


def split_each(image: np.ndarray, polygons: list[np.ndarray]) -> list[list[np.ndarray]]:
    """The words of each line as ``split_lines`` gives them, none for a line that encloses no pixel."""
    try:
        return split_lines(image, polygons, start="top-left")
    except PolygonError:  # all at once is faster, but one spoils it
        lines: list[list[np.ndarray]] = []
        for polygon in polygons:
            words: list[np.ndarray] = []
            with _leaving_out():
                (words,) = split_lines(image, [polygon], start="top-left")
            lines.append(words)
        return lines


@contextmanager
def _leaving_out() -> Iterator[None]:
    try:
        yield
    except PolygonError as error:
        logger.info("a detected region is left out: %s", error)
