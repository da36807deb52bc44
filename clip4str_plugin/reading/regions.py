"""The words of a page that may be there: detected, or cut from detected lines, and straightened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clip4str_plugin.errors import PolygonError
from clip4str_plugin.geometry.rectification import Straightened, other_views, straighten, views_in_line
from clip4str_plugin.geometry.text_strip import TextStrip
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.leaders import without_leaders
from clip4str_plugin.reading.line_splitting import find_pieces, split_lines
from clip4str_plugin.reading.lone_characters import find_lone_characters
from clip4str_plugin.reading.orientation import Oriented
from clip4str_plugin.reading.segmentation import Pieces, Span, alternatives, likeliest

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["ReadRegion", "Region", "Views", "cut_words", "leaving_out", "lone_words", "split_each"]

logger = logging.getLogger(__name__)

# Cuts a word out of its page in other ways.
Views: TypeAlias = Callable[[], Sequence[Straightened]]


@dataclass(frozen=True, eq=False)
class Region:
    """A word that was detected, or that may be there.

    Attributes:
        polygon: (K, 2) float32 pixels of the page, clockwise from what is taken for the text's top left corner.
        score: the detector's, in [0, 1]; that of the line where it finds lines.
        line: index of the detected region that it was cut from; words of one line share it.
        page: it lies on, uint8 (H, W, 3).
        pieces: of its line, see `clip4str_plugin.reading.segmentation`; None where words were detected.
        span: the pieces it is made of.
        likely: whether it is a word by the look of the blanks, and not one of the alternatives.
        beside: the line that it stands beside alone, see `clip4str_plugin.reading.lone_characters`; None: it is of one.
    """

    polygon: np.ndarray
    score: float
    line: int
    page: np.ndarray
    pieces: Pieces | None = None
    span: Span = (0, 0)
    likely: bool = True
    beside: int | None = None

    @property
    def crop(self) -> np.ndarray:
        """The word, straightened when it is first looked at: uint8 (h, w, 3).

        Raises:
            PolygonError: the polygon encloses no pixel of the page.
        """
        return self._straightened.crop

    @property
    def other_views(self) -> Views | None:
        """What cuts it out of its page in other ways; None where its four corners leave no doubt."""
        strip = self._straightened.strip
        if strip.drawn:
            return partial(other_views, self.page, strip)
        return None if self.pieces is None else partial(views_in_line, self.page, strip)

    @cached_property
    def _straightened(self) -> Straightened:
        return straighten(self.page, self.polygon, start="top-left")


# A word, what was read there, and in which direction.
ReadRegion: TypeAlias = "tuple[Region, Oriented[Recognition]]"


def cut_words(image: np.ndarray, detections: Detections) -> list[Region]:
    """Cut detected lines into words and straighten every word; what encloses no pixel is left out.

    Where it is doubtful whether a line has a blank, the other words that are possible follow those that are likely. The
    regions of ``detections.rivals`` come last, their lines numbered on.

    Args:
        image: the page, uint8 (H, W, 3).
        detections: what a detector found on it.
    """
    cut = _straighten if detections.granularity == "word" else _split
    regions = cut(image, detections)
    if detections.rivals is not None:
        rivals = cut_words(image, detections.rivals)
        regions += [replace(region, line=region.line + len(detections)) for region in rivals]
    return regions


def lone_words(image: np.ndarray, detections: Detections) -> list[Region]:
    """Characters that stand alone beside detected lines, straightened, their lines numbered on.

    Not on photos, where detectors are rivals: what looks like such characters is none there.

    Args:
        image: the page, uint8 (H, W, 3).
        detections: what a detector found on it.
    """
    if detections.granularity == "word" or detections.rivals is not None:
        return []
    regions: list[Region] = []
    for number, lone in enumerate(find_lone_characters(image, detections.polygons), len(detections)):
        with leaving_out():
            score = float(detections.scores[lone.line])
            regions.append(_seen(Region(lone.polygon, score, number, image, beside=lone.line)))
    return regions


def _straighten(image: np.ndarray, words: Detections) -> list[Region]:
    regions: list[Region] = []
    for number, (polygon, score) in enumerate(zip(words.polygons, words.scores.tolist())):
        with leaving_out():
            regions.append(_seen(Region(polygon, score, number, image)))
    return regions


def _split(image: np.ndarray, lines: Detections) -> list[Region]:
    regions: list[Region] = []
    strips: dict[int, TextStrip] = {}
    crops: list[np.ndarray] = []
    for number, polygon in enumerate(lines.polygons):
        with leaving_out():
            rest = without_leaders(image, TextStrip.of(polygon, "top-left"))
            if rest is not None:
                strips[number], crop = rest
                crops.append(crop)
    for (number, strip), pieces in zip(strips.items(), find_pieces(crops)):
        score = float(lines.scores[number])
        for span in likeliest(pieces):
            with leaving_out():
                regions.append(_seen(Region(strip.polygon(*pieces.extent(span)), score, number, image, pieces, span)))
        for span in alternatives(pieces):  # few of them are read, and only these are straightened
            word = strip.polygon(*pieces.extent(span))
            regions.append(Region(word, score, number, image, pieces, span, likely=False))
    return regions


def _seen(region: Region) -> Region:
    """The region, straightened already, so that a `PolygonError` is raised here."""
    _ = region.crop
    return region


def split_each(image: np.ndarray, polygons: list[np.ndarray]) -> list[list[np.ndarray]]:
    """The words of each line as ``split_lines`` gives them, none for a line that encloses no pixel."""
    try:
        return split_lines(image, polygons, start="top-left")
    except PolygonError:  # all at once is faster, but one spoils it
        lines: list[list[np.ndarray]] = []
        for polygon in polygons:
            words: list[np.ndarray] = []
            with leaving_out():
                (words,) = split_lines(image, [polygon], start="top-left")
            lines.append(words)
        return lines


@contextmanager
def leaving_out() -> Iterator[None]:
    """Go on after a `PolygonError`: the region is left out."""
    try:
        yield
    except PolygonError as error:
        logger.info("a detected region is left out: %s", error)
