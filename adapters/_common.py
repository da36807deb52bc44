"""What hosts share: marked crops, lines read on their page, one reader a process."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from clip4str_plugin.reading.line_reading import LineReading
    from clip4str_plugin.reading.reader import Reader
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["MarkedCrop", "mark_lines", "read_marked_lines", "shared_reader"]

_readers: dict[tuple[Any, ...], Reader] = {}
_loading = Lock()


class MarkedCrop(np.ndarray):
    """A crop that a host passes on without knowing that it says where it comes from.

    What is computed from it, a turned copy say, is a crop like any other.

    Attributes:
        origin: what was said; None in what was computed.
    """

    origin: Any = None

    @classmethod
    def of(cls, crop: np.ndarray, origin: Any) -> MarkedCrop:
        """Mark a crop; its pixels are shared."""
        view = crop.view(cls)
        view.origin = origin
        return view


def mark_lines(crops: Sequence[np.ndarray], page: np.ndarray, boxes: Sequence[Any] | np.ndarray) -> list[np.ndarray]:
    """Mark a host's crops of lines for `read_marked_lines`.

    Args:
        crops: one per box.
        page: what they were cut from, uint8 BGR (H, W, 3).
        boxes: (K, 2) pixels each, K >= 4: quads, or the outlines of curved lines.
    """
    from clip4str_plugin.reading.detectors import orient_detections

    found = orient_detections(list(boxes), [1.0] * len(boxes), "line")
    if len(found.polygons) < len(crops):  # a box without area; the crops serve as they are
        return list(crops)
    return [MarkedCrop.of(crop, (page, polygon)) for crop, polygon in zip(crops, found.polygons)]


def read_marked_lines(recognizer: Recognizer, crops: Sequence[np.ndarray]) -> list[LineReading]:
    """Read crops of lines, uint8 BGR: on their page where all are marked, see `mark_lines`, else as they are."""
    from clip4str_plugin.reading.detectors import Detections
    from clip4str_plugin.reading.line_reading import read_lines, read_lines_of_page

    origins = [getattr(crop, "origin", None) for crop in crops]
    known = [origin for origin in origins if origin is not None]
    if not known or len(known) < len(crops) or any(page is not known[0][0] for page, _ in known):
        return read_lines(recognizer, crops, color="bgr")
    page = np.ascontiguousarray(known[0][0][..., ::-1])
    return read_lines_of_page(recognizer, page, Detections([line for _, line in known], np.ones(len(known)), "line"))


def shared_reader(detector: str, model: str, **options: Any) -> Reader:
    """Return the one reader of this process for these settings, loading it at the first call.

    Hosts build their engines anew for every document or page; models must not be loaded as often.

    Args:
        detector: name of a detector, see `clip4str_plugin.load_detector`.
        model: name or path of a model, see `clip4str_plugin.load_model`.
        **options: as in `clip4str_plugin.Reader`.
    """
    from clip4str_plugin.reading.detectors import OneAtATime, load_detector
    from clip4str_plugin.reading.reader import Reader

    key = (detector, model, *sorted(options.items()))
    with _loading:
        if key not in _readers:
            # Hosts read with several threads, and not every detector bears that.
            _readers[key] = Reader(OneAtATime(load_detector(detector)), model, **options)
        return _readers[key]
