"""Synthetic words for training: text, fonts, layout, colour, perspective and camera, rendered on the fly.

The names below are resolved on first use, so that the word lists can be had without the rest.
"""

from typing import TYPE_CHECKING

from clip4str_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from clip4str_plugin.synthetic.corpus import CHARSET, MAX_LABEL_LENGTH, Corpus
    from clip4str_plugin.synthetic.fonts import find_fonts
    from clip4str_plugin.synthetic.line_renderer import LineRenderer
    from clip4str_plugin.synthetic.renderer import WordRenderer

__all__ = ["CHARSET", "MAX_LABEL_LENGTH", "Corpus", "LineRenderer", "WordRenderer", "find_fonts"]

_HOME = {
    "CHARSET": "corpus",
    "MAX_LABEL_LENGTH": "corpus",
    "Corpus": "corpus",
    "LineRenderer": "line_renderer",
    "WordRenderer": "renderer",
    "find_fonts": "fonts",
}


__getattr__ = lazy_names(__name__, _HOME)
