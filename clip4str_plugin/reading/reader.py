"""From pages to words in reading order: detect, cut lines into words, straighten, recognize, arrange."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from clip4str_plugin.errors import Clip4StrError, ImageError
from clip4str_plugin.model.devices import cpu_threads
from clip4str_plugin.options import split_options
from clip4str_plugin.page import Page, Word

if TYPE_CHECKING:
    from doctr.io import Document
    from PIL.Image import Image

    from clip4str_plugin.geometry.polygons import Start
    from clip4str_plugin.io.images import PageImage, Unreadable
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.options import Confidence
    from clip4str_plugin.reading.detectors import Detections, Detector
    from clip4str_plugin.reading.recognizer import Recognition, Recognizer
    from clip4str_plugin.reading.regions import Region

__all__ = ["Reader", "Source"]

Source: TypeAlias = "str | PathLike[str] | Image | np.ndarray"

logger = logging.getLogger(__name__)


class Reader:
    """Reads pages from end to end.

    Several threads may use one reader: it keeps no state between pages. Of its threads, one at a time calls the
    detector, and one the recognizer unless that is a `clip4str_plugin.Recognizer`.

    >>> import numpy as np
    >>> from clip4str_plugin import Reader
    >>> document = Reader()([np.full((120, 300, 3), 255, np.uint8)])
    >>> document.pages[0].dimensions
    (120, 300)

    Args:
        detector: the name of an installed detector (see `clip4str_plugin.load_detector`) or a detector.
        recognizer: a recognizer, a model, or the name or file of one (see `clip4str_plugin.load_model`).
        **options: the fields of `clip4str_plugin.ReadOptions` and, unless the recognizer is built already, of
            `clip4str_plugin.RecognizerOptions`.

    Raises:
        TypeError: there is no such option.
        ValueError: an option is out of range, or one of the recognizer comes with a recognizer that is built already.
    """

    def __init__(
        self,
        detector: str | Detector = "auto",
        recognizer: Recognizer | CLIP4STR | str | Path = "tiny",
        **options: Any,
    ) -> None:
        from clip4str_plugin.reading.detectors import load_detector
        from clip4str_plugin.reading.recognizer import Recognizer, as_recognizer

        self.options, recognizing = split_options(options)
        self.detector = load_detector(detector)
        self.recognizer = as_recognizer(recognizer, **recognizing)
        self._detecting = threading.Lock()
        self._reading: AbstractContextManager[Any] = (
            nullcontext() if isinstance(self.recognizer, Recognizer) else threading.Lock()
        )

    def __call__(self, pages: Iterable[np.ndarray], *, straight: bool = False) -> Document:
        """Read pages into docTR's own document.

        Args:
            pages: uint8 RGB arrays (H, W, 3), of any sizes.
            straight: whether words get upright boxes in place of four corners. Some of docTR's exports
                (``export_as_xml``) take nothing else.

        Returns:
            a document with one page for each, geometry relative to the page's size, the detector's scores as
            objectness.

        Raises:
            Clip4StrError: a page could not be read; use `stream` to go on with the others.
        """
        from doctr.io import Document

        results = []
        for index, page in enumerate(self.stream(pages)):
            if page.error is not None:
                raise Clip4StrError(f"page {index}: {page.error}")
            results.append(page.to_doctr(index, straight=straight))
        return Document(results)

    def read(self, source: Source | Iterable[Source]) -> list[Page]:
        """Read files, folders, images or arrays.

        >>> import numpy as np
        >>> from clip4str_plugin import Reader
        >>> [page.text for page in Reader().read(np.full((120, 300, 3), 255, np.uint8))]
        ['']

        Args:
            source: the path of an image, a PDF or a folder of them; a Pillow image; an array, uint8, (H, W), (H, W, 3)
                RGB or (H, W, 4) RGBA; or several of these.

        Returns:
            all pages in order. A page that cannot be read has an ``error``; the others are read all the same.
        """
        from clip4str_plugin.reading.origins import pair, place

        return [place(origin, page) for origin, page in pair(_open(source), self.stream)]

    def stream(self, pages: Iterable[np.ndarray]) -> Iterator[Page]:
        """Read pages one after the other and yield each as soon as it is done, in order.

        Background threads, one more than processors but no more than four, take ``page_batch_size`` pages each from
        ``pages``, detect their words, straighten them and read them, in batches that these pages share; memory holds
        no more pages than these and those in use. A page that fails has an ``error`` and no words; the others are not
        affected.

        Args:
            pages: uint8 RGB arrays (H, W, 3), of any sizes.
        """
        from clip4str_plugin.prefetch import map_ahead

        if isinstance(pages, np.ndarray) and pages.ndim < 4:
            raise ImageError("this is one page: pass a list of pages, or use Reader.read")
        size = self.options.page_batch_size
        remaining = iter(pages)
        batches = iter(lambda: list(islice(remaining, size)), [])
        # One batch leaves nothing to overlap, and a thread would only add to the latency.
        few = isinstance(pages, Sized) and len(pages) <= size
        for batch in map(self._read_pages, batches) if few else map_ahead(self._read_pages, batches, _threads()):
            yield from batch
            del batch

    def read_regions(self, image: np.ndarray, polygons: Iterable[Any], *, start: Start = "any") -> list[list[Word]]:
        """Read given polygons of a page without a detector, for example annotations.

        Polygons may be quads or follow curved text, loosely or tightly, and hold one word or several. Polygons that are
        read with doubt are also read from other views (``other_views``).

        >>> import numpy as np
        >>> from clip4str_plugin import Reader
        >>> page = np.full((120, 300, 3), 255, np.uint8)
        >>> len(Reader().read_regions(page, [[[10, 10], [200, 10], [200, 50], [10, 50]]]))
        1

        Args:
            image: the page, uint8 (H, W, 3) RGB.
            polygons: (K, 2) pixels each, K >= 3, in any winding.
            start: ``"any"`` or ``"top-left"``: what the first point of a polygon means, see
                `clip4str_plugin.rectify`.

        Returns:
            for each polygon, in order, its words in reading order, possibly none. ``line`` is the index
            of the polygon, ``block`` is 0, ``objectness`` is 1. Words under ``min_confidence`` are there, marked as
            ``doubtful``.

        Raises:
            PolygonError: a polygon is malformed or off the page; it is named by its index.
            ImageError: the page is not a uint8 RGB array.
        """
        from clip4str_plugin.reading.detectors import check_page
        from clip4str_plugin.reading.doubt import find_doubtful
        from clip4str_plugin.reading.polygons import read_polygons

        check_page(image)
        readings = read_polygons(
            image,
            polygons,
            self.recognizer,
            orientation=self.options.orientation,
            other=self.options.other_views,
            start=start,
        )
        found = []
        for index, reading in enumerate(readings):
            own_line = [range(len(reading.words))]
            doubtful = find_doubtful(reading.words, own_line, self.options.min_confidence, self._confidence)
            found.append(
                [
                    Word(word.text, word.confidence, polygon, index, 0, 1.0, word.char_confidences, doubtful=doubt)
                    for word, polygon, doubt in zip(reading.words, reading.polygons, doubtful)
                ]
            )
        return found

    @property
    def _confidence(self) -> Confidence:
        """The kind of the recognizer's confidences; recognizers of others need not say it."""
        return getattr(getattr(self.recognizer, "options", None), "confidence", "product")

    def read_detected(
        self, pages: Sequence[np.ndarray], found: Sequence[Detections | Exception], seconds: float = 0.0
    ) -> list[Page]:
        """Read pages whose text was found already, by another process say.

        Pages that turn out to lie on their side or head are turned, searched by the reader's own detector and read
        again, unless ``orientation`` is "off".

        Args:
            pages: uint8 RGB arrays (H, W, 3), of any sizes.
            found: for each what is on it, as a detector gives it, or why that is not known.
            seconds: it took to find the text of each.

        Returns:
            all pages in order. One that fails has an ``error``; the others are read all the same.
        """
        read = self._read([_draft(image, detections, seconds) for image, detections in zip(pages, found)])
        return read if self.options.orientation == "off" else self._read_upright(read)

    def _read_pages(self, pages: list[np.ndarray]) -> list[Page]:
        return self.read_detected(pages, *self._detect_timed(pages))

    def _read_upright(self, pages: list[Page]) -> list[Page]:
        """Read the pages again that lie on their side or head."""
        from clip4str_plugin.reading.turned_pages import seen_upright, turns_to_upright

        turned: dict[int, int] = {}
        upright: list[np.ndarray] = []
        for index, page in enumerate(pages):
            turns = turns_to_upright(page.words)
            if turns and page.image is not None:
                turned[index] = turns
                upright.append(np.ascontiguousarray(np.rot90(page.image, turns)))
        if not turned:
            return pages
        found, seconds = self._detect_timed(upright)
        again = self._read([_draft(image, detections, seconds) for image, detections in zip(upright, found)])
        for (index, turns), page in zip(turned.items(), again):
            if page.error is None:
                pages[index] = seen_upright(page, turns, pages[index])
        return pages

    def _detect_timed(self, pages: Sequence[np.ndarray]) -> tuple[list[Detections | Exception], float]:
        """What `_detect` gives, and the seconds it took a page."""
        with self._detecting:
            begin = time.perf_counter()
            found = self._detect(pages)
            return found, (time.perf_counter() - begin) / len(pages)

    def _detect(self, images: Sequence[np.ndarray]) -> list[Detections | Exception]:
        """What the detector finds on each page, or why it fails on it."""
        from clip4str_plugin.reading.detectors import check_page
        from clip4str_plugin.reading.tiles import detect_pages

        try:
            for image in images:
                check_page(image)
            return list(detect_pages(self.detector, images))
        except Exception as error:  # a detector may raise anything; one page must not cost the others
            if len(images) == 1:
                logger.debug("detection failed", exc_info=True)
                return [error]
        return [result for image in images for result in self._detect([image])]

    def _read(self, drafts: list[_Draft]) -> list[Page]:
        try:
            with self._reading:
                begin = time.perf_counter()
                found = self._recognize([draft.regions for draft in drafts])
            seconds = (time.perf_counter() - begin) / max(1, sum(len(draft.regions) for draft in drafts))
            return [
                draft.page(
                    self._doubt(draft.settle(pieces, self._confidence)),
                    seconds * len(draft.regions),
                    self.options.keep_doubtful,
                )
                for draft, pieces in zip(drafts, found)
            ]
        except Exception as error:  # a recognizer may raise anything; one page must not cost the others
            if len(drafts) == 1:
                logger.debug("reading failed", exc_info=True)
                return [Page(drafts[0].image, error=f"the text could not be read: {_one_line(error)}")]
        return [page for draft in drafts for page in self._read([draft])]

    def _doubt(self, pieces: list[_Piece]) -> list[_Piece]:
        """The words of a page, doubtful ones marked."""
        from clip4str_plugin.geometry.grouping import Runs, group_lines
        from clip4str_plugin.reading.doubt import find_doubtful

        lines = group_lines(Runs.of([piece.polygon for piece in pieces]), [piece.line for piece in pieces])
        readings = [piece.reading for piece in pieces]
        alone = [piece.alone for piece in pieces]
        doubtful = find_doubtful(readings, lines, self.options.min_confidence, self._confidence, alone)
        return [replace(piece, doubtful=doubt) for piece, doubt in zip(pieces, doubtful)]

    def _recognize(self, pages: list[list[Region]]) -> list[list[_Piece]]:
        """Read the crops of several pages together."""
        from clip4str_plugin.reading.orientation import turn_polygon
        from clip4str_plugin.reading.region_reading import read_regions

        return [
            [
                _Piece(
                    turn_polygon(region.polygon, item.turns),
                    region.score,
                    item.reading,
                    region.line,
                    cut=region.pieces is not None,
                )
                for region, item in page
            ]
            for page in read_regions(
                pages, self.recognizer, self.options.orientation, other_views=self.options.other_views
            )
        ]


