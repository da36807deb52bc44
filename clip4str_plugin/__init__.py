"""CLIP4STR scene-text recognition for the OCR stack you already use.

The public names are resolved on first use, so that importing the package costs milliseconds and
does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip4str_plugin.detectors import Detections, available_detectors, load_detector
    from clip4str_plugin.model import CLIP4STR, available_models, load_model
    from clip4str_plugin.reader import Reader
    from clip4str_plugin.recognizer import Recognition, Recognizer
    from clip4str_plugin.rectification import rectify

__version__ = "0.1.0"

__all__ = [
    "CLIP4STR",
    "Detections",
    "Reader",
    "Recognition",
    "Recognizer",
    "available_detectors",
    "available_models",
    "load_detector",
    "load_model",
    "rectify",
]

_HOME = {
    "CLIP4STR": "model",
    "Detections": "detectors",
    "Reader": "reader",
    "Recognition": "recognizer",
    "Recognizer": "recognizer",
    "available_detectors": "detectors",
    "available_models": "model",
    "load_detector": "detectors",
    "load_model": "model",
    "rectify": "rectification",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"clip4str_plugin.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
