"""Plain text: one line per line of text, an empty line between pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent

__all__ = ["TextWriter"]


class TextWriter:
    """Writes the words of each line with a space between them, in UTF-8; pages without text give nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._separator = ""

    def write(self, page: PageContent) -> None:
        """Add the text of a page."""
        if page.words:
            self._stream.write(f"{self._separator}{page.text}\n".encode())
            self._stream.flush()
            self._separator = "\n"

    def close(self) -> None:
        """Nothing is left to write."""
