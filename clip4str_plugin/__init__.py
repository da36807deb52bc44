"""CLIP4STR scene-text recognition for the OCR stack you already use.

The public names are resolved on first use, so that importing the package costs milliseconds and
does not load torch.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from clip4str_plugin.lazy import lazy_names
from clip4str_plugin.version import __version__ as __version__

if TYPE_CHECKING:
    from clip4str_plugin.geometry.rectification import rectify
    from clip4str_plugin.model import CLIP4STR, available_models, load_model
    from clip4str_plugin.options import ReadOptions, RecognizerOptions
    from clip4str_plugin.page import Page, Word
    from clip4str_plugin.reading.detectors import Detections, available_detectors, load_detector
    from clip4str_plugin.reading.reader import Reader
    from clip4str_plugin.reading.recognizer import Recognition, Recognizer

__all__ = [
    "CLIP4STR",
    "Detections",
    "Page",
    "ReadOptions",
    "Reader",
    "Recognition",
    "Recognizer",
    "RecognizerOptions",
    "Word",
    "available_detectors",
    "available_models",
    "load_detector",
    "load_model",
    "rectify",
]

_HOME = {
    "CLIP4STR": "model",
    "Detections": "reading.detectors",
    "Page": "page",
    "ReadOptions": "options",
    "Reader": "reading.reader",
    "Recognition": "reading.recognizer",
    "Recognizer": "reading.recognizer",
    "RecognizerOptions": "options",
    "Word": "page",
    "available_detectors": "reading.detectors",
    "available_models": "model",
    "load_detector": "reading.detectors",
    "load_model": "model",
    "rectify": "geometry.rectification",
}

# Modules with a short name besides that of their place.
_SHORT = {
    "attention": "evaluation.attention",
    "detectors": "reading.detectors",
    "onnx_recognizer": "reading.onnx_recognizer",
    "reader": "reading.reader",
    "writers": "io.writers",
}


class _ShortNames(MetaPathFinder, Loader):
    """Lets ``import clip4str_plugin.reader`` give ``clip4str_plugin.reading.reader`` itself, not a copy."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __name__ and name in _SHORT else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(f"{__name__}.{_SHORT[module.__name__.rpartition('.')[2]]}")


sys.meta_path.append(_ShortNames())


__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
