"""A page on its way: detected and straightened, then read, then with its words in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.page import Page, Word

if TYPE_CHECKING:
    from clip4str_plugin.options import Confidence, ReadOptions
    from clip4str_plugin.reading.detectors import Detections
    from clip4str_plugin.reading.recognizer import Recognition
    from clip4str_plugin.reading.regions import ReadRegion, Region

__all__ = ["Draft", "one_line"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Piece:
    """A word that was read, before it has its place on the page."""

    polygon: np.ndarray
    score: float
    reading: Recognition
    line: int
    cut: bool  # from a line, whose outline it has above and below
    alone: bool = False  # one of two detectors found it, and the other one nothing there
    doubtful: bool = False


@dataclass(eq=False)
class Draft:
    """A page whose words are detected and straightened, but not read, nor are rivals settled.

    Attributes:
        image: the page; None if it is none.
        regions: its words, and what else may be words.
        seconds: time spent on it so far, stage by stage.
        error: why it has no regions; None if all went well.
        detector: as in `Page`.
        rivals: whether two detectors found the regions.
    """

    image: np.ndarray | None
    regions: list[Region] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    detector: str = ""
    rivals: bool = False

    @classmethod
    def of(cls, image: np.ndarray, detections: Detections | Exception, seconds: float) -> Draft:
        """Cut what was detected into words.

        Args:
            image: the page.
            detections: what is on it, or why that is not known.
            seconds: it took to find it.
        """
        if isinstance(detections, Exception):
            usable = image if isinstance(image, np.ndarray) and image.ndim == 3 else None
            return cls(usable, error=f"no text could be detected: {one_line(detections)}")
        from clip4str_plugin.reading.regions import cut_words, lone_words

        begin = time.perf_counter()
        try:
            regions = cut_words(image, detections) + lone_words(image, detections)
        except Exception as error:  # what a detector of others gives may be anything
            logger.debug("straightening failed", exc_info=True)
            return cls(image, error=f"the text could not be read: {one_line(error)}")
        times = {"detect": seconds, "rectify": time.perf_counter() - begin}
        return cls(image, regions, times, detector=detections.detector, rivals=detections.rivals is not None)

    def page(self, found: Sequence[ReadRegion], seconds: float, options: ReadOptions, kind: Confidence) -> Page:
        """The page with its words in reading order, doubtful ones apart or marked.

        Args:
            found: its words as they were read.
            seconds: it took to read them.
            options: say which words are doubtful, and what becomes of them.
            kind: of the recognizer's confidences.
        """
        from clip4str_plugin.reading.orientation import turn_polygon

        if self.image is None or self.error is not None:
            return Page(self.image, error=self.error)
        pieces = [
            _Piece(
                turn_polygon(region.polygon, item.turns),
                region.score,
                item.reading,
                region.line,
                cut=region.pieces is not None,
            )
            for region, item in found
            if item.reading.text
        ]
        if self.rivals:
            pieces = _one_in_each_place(pieces, self.image, kind)
        pieces = _with_doubt(pieces, options.min_confidence, kind)
        words = _arrange([piece for piece in pieces if options.keep_doubtful or not piece.doubtful])
        left_out = [] if options.keep_doubtful else _arrange([piece for piece in pieces if piece.doubtful])
        return Page(
            self.image, words, {**self.seconds, "recognize": seconds}, left_out=left_out, detector=self.detector
        )


def _one_in_each_place(pieces: Sequence[_Piece], image: np.ndarray, kind: Confidence) -> list[_Piece]:
    """The best of what two detectors found, one word in each place, their outlines alike."""
    from clip4str_plugin.geometry.rectification import without_margins
    from clip4str_plugin.reading.rivals import keep_best, per_character

    best = keep_best(
        [piece.polygon for piece in pieces],
        [piece.reading.text for piece in pieces],
        [per_character(piece.reading, kind) for piece in pieces],
    )
    words = [replace(pieces[index], alone=not confirmed) for index, confirmed in best.items()]
    # Detectors of words leave no air above and below.
    return [replace(word, polygon=without_margins(image, word.polygon)) if word.cut else word for word in words]


def _with_doubt(pieces: Sequence[_Piece], min_confidence: float, kind: Confidence) -> list[_Piece]:
    """The words of a page, doubtful ones marked."""
    from clip4str_plugin.geometry.grouping import Runs, group_lines
    from clip4str_plugin.reading.doubt import find_doubtful

    lines = group_lines(Runs.of([piece.polygon for piece in pieces]), [piece.line for piece in pieces])
    readings = [piece.reading for piece in pieces]
    doubtful = find_doubtful(readings, lines, min_confidence, kind, [piece.alone for piece in pieces])
    return [replace(piece, doubtful=doubt) for piece, doubt in zip(pieces, doubtful)]


def _arrange(found: Sequence[_Piece]) -> list[Word]:
    """Put words into lines, lines into blocks, and all into reading order."""
    from clip4str_plugin.geometry.reading_order import reading_order

    blocks = reading_order(
        [piece.polygon for piece in found],
        [piece.line for piece in found],
        [piece.reading.text for piece in found],
    )
    lines = [(number, line) for number, block in enumerate(blocks) for line in block]
    return [
        Word(
            text=piece.reading.text,
            confidence=piece.reading.confidence,
            polygon=piece.polygon,
            line=line_number,
            block=block_number,
            objectness=piece.score,
            char_confidences=piece.reading.char_confidences,
            doubtful=piece.doubtful,
        )
        for line_number, (block_number, line) in enumerate(lines)
        for piece in (found[index] for index in line)
    ]


def one_line(error: Exception) -> str:
    """What an error says, in one line, with its type unless it is one of this package."""
    text = " ".join(str(error).split())
    return text if isinstance(error, Clip4StrError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
