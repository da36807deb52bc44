"""Helpers of the XML formats: safe text, coordinates, serialization."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

if TYPE_CHECKING:
    from clip4str_plugin.page_content import Word

__all__ = ["Box", "around", "clean", "pixel_box", "pixel_points", "to_bytes"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels."""

# What XML 1.0 cannot hold, not even escaped: section 2.2 of its specification.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Replace characters that XML cannot hold by U+FFFD."""
    return _ILLEGAL.sub("\ufffd", text)


def pixel_box(word: Word, width: int, height: int) -> Box:
    """Whole pixels around a word, within a page of this size, at least one pixel wide and high."""
    left, top, right, bottom = word.box
    x0, y0 = min(max(int(left), 0), width - 1), min(max(int(top), 0), height - 1)
    return x0, y0, max(x0 + 1, min(int(np.ceil(right)), width)), max(y0 + 1, min(int(np.ceil(bottom)), height))


def around(boxes: Iterable[Box]) -> Box:
    """The box around boxes, of which there is at least one."""
    left, top, right, bottom = zip(*boxes)
    return min(left), min(top), max(right), max(bottom)


def pixel_points(polygon: np.ndarray, width: int, height: int) -> list[tuple[int, int]]:
    """A polygon in whole pixels within a page of this size."""
    points = np.clip(np.rint(polygon), 0, (width, height)).astype(int)
    return [(int(x), int(y)) for x, y in points]


def to_bytes(root: ElementTree.Element, doctype: str = "") -> bytes:
    """An indented UTF-8 document with its declaration."""
    ElementTree.indent(root)
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n' + doctype
    return declaration.encode() + ElementTree.tostring(root, encoding="utf-8") + b"\n"
