"""CSV: one row per word."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent

__all__ = ["COLUMNS", "CsvWriter"]

COLUMNS = ("image", "page", "block", "line", "text", "confidence", "left", "top", "right", "bottom", "polygon", "error")
"""The header. Coordinates are pixels; the polygon is ``x,y x,y ...``; pages count from 0."""


class CsvWriter:
    """Writes RFC 4180 in UTF-8. A page that could not be read is a row with an ``error`` and no text.

    What a spreadsheet would take for a formula (text that begins with ``=``, ``+``, ``-`` or ``@`` and is no number)
    gets an apostrophe before it, which the spreadsheet does not show.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._row(COLUMNS)

    def write(self, page: PageContent) -> None:
        """Add the rows of a page."""
        if page.error is not None:
            number = "" if page.index is None else page.index
            self._row([page.source, number, *[""] * 9, page.error])
        for word in page.words:
            polygon = " ".join(f"{x:.2f},{y:.2f}" for x, y in word.polygon)
            box = [f"{value:.2f}" for value in word.box]
            place = [page.source, page.index, word.block, word.line]
            self._row([*place, word.text, f"{word.confidence:.6f}", *box, polygon, ""])
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left to write."""

    def _row(self, values: list | tuple) -> None:
        row = io.StringIO(newline="")
        csv.writer(row).writerow([_harmless(value) for value in values])
        self._stream.write(row.getvalue().encode("utf-8", "replace"))


def _harmless(value: object) -> object:
    """Keep a cell from being computed.

    >>> [_harmless(value) for value in ("=1+1", "-5.20", "+49 30", "a=b", 3)]
    ["'=1+1", '-5.20', "'+49 30", 'a=b', 3]
    """
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    return value
