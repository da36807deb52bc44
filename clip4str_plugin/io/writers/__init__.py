"""Writers of pages: one module per format, all with the same two methods."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from os import PathLike, fspath
from typing import TYPE_CHECKING, BinaryIO, Protocol

from clip4str_plugin.io.whole_files import whole_file

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent

__all__ = ["FORMATS", "SUFFIXES", "Writer", "format_of", "make_writer", "save_pages"]

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

_FORMATS_BY_SUFFIX = {".pdf": "pdf", ".xml": "alto"} | {suffix: format for format, suffix in SUFFIXES.items()}


class Writer(Protocol):
    """Writes pages in the order they come.

    A page that could not be read (see ``PageContent.error``) is noted in its place where the format has room for that,
    and passed over where it has not.
    """

    def write(self, page: PageContent) -> None:
        """Add a page."""
        ...

    def close(self) -> None:
        """Write the rest; the stream stays open."""
        ...


def make_writer(format: str, stream: BinaryIO) -> Writer:
    r"""Return the writer of a format.

    >>> import io
    >>> from clip4str_plugin.page_content import PageContent
    >>> stream = io.BytesIO()
    >>> writer = make_writer("jsonl", stream)
    >>> writer.write(PageContent(None, error="photo.png: there is no such file", source="photo.png", index=None))
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
    return getattr(import_module(f"clip4str_plugin.io.writers.{module}"), name)(stream)


def format_of(path: str | PathLike[str]) -> str | None:
    """Return the format that the suffix of a file names, or None.

    >>> format_of("scan.pdf"), format_of("scan.page.xml"), format_of("scan.png")
    ('pdf', 'page', None)
    """
    name = fspath(path).lower()
    matching = [suffix for suffix in _FORMATS_BY_SUFFIX if name.endswith(suffix)]
    return _FORMATS_BY_SUFFIX[max(matching, key=len)] if matching else None


def save_pages(pages: Iterable[PageContent], path: str | PathLike[str]) -> None:
    """Write pages to one file in the format that its suffix names.

    Args:
        pages: in the order in which they are written.
        path: ends in one of the `SUFFIXES`, or in ".pdf" or ".xml" (ALTO); a file that exists is replaced.

    Raises:
        ValueError: no format has this suffix.
    """
    format = format_of(path)
    if format is None:
        raise ValueError(f"{path}: no format has this suffix; known are {', '.join(sorted(_FORMATS_BY_SUFFIX))}")
    with whole_file(path) as stream:
        writer = make_writer(format, stream)
        for page in pages:
            writer.write(page)
        writer.close()
