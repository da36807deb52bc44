"""Synthetic words for training: text, fonts, layout, colour, perspective and camera, rendered on the fly."""

from clip4str_plugin.synthetic.corpus import CHARSET, MAX_LABEL_LENGTH, Corpus
from clip4str_plugin.synthetic.fonts import find_fonts
from clip4str_plugin.synthetic.renderer import WordRenderer

__all__ = ["CHARSET", "MAX_LABEL_LENGTH", "Corpus", "WordRenderer", "find_fonts"]