def _open(source: Source | Iterable[Source]) -> Iterator[PageImage | Unreadable]:
    """The pages of what `Reader.read` takes."""
    from PIL import Image

    from clip4str_plugin.io.images import PageImage, Unreadable, find_files, read_pages, to_rgb

    if isinstance(source, (str, PathLike)):
        for file in find_files([source]):
            yield from [file] if isinstance(file, Unreadable) else read_pages(file)
    elif isinstance(source, Image.Image):
        yield PageImage("", 0, to_rgb(source))
    elif isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (1,), (3,), (4,)):
            expected = "an array of uint8 and the shape (H, W), (H, W, 3) or (H, W, 4)"
            yield Unreadable(
                "", f"a page of {source.dtype} and the shape {source.shape} cannot be read: give {expected}"
            )
        else:
            yield PageImage("", 0, to_rgb(Image.fromarray(source.squeeze(2) if source.shape[2:] == (1,) else source)))
    elif isinstance(source, Iterable):
        for each in source:
            yield from _open(each)
    else:
        raise TypeError(f"a {type(source).__name__} cannot be read: give a path, an image, an array or several of them")


@dataclass(frozen=True, eq=False)
class _Piece:
    """A word that was read, before it has its place on the page."""

    polygon: np.ndarray
    score: float
    reading: Recognition
    line: int
    cut: bool = False  # from a line, whose outline it has above and below
    alone: bool = False  # one of two detectors found it, and the other one nothing there
    doubtful: bool = False


