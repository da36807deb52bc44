"""Synthetic words for training: text, fonts, layout, colour, perspective and camera, rendered on the fly."""

from .corpus import CHARSET, MAX_LABEL_LENGTH, Corpus
from .fonts import find_fonts
from .rendered_set import write_rendered_set
from .renderer import WordRenderer

__all__ = ["CHARSET", "MAX_LABEL_LENGTH", "Corpus", "WordRenderer", "find_fonts", "write_rendered_set"]
