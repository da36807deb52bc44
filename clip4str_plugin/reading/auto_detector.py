"""The detector ``auto``: words and lines on photos, lines on documents, chosen page by page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from clip4str_plugin.errors import DetectorError, HostError
from clip4str_plugin.reading.detectors import Detections, Detector, check_page, load_detector
from clip4str_plugin.reading.page_kind import looks_like_photo

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AutoDetector", "detector"]

logger = logging.getLogger(__name__)


def detector(arch: str | None = None, *, threads: int | None = None, **options: Any) -> AutoDetector:
    """Build the detector that chooses between RapidOCR's detector of lines and CRAFT, a detector of words.

    CRAFT is loaded when the first photo comes; where it is not installed, lines do for photos, too.

    Args:
        arch: must be None.
        threads: CPU threads of the networks, None for one a core.
        **options: of the detector ``rapidocr``.

    Raises:
        DetectorError: an arch, or an option that ``rapidocr`` does not know.
    """
    if arch is not None:
        raise DetectorError(f"the detector 'auto' chooses by itself and takes no {arch!r}; name 'craft' or 'rapidocr'")
    lines = load_detector("rapidocr", threads=threads, **options)
    return AutoDetector(lines, partial(load_detector, "craft", threads=threads, scout=lines))


class AutoDetector:
    """Finds the lines of documents, and of photos the words, with the lines as their rivals.

    On photos each of the two finds words that the other misses or tears; which one is right shows when they are read.

    Args:
        lines: ``rapidocr`` (its methods ``see`` and ``lines``).
        load_words: builds ``craft`` (its method ``find``); called at the first photo, once.
    """

    def __init__(self, lines: Any, load_words: Callable[[], Any]) -> None:
        self._lines = lines
        self._load_words = load_words
        self._words: Any = None
        self._loaded = False
        self._loading = threading.Lock()

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Find the text of pages; ``Detections.detector`` tells which detectors did."""
        return [self._detect(page) for page in pages]

    @property
    def max_side(self) -> int:
        """The longest side, in pixels, that a page is looked at with; see `.detectors.Detector`."""
        return int(getattr(self._lines, "max_side", 2048))

    def named(self, name: str) -> Detector:
        """Return the detector that `Detections` name, so that the parts of a page are all looked at by one."""
        words = self._word_detector() if name == "craft" else None
        return self._lines if words is None else words

    def _detect(self, page: np.ndarray) -> Detections:
        check_page(page)
        seen = self._lines.see(page)
        lines = self._lines.lines(seen)
        words = self._word_detector() if looks_like_photo(page, seen.inner) else None
        if words is None:
            return replace(lines, detector="rapidocr")
        return replace(words.find(page, seen.inner), detector="craft+rapidocr", rivals=lines)

    def _word_detector(self) -> Any:
        with self._loading:
            if not self._loaded:
                self._loaded = True
                try:
                    self._words = self._load_words()
                except (DetectorError, HostError) as error:
                    logger.warning("photos are read with the detector 'rapidocr' alone: %s", error)
            return self._words
