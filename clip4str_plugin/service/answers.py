"""Send answers from the reading threads to the clients, within the time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect

from clip4str_plugin.io.writers import SUFFIXES
from clip4str_plugin.io.writers.json_pages import encode
from clip4str_plugin.service.jobs import MEDIA_TYPES, STREAMED, Job, Piece
from clip4str_plugin.service.problems import RequestError

if TYPE_CHECKING:
    from fastapi import Request

    from clip4str_plugin.service.job_queue import JobQueue
    from clip4str_plugin.service.uploads import Upload

__all__ = ["answer"]


async def answer(
    request: Request, job_queue: JobQueue, uploads: list[Upload], format: str, dpi: float, preview: int, timeout: float
) -> Response:
    """Read uploads and return the answer.

    Args:
        request: whose body has been received.
        job_queue: has the job read.
        uploads: taken out of the list once the job owns them.
        format: see `clip4str_plugin.service.jobs.Job`.
        dpi: likewise.
        preview: likewise.
        timeout: seconds for all of it.

    Raises:
        RequestError: nothing can be answered but an error.
        ClientDisconnect: nobody is there to be answered; reading is stopped.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pieces: asyncio.Queue[Piece] = asyncio.Queue()
    job = Job(list(uploads), format, dpi, preview, lambda piece: _hand_over(loop, pieces, piece))
    job_queue.submit(job)
    uploads.clear()
    name = job.uploads[0].name
    handed_over = False
    try:
        piece = await _first(request, pieces, deadline, name, timeout)
        if isinstance(piece, RequestError):
            raise piece
        headers = {"Content-Disposition": _disposition(name, format), "Cache-Control": "no-store"}
        if format != STREAMED:
            return Response(piece, 200, headers, MEDIA_TYPES[format])
        handed_over = True
        lines = _lines(job_queue, job, piece or b"", pieces, deadline, name, timeout)
        return StreamingResponse(lines, 200, headers, MEDIA_TYPES[format])
    finally:
        if not handed_over:
            job_queue.cancel(job)


def _hand_over(loop: asyncio.AbstractEventLoop, pieces: asyncio.Queue[Piece], piece: Piece) -> None:
    with suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
        loop.call_soon_threadsafe(pieces.put_nowait, piece)


async def _first(request: Request, pieces: asyncio.Queue[Piece], deadline: float, name: str, timeout: float) -> Piece:
    """The first piece; raise as soon as the client leaves."""
    piece = asyncio.ensure_future(_next(pieces, deadline, name, timeout))
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({piece, left}, return_when=asyncio.FIRST_COMPLETED)
        if piece.done():
            return piece.result()
        raise ClientDisconnect
    finally:
        piece.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _next(pieces: asyncio.Queue[Piece], deadline: float, name: str, timeout: float) -> Piece:
    try:
        return await asyncio.wait_for(pieces.get(), max(deadline - asyncio.get_running_loop().time(), 0.001))
    except asyncio.TimeoutError:
        raise RequestError(
            504, f"{name}: was not read within {timeout:g} seconds; send fewer or smaller pages, or try again later"
        ) from None


async def _lines(
    job_queue: JobQueue,
    job: Job,
    piece: Piece,
    pieces: asyncio.Queue[Piece],
    deadline: float,
    name: str,
    timeout: float,
) -> AsyncIterator[bytes]:
    """The lines of the streamed format; what goes wrong in the middle is a line of its own."""
    try:
        while isinstance(piece, bytes):
            if piece:
                yield piece
            try:
                piece = await _next(pieces, deadline, name, timeout)
            except RequestError as error:
                piece = error
        if isinstance(piece, RequestError):
            yield encode({"image": name, "error": piece.message}) + b"\n"
    finally:
        job_queue.cancel(job)


def _disposition(name: str, format: str) -> str:
    kind = "attachment" if format == "pdf" else "inline"
    return f"{kind}; filename*=utf-8''{quote(PurePath(name).stem + SUFFIXES[format])}"
