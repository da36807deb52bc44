"""Synthetic words for training: text, fonts, layout, colour, perspective and camera, rendered on the fly.

The names below are resolved on first use, so that the word lists can be had without the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip4str_plugin.synthetic.corpus import CHARSET, MAX_LABEL_LENGTH, Corpus
    from clip4str_plugin.synthetic.fonts import find_fonts
    from clip4str_plugin.synthetic.renderer import WordRenderer

__all__ = ["CHARSET", "MAX_LABEL_LENGTH", "Corpus", "WordRenderer", "find_fonts"]

_HOME = {
    "CHARSET": "corpus",
    "MAX_LABEL_LENGTH": "corpus",
    "Corpus": "corpus",
    "WordRenderer": "renderer",
    "find_fonts": "fonts",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
