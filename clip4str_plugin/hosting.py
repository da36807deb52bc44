"""What every adapter needs: its host imported late, and a recognizer from whatever the user has at hand."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.errors import HostError

if TYPE_CHECKING:
    from clip4str_plugin.line_reading import LineReading
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.reader import Reader
    from clip4str_plugin.recognizer import Recognizer

__all__ = ["MarkedCrop", "as_recognizer", "import_host", "mark_lines", "read_marked_lines", "shared_reader"]

_readers: dict[tuple[Any, ...], Reader] = {}
_loading = Lock()


def import_host(module: str, extra: str) -> Any:
    """Import a module of a host, with the remedy in the error if the host is missing or broken.

    Args:
        module: dotted name of the host's module.
        extra: the extra of this package that installs the host.

    Raises:
        HostError: the module cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise HostError(
            f"cannot import {module} ({error}); install its host: pip install 'clip4str-plugin[{extra}]'"
        ) from error


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
    """Mark a host's crops of lines for :func:`read_marked_lines`.

    Args:
        crops: one a box.
        page: what they were cut from, uint8 BGR (H, W, 3).
        boxes: (4, 2) pixels each.
    """
    from clip4str_plugin.detectors import orient_detections

    found = orient_detections(list(boxes), [1.0] * len(boxes), "line")
    if len(found.polygons) < len(crops):  # a box without area; the crops serve as they are
        return list(crops)
    return [MarkedCrop.of(crop, (page, polygon)) for crop, polygon in zip(crops, found.polygons)]


def read_marked_lines(recognizer: Recognizer, crops: Sequence[np.ndarray]) -> list[LineReading]:
    """Read crops of lines, uint8 BGR: on their page where all are marked, see :func:`mark_lines`, else as they are."""
    from clip4str_plugin.detectors import Detections
    from clip4str_plugin.line_reading import read_lines, read_lines_of_page

    origins = [getattr(crop, "origin", None) for crop in crops]
    known = [origin for origin in origins if origin is not None]
    if not known or len(known) < len(crops) or any(page is not known[0][0] for page, _ in known):
        return read_lines(recognizer, crops, color="bgr")
    page = np.ascontiguousarray(known[0][0][..., ::-1])
    return read_lines_of_page(recognizer, page, Detections([line for _, line in known], np.ones(len(known)), "line"))


def as_recognizer(source: Recognizer | CLIP4STR | str | Path, **options: Any) -> Recognizer:
    """Return the recognizer a host is to use.

    Args:
        source: a recognizer, taken as it is; a model; or what :func:`clip4str_plugin.load_model` takes. Hosts name
            their architectures in one flat list, so ``"clip4str_base16"`` is understood as ``"base16"``.
        **options: for the recognizer that is built around a model, as in :class:`clip4str_plugin.Recognizer`.

    Raises:
        ValueError: options come with a recognizer that is built already.
    """
    from torch import nn

    from clip4str_plugin import Recognizer, load_model

    if isinstance(source, (str, Path)):
        name = str(source)
        source = load_model(source if Path(name).exists() else name.removeprefix("clip4str_"))
    if isinstance(source, nn.Module):
        return Recognizer(source, **options)
    if options:
        raise ValueError(f"{sorted(options)} are for a model or its name; the recognizer given is built already")
    return source


def shared_reader(detector: str, model: str, device: str, batch_size: int, min_confidence: float) -> Reader:
    """Return the one reader of this process for these settings, loading it at the first call.

    Hosts build their engines anew for every document or page; models must not be loaded as often.

    Args:
        detector: name of a detector, see :func:`clip4str_plugin.load_detector`.
        model: name or path of a model, see :func:`clip4str_plugin.load_model`.
        device: where the model runs, ``"cpu"``, ``"cuda"`` ...
        batch_size: as in :class:`clip4str_plugin.Recognizer`.
        min_confidence: as in :class:`clip4str_plugin.Reader`.
    """
    from clip4str_plugin import Reader

    key = (detector, model, device, batch_size, min_confidence)
    with _loading:
        if key not in _readers:
            recognizer = as_recognizer(model, device=device, batch_size=batch_size, precision="auto")
            _readers[key] = Reader(detector, recognizer, min_confidence=min_confidence)
        return _readers[key]
