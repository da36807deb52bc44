"""From pages that were read to files: one small module a format, all with the same two methods."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from clip4str_plugin.reader import Page

__all__ = ["FORMATS", "SUFFIXES", "Writer", "make_writer"]

# Format -> module, class, suffix of its files. PDFs get a suffix that no scan is likely to have.
_WRITERS = {
    "text": ("text", "TextWriter", ".txt"),
    "json": ("json_pages", "JsonWriter", ".json"),
    "jsonl": ("json_pages", "JsonLinesWriter", ".jsonl"),
    "csv": ("csv_table", "CsvWriter", ".csv"),
    "hocr": ("hocr", "HocrWriter", ".hocr"),
    "alto": ("alto", "AltoWriter", ".alto.xml"),
    "page": ("page_xml", "PageXmlWriter", ".page.xml"),
    "pdf": ("pdf", "PdfWriter", ".ocr.pdf"),
}

FORMATS = tuple(_WRITERS)
"""The names of all formats."""

SUFFIXES = {name: suffix for name, (_, _, suffix) in _WRITERS.items()}
"""The suffix of each format's files."""


class Writer(Protocol):
    """Writes pages in the order they come.

    A page that could not be read (see ``Page.error``) is noted in its place where the format has room for that, and
    passed over where it has not.
    """

    def write(self, page: Page) -> None:
        """Add a page."""
        ...

    def close(self) -> None:
        """Write what only the end can bring; the stream stays open."""
        ...


def make_writer(format: str, stream: BinaryIO) -> Writer:
    r"""Return the writer of a format.

    >>> import io
    >>> from clip4str_plugin.reader import Page
    >>> stream = io.BytesIO()
    >>> writer = make_writer("jsonl", stream)
    >>> writer.write(Page(None, error="photo.png: there is no such file", source="photo.png", index=None))
    >>> writer.close()
    >>> stream.getvalue()
    b'{"image": "photo.png", "error": "photo.png: there is no such file"}\n'

    Args:
        format: one of `FORMATS`.
        stream: where to write, binary; it is flushed after each page by the formats that are complete after each.

    Raises:
        ValueError: there is no such format.
    """
    if format not in _WRITERS:
        raise ValueError(f"the format {format!r} is unknown; known are {', '.join(FORMATS)}")
    module, name, _ = _WRITERS[format]
    return getattr(import_module(f"clip4str_plugin.writers.{module}"), name)(stream)
