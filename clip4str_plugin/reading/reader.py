"""From pages to words in reading order: detect, cut lines into words, straighten, recognize, arrange."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.errors import Clip4StrError, ImageError
from clip4str_plugin.model.devices import cpu_threads
from clip4str_plugin.options import split_options
from clip4str_plugin.page import Page, Word
from clip4str_plugin.reading.drafts import Draft, one_line

if TYPE_CHECKING:
    from doctr.io import Document

    from clip4str_plugin.geometry.polygons import Start
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.options import Confidence
    from clip4str_plugin.reading.detectors import Detections, Detector
    from clip4str_plugin.reading.origins import Source
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["Reader"]

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
        from clip4str_plugin.reading.origins import open_pages, pair, place

        return [place(origin, page) for origin, page in pair(open_pages(source), self.stream)]

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
        drafts = [Draft.of(image, detections, seconds) for image, detections in zip(pages, found)]
        return self._read(drafts) if self.options.orientation == "off" else self._read_turned(drafts)

    @property
    def _confidence(self) -> Confidence:
        """The kind of the recognizer's confidences; recognizers of others need not say it."""
        return getattr(getattr(self.recognizer, "options", None), "confidence", "product")

    def _read_pages(self, pages: list[np.ndarray]) -> list[Page]:
        return self.read_detected(pages, *self._detect_timed(pages))

    def _read_turned(self, drafts: list[Draft]) -> list[Page]:
        """Read pages, those that lie on their side or head once they are turned."""
        from clip4str_plugin.reading.turned_pages import seen_upright, turns_to_upright

        turns = [self._turns_of_standing(draft) for draft in drafts]
        pages = [Page(draft.image, seconds=draft.seconds) for draft in drafts]
        as_they_lie = [index for index, turn in enumerate(turns) if not turn]
        for index, page in zip(as_they_lie, self._read([drafts[index] for index in as_they_lie])):
            pages[index], turns[index] = page, turns_to_upright(page.words)
        upright = {
            index: np.ascontiguousarray(np.rot90(page.image, turns[index]))
            for index, page in enumerate(pages)
            if turns[index] and page.image is not None
        }
        if not upright:
            return pages
        found, seconds = self._detect_timed(list(upright.values()))
        turned = [Draft.of(image, detections, seconds) for image, detections in zip(upright.values(), found)]
        for index, page in zip(upright, self._read(turned)):
            if page.words:
                pages[index] = seen_upright(page, turns[index], pages[index])
            elif index not in as_they_lie:
                (pages[index],) = self._read([drafts[index]])
        return pages

    def _turns_of_standing(self, draft: Draft) -> int:
        from clip4str_plugin.reading.turned_pages import turns_of_standing

        try:
            with self._reading:
                return turns_of_standing(draft.regions, self.recognizer)
        except Exception:  # a recognizer may raise anything, and will again when the page is read
            logger.debug("reading failed", exc_info=True)
            return 0

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

    def _read(self, drafts: list[Draft]) -> list[Page]:
        """Read the words of several pages together."""
        from clip4str_plugin.reading.region_reading import read_regions

        if not drafts:
            return []
        try:
            with self._reading:
                begin = time.perf_counter()
                found = read_regions(
                    [draft.regions for draft in drafts],
                    self.recognizer,
                    self.options.orientation,
                    other_views=self.options.other_views,
                )
            seconds = (time.perf_counter() - begin) / max(1, sum(len(draft.regions) for draft in drafts))
            return [
                draft.page(words, seconds * len(draft.regions), self.options, self._confidence)
                for draft, words in zip(drafts, found)
            ]
        except Exception as error:  # a recognizer may raise anything; one page must not cost the others
            if len(drafts) == 1:
                logger.debug("reading failed", exc_info=True)
                return [Page(drafts[0].image, error=f"the text could not be read: {one_line(error)}")]
        return [page for draft in drafts for page in self._read([draft])]


def _threads() -> int:
    """How many pages are worked on at a time: networks alone do not keep all processors busy."""
    return min(4, 1 + (cpu_threads() or os.cpu_count() or 1))
