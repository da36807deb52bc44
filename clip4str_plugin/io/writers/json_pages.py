"""JSON: one object per page, as lines or as one array."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent, Word

__all__ = ["JsonLinesWriter", "JsonWriter", "encode", "page_record"]


def page_record(page: PageContent) -> dict[str, Any]:
    """Return the JSON record of a page.

    A page that was read has ``image``, ``page``, ``width``, ``height``, ``words`` (each with ``text``, ``confidence``,
    ``polygon`` in pixels of the image as it stands upright, ``line``; ``doubtful`` where it is true), ``left_out``
    (doubtful words that are not among ``words``, with the same fields, their lines counted apart), ``detector``
    (which one found the text, where it was chosen by the page) and ``seconds``; one that was not has ``image`` and
    ``error``, and ``page`` unless the whole file cannot be read.
    """
    if page.error is not None:
        where = {} if page.index is None else {"page": page.index}
        return {"image": page.source, **where, "error": page.error}
    return {
        "image": page.source,
        "page": page.index,
        "width": page.width,
        "height": page.height,
        "words": [_word_record(word) for word in page.words],
        **({"detector": page.detector} if page.detector else {}),
        "left_out": [_word_record(word) for word in page.left_out],
        "seconds": {stage: round(seconds, 4) for stage, seconds in page.seconds.items()},
    }


def _word_record(word: Word) -> dict[str, Any]:
    record = {
        "text": word.text,
        "confidence": round(word.confidence, 6),
        "polygon": [[round(float(x), 2), round(float(y), 2)] for x, y in word.polygon],
        "line": word.line,
    }
    return {**record, "doubtful": True} if word.doubtful else record


def encode(record: Any) -> bytes:
    """Return a value as one line of JSON in UTF-8, without its end."""
    try:
        return json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a file name that is no Unicode; escaped, it comes back as it was
        return json.dumps(record).encode()


class JsonLinesWriter:
    """Writes one line per page, at once; see `page_record`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, page: PageContent) -> None:
        """Add the line of a page."""
        self._stream.write(encode(page_record(page)) + b"\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left to write."""


class JsonWriter:
    """Writes one array with an object per page; see `page_record`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._separator = b"[\n"

    def write(self, page: PageContent) -> None:
        """Add the object of a page."""
        self._stream.write(self._separator + encode(page_record(page)))
        self._separator = b",\n"

    def close(self) -> None:
        """End the array."""
        self._stream.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")
        self._stream.flush()
