"""The words within detected regions of a page: cut, straightened, and read the way round that reads best."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.errors import PolygonError
from clip4str_plugin.geometry.rectification import rectify
from clip4str_plugin.options import Orientation
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.line_splitting import split_lines
from clip4str_plugin.reading.long_words import read_long_words
from clip4str_plugin.reading.orientation import Oriented, certainty, resolve_orientation, stands_on_end

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["Region", "cut_words", "read_regions", "read_words", "split_each"]

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
    orientation: Orientation = "auto",
) -> list[Oriented[Recognition]]:
    """Read the words of several pages together.

    Args:
        pages: for each page its words.
        recognize: reads crops; a ``Recognizer``, say.
        orientation: which words are tried in other directions, see ``resolve_orientation``.

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


def read_words(
    crops: Sequence[np.ndarray],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    *,
    orientation: Orientation = "auto",
    on_end: Sequence[bool] | None = None,
    lines: Sequence[Hashable] | None = None,
    max_length: int | None = None,
) -> list[Oriented[Recognition]]:
    """Read crops of words as well as the recognizer can.

    Args:
        crops: uint8 (h, w, 3) or (h, w), as ``rectify`` gives them.
        recognize: reads crops; a ``Recognizer``, say.
        orientation: which crops are tried in other directions, see ``resolve_orientation``.
        on_end: for each crop whether it stood on end on its page; None: none did.
        lines: for each crop the line it is a word of; words of a line all run the way that most of it is read best.
            None: every crop is a line of its own.
        max_length: the most characters ``recognize`` says; None: what ``longest_text`` finds out.

    Returns:
        for each crop its reading and its direction.
    """
    readings = recognize(list(crops))
    settled = resolve_orientation(crops, readings, recognize, orientation, on_end)
    against = _against_their_line(settled, lines) if lines is not None else []
    again = recognize([np.rot90(crops[index], turns) for index, turns in against]) if against else []
    for (index, turns), reading in zip(against, again):
        settled[index] = Oriented(reading, turns)
    flat = [index for index, item in enumerate(settled) if not item.stacked]
    upright = [np.rot90(crops[index], settled[index].turns) for index in flat]
    whole = read_long_words(upright, [settled[index].reading for index in flat], recognize, max_length)
    for index, reading in zip(flat, whole):
        settled[index] = replace(settled[index], reading=reading)
    return settled


def _against_their_line(settled: Sequence[Oriented[Recognition]], lines: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The words that were read in another direction than their line runs, and that direction in quarter turns."""
    members: dict[Hashable, list[int]] = {}
    for index, line in enumerate(lines):
        members.setdefault(line, []).append(index)
    against: list[tuple[int, int]] = []
    for words in members.values():
        ways: dict[tuple[int, bool], float] = {}
        for item in (settled[index] for index in words):
            weight = certainty(item.reading) * len(item.reading.text)
            ways[item.turns, item.stacked] = ways.get((item.turns, item.stacked), 0.0) + weight
        if len(ways) > 1:
            turns, _ = max(ways, key=lambda way: ways[way])
            against += [(i, turns) for i in words if settled[i].turns != turns or settled[i].stacked]
    return against