@dataclass(eq=False)
class _Draft:
    """A page on its way: its words are detected and straightened, but not read, nor are rivals settled."""

    image: np.ndarray | None
    regions: list[Region] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    detector: str = ""
    rivals: bool = False

    def settle(self, found: list[_Piece], kind: Confidence) -> list[_Piece]:
        """The words that were read; where detectors are rivals, one in each place, and their outlines alike."""
        from clip4str_plugin.geometry.rectification import without_margins
        from clip4str_plugin.reading.rivals import keep_best, per_character

        found = [piece for piece in found if piece.reading.text]
        if not self.rivals:
            return found
        best = keep_best(
            [piece.polygon for piece in found],
            [piece.reading.text for piece in found],
            [per_character(piece.reading, kind) for piece in found],
        )
        words = [replace(found[index], alone=not confirmed) for index, confirmed in best.items()]
        # Detectors of words leave no air above and below.
        return [
            replace(word, polygon=without_margins(self.image, word.polygon))
            if word.cut and self.image is not None
            else word
            for word in words
        ]

    def page(self, found: list[_Piece], seconds: float, keep_doubtful: bool) -> Page:
        """The page with the words that were read, given the seconds that took."""
        if self.image is None or self.error is not None:
            return Page(self.image, error=self.error)
        words = _arrange([piece for piece in found if keep_doubtful or not piece.doubtful])
        left_out = [] if keep_doubtful else _arrange([piece for piece in found if piece.doubtful])
        return Page(
            self.image, words, {**self.seconds, "recognize": seconds}, left_out=left_out, detector=self.detector
        )


def _draft(image: np.ndarray, detections: Detections | Exception, seconds: float) -> _Draft:
    if isinstance(detections, Exception):
        usable = image if isinstance(image, np.ndarray) and image.ndim == 3 else None
        return _Draft(usable, error=f"no text could be detected: {_one_line(detections)}")
    from clip4str_plugin.reading.regions import cut_words, lone_words

    begin = time.perf_counter()
    try:
        regions = cut_words(image, detections) + lone_words(image, detections)
    except Exception as error:  # what a detector of others gives may be anything
        logger.debug("straightening failed", exc_info=True)
        return _Draft(image, error=f"the text could not be read: {_one_line(error)}")
    times = {"detect": seconds, "rectify": time.perf_counter() - begin}
    return _Draft(image, regions, times, detector=detections.detector, rivals=detections.rivals is not None)


def _arrange(found: list[_Piece]) -> list[Word]:
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


def _threads() -> int:
    """How many pages are worked on at a time: networks alone do not keep all processors busy."""
    return min(4, 1 + (cpu_threads() or os.cpu_count() or 1))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, Clip4StrError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
