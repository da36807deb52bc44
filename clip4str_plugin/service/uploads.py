"""Receive the files of a request, with limits of size and time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from clip4str_plugin.service.problems import RequestError

if TYPE_CHECKING:
    from fastapi import Request

    from clip4str_plugin.service.limits import Limits

__all__ = ["Upload", "receive"]

# A body smaller than this stays in memory, a larger one goes to a nameless file in the folder for temporary ones.
_SPOOLED = 1 << 20
_FIELD = "file"


@dataclass(frozen=True)
class Upload:
    """A file that a client sent.

    Attributes:
        name: what the client calls it.
        file: open for reading; whoever got the upload closes it.
    """

    name: str
    file: IO[bytes]


@asynccontextmanager
async def receive(request: Request, limits: Limits, name: str) -> AsyncIterator[list[Upload]]:
    """Receive the files of a request; those left in the list at the end are closed.

    Args:
        request: its body is multipart/form-data with one or several fields called ``file``, or one file as it is.
        limits: bound bytes and seconds.
        name: what to call a body that is a file as it is.

    Raises:
        RequestError: the body is too large, too slow, malformed or holds no file.
    """
    uploads: list[Upload] = []
    try:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
            uploads += await _receive_form(request, limits)
        else:
            uploads.append(Upload(name, SpooledTemporaryFile(_SPOOLED)))  # noqa: SIM115
            async for chunk in _chunks(request, limits):
                uploads[0].file.write(chunk)
            if not uploads[0].file.tell():
                raise RequestError(400, f"the request holds no file; {_HOW}")
        yield uploads
    finally:
        for upload in uploads:
            upload.file.close()


_HOW = f"send the image or PDF as the body, or as the field {_FIELD!r} of multipart/form-data"


async def _receive_form(request: Request, limits: Limits) -> list[Upload]:
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"us-ascii"):  # of names; some give text that nothing can write
        raise RequestError(400, f"the form's charset is {charset[:40].decode('latin-1')!r}; send names in UTF-8")
    chunks = _chunks(request, limits)
    try:
        form = await MultiPartParser(
            request.headers, chunks, max_files=limits.max_pages, max_fields=limits.max_pages
        ).parse()
    except MultiPartException as error:
        raise RequestError(400, f"the form cannot be read: {error.message.rstrip('.')}; {_HOW}") from None
    uploads, strange = [], []
    for field, value in form.multi_items():
        if isinstance(value, UploadFile) and field == _FIELD and (value.filename or value.size):
            # Browsers of old send whole paths.
            name = os.path.basename((value.filename or "").replace("\\", "/")) or "upload"
            uploads.append(Upload(name, value.file))
        else:
            strange.append(field)
            if isinstance(value, UploadFile):
                value.file.close()
    if strange or not uploads:
        for upload in uploads:
            upload.file.close()
        found = f"the form has the field {strange[0]!r} that is no file" if strange else "the form holds no file"
        raise RequestError(400, f"{found}; {_HOW}")
    return uploads


async def _chunks(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body, piece by piece, as long as it comes in time and is not too large."""
    too_large = RequestError(
        413,
        f"the upload is larger than the limit of {limits.max_upload:,} bytes; shrink or split it, or start the service "
        "with a larger --max-upload",
    )
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limits.max_upload:
        raise too_large
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.timeout
    received = 0
    stream = request.stream()
    while True:
        patience = min(limits.stall, deadline - loop.time())
        try:
            chunk = await asyncio.wait_for(stream.__anext__(), max(patience, 0.001))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise RequestError(
                408, f"the upload stopped or was too slow, {received:,} bytes came; send it again or a smaller one"
            ) from None
        received += len(chunk)
        if received > limits.max_upload:
            raise too_large
        yield chunk
