"""One request: its files, and its answer piece by piece."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.io.writers import make_writer
from clip4str_plugin.service.problems import RequestError

if TYPE_CHECKING:
    from clip4str_plugin.io.images import PageImage, Unreadable
    from clip4str_plugin.page import Page
    from clip4str_plugin.reading.reader import Reader
    from clip4str_plugin.service.limits import Limits
    from clip4str_plugin.service.metrics import Metrics
    from clip4str_plugin.service.uploads import Upload

__all__ = ["MEDIA_TYPES", "STREAMED", "Job", "Piece"]

MEDIA_TYPES = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "text": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "hocr": "application/xhtml+xml",
    "alto": "application/xml",
    "page": "application/xml",
    "pdf": "application/pdf",
}
"""The formats, and what each is called in HTTP."""

STREAMED = "jsonl"
"""The format that is sent page by page."""

# These have room for pages that could not be read; the others would lose them without a word.
_NOTE_ERRORS = ("json", "jsonl", "csv")
_PREVIEW_QUALITY = 80

Piece = bytes | RequestError | None
"""Part of an answer, why there is none (or no more), or its end."""


@dataclass(eq=False)
class Job:
    """What one request asks for.

    Attributes:
        uploads: the files.
        format: one of `MEDIA_TYPES`.
        dpi: resolution for PDF pages.
        preview: add each page as a JPEG data URL with sides of at most so many pixels; `STREAMED` only. 0: do not.
        deliver: called with the pieces of the answer, from the thread that reads.
        cancelled: set when nobody waits for the answer any more.
    """

    uploads: list[Upload]
    format: str
    dpi: float
    preview: int
    deliver: Callable[[Piece], None]
    cancelled: threading.Event = field(default_factory=threading.Event)

    def run(self, reader: Reader, limits: Limits, metrics: Metrics) -> None:
        """Read everything and deliver the answer; anything that goes wrong is delivered as well.

        Args:
            reader: reads the pages.
            limits: bound pixels and pages.
            metrics: counts what is read.
        """
        try:
            self._run(reader, limits, metrics)
        except RequestError as error:
            self.deliver(error)
        except Clip4StrError as error:
            self.deliver(RequestError(422, f"{self.uploads[0].name}: {error}"))
        except Exception:
            self.deliver(RequestError(500, "the service failed on this request; its log says why"))
            raise

    def _run(self, reader: Reader, limits: Limits, metrics: Metrics) -> None:
        stream = io.BytesIO()
        writer = make_writer(self.format, stream)
        failures: list[Page] = []
        good = 0
        for page in self._pages(reader, limits):
            if self.cancelled.is_set():
                return
            if page.error is None:
                good += 1
                metrics.pages.inc()
                metrics.words.inc(len(page.words))
                for stage, seconds in page.seconds.items():
                    metrics.stage_seconds.labels(stage).inc(seconds)
            else:
                failures.append(page)
                if self.format not in _NOTE_ERRORS:
                    break
            if self.preview:
                stream.write(_line_with_preview(page, self.preview))
            else:
                writer.write(page)
            # Held back until something could be read: if nothing can, the answer is an error.
            if self.format == STREAMED and good:
                self.deliver(stream.getvalue())
                stream.seek(0)
                stream.truncate()
        if failures and (not good or self.format not in _NOTE_ERRORS):
            several = bool(good or failures[0].index or len(self.uploads) > 1)
            raise _refusal(failures, several)
        writer.close()
        self.deliver(stream.getvalue())
        self.deliver(None)

    def _pages(self, reader: Reader, limits: Limits) -> Iterator[Page]:
        from clip4str_plugin.reading.origins import pair, place

        for origin, result in pair(self._images(limits), reader.stream):
            yield place(origin, result)

    def _images(self, limits: Limits) -> Iterator[PageImage | Unreadable]:
        from clip4str_plugin.io.images import read_stream

        count = 0
        for upload in self.uploads:
            # In memory, because not all that decoders ask of a file is there in a spooled one.
            upload.file.seek(0)
            file = io.BytesIO(upload.file.read())
            for page in read_stream(
                file,
                upload.name,
                max_pixels=limits.max_pixels,
                dpi=self.dpi,
                max_pages=limits.max_pages,
                stop=self.cancelled.is_set,
            ):
                if self.cancelled.is_set():
                    return
                count += 1
                if count > limits.max_pages:
                    raise RequestError(
                        413, f"the files of this request have more than {limits.max_pages} pages; send fewer at a time"
                    )
                yield page


def _refusal(failures: list[Page], several: bool) -> RequestError:
    """Why nothing is answered but an error."""
    page = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    hint = f"; format={STREAMED} gives what can be read of the others" if several else ""
    # Whatever could be decoded should have been read.
    return RequestError(422 if page.image is None else 500, f"{page.error}{more}{hint}")


def _line_with_preview(page: Page, side: int) -> bytes:
    from PIL import Image

    from clip4str_plugin.io.writers.json_pages import encode, page_record

    record = page_record(page)
    if page.image is not None:
        image = Image.fromarray(page.image)
        image.thumbnail((side, side))
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=_PREVIEW_QUALITY)
        record["preview"] = "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
    return encode(record) + b"\n"
