"""The routes of the service: the page, reading, health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect

from clip4str_plugin.service.answers import answer
from clip4str_plugin.service.job_queue import JobQueue
from clip4str_plugin.service.jobs import MEDIA_TYPES, STREAMED
from clip4str_plugin.service.limits import Limits
from clip4str_plugin.service.metrics import Metrics
from clip4str_plugin.service.problems import RequestError, add_handlers, stopping
from clip4str_plugin.service.shield import Shield
from clip4str_plugin.service.uploads import receive
from clip4str_plugin.version import __version__

if TYPE_CHECKING:
    from clip4str_plugin.reading.detectors import Detector
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["create_app"]

_STATIC = Path(__file__).parent / "static"

Format = Literal["json", "jsonl", "text", "csv", "hocr", "alto", "page", "pdf"]


def create_app(
    detector: Detector,
    recognizer: Recognizer,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    *,
    names: tuple[str, str] = ("", ""),
    hosts: Collection[str] = (),
    **options: Any,
) -> FastAPI:
    """Build the service around a loaded detector and recognizer.

    >>> from clip4str_plugin import Recognizer, load_detector, load_model
    >>> app = create_app(load_detector("rapidocr"), Recognizer(load_model("tiny")))
    >>> sorted(route.path for route in app.routes if route.path != "/static")
    ['/', '/health', '/metrics', '/openapi.json', '/read']

    Args:
        detector: finds the text; it is never entered by two threads at once.
        recognizer: reads the words.
        limits: what a client may ask for.
        names: of detector and model, to be told by ``/health``.
        hosts: names under which browsers may reach the service, besides ``localhost``, the machine's own name and
            addresses in numbers; "*" for any.
        **options: as for `clip4str_plugin.Reader`.

    Returns:
        an ASGI application; its lifespan's end stops the threads that read.
    """
    metrics = Metrics()
    job_queue = JobQueue(detector, recognizer, limits, metrics, **options)
    uploading = _Places(limits.queue + limits.workers)
    metrics.receiving.set_function(lambda: uploading.taken)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, job_queue.close)

    # The pages that FastAPI makes of the description load scripts from elsewhere: neither offline nor allowed here.
    app = FastAPI(
        title="clip4str", summary="Finds and reads the text in photos, scans and PDFs.", version=__version__,
        lifespan=lifespan, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.job_queue = job_queue
    add_handlers(app)
    app.add_middleware(Shield, metrics=metrics, hosts=hosts)

    @app.post(
        "/read", summary="Read images and PDFs", response_class=Response, responses=_RESPONSES, openapi_extra=_BODY
    )
    async def read(
        request: Request,
        format: Annotated[Format, Query(description="of the answer")] = "json",
        dpi: Annotated[int, Query(ge=36, le=600, description="resolution for the pages of PDFs")] = 200,
        preview: Annotated[
            int,
            Query(ge=0, le=4096, description=f"add each page as a JPEG of at most so many pixels; {STREAMED} only"),
        ] = 0,
        name: Annotated[str, Query(max_length=255, description="what to call a body that is one file")] = "upload",
    ) -> Response:
        _check_query(request)
        if preview and format != STREAMED:
            raise RequestError(400, f"preview={preview} goes with format={STREAMED} only; leave it out")
        job_queue.check_room()  # before the upload, which would be for nothing
        try:
            async with AsyncExitStack() as stack:
                with uploading:
                    uploads = await stack.enter_async_context(receive(request, limits, name))
                return await answer(request, job_queue, uploads, format, dpi, preview, limits.timeout)
        except ClientDisconnect:
            return Response(status_code=499)
        except asyncio.CancelledError:
            if job_queue.closed:  # the last seconds are over
                raise stopping() from None
            raise

    @app.get("/health", summary="Whether the service reads, and what it takes")
    async def health() -> JSONResponse:
        reading, waiting = job_queue.counts()
        return JSONResponse({
            "status": "ok", "version": __version__, "detector": names[0], "model": names[1],
            "reading": reading, "waiting": waiting,
            "limits": {
                "upload_bytes": limits.max_upload, "page_pixels": limits.max_pixels, "pages": limits.max_pages,
                "queue": limits.queue, "seconds": limits.timeout,
            },
        })  # fmt: skip

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def numbers() -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


_QUERY = ("format", "dpi", "preview", "name")


def _check_query(request: Request) -> None:
    """Refuse what would be passed over: a misspelt name, or one that comes twice."""
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in _QUERY:
            raise RequestError(400, f"{name[:60]!r} is unknown in the query; known are {', '.join(_QUERY)}")
        if given.count(name) > 1:
            raise RequestError(400, f"{name!r} comes {given.count(name)} times in the query; give it once")


class _Places:
    """A bounded number of uploads at a time."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= self._count:
            raise RequestError(429, f"{self.taken} uploads are under way, no more are taken on; try again later",
                               retry_after=5)  # fmt: skip
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


def _described(description: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_FILE = {"schema": {"type": "string", "format": "binary"}}
_WORD = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "polygon": {
            "description": "[x, y] pixels of the page, clockwise from the top left corner of the text",
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}},
        },
        "line": {"type": "integer", "description": "lines are numbered in reading order"},
    },
}
_PAGE = {
    "type": "object",
    "description": "a page that was read; or image, page and error of one that could not be read",
    "properties": {
        "image": {"type": "string", "description": "name of the file"},
        "page": {"type": "integer", "description": "its place in the file, from 0"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "words": {"type": "array", "items": _WORD},
        "seconds": {"type": "object", "additionalProperties": {"type": "number"}},
        "error": {"type": "string"},
        "preview": {"type": "string", "description": "data URL, if asked for"},
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "what was read",
        "content": {
            MEDIA_TYPES["json"]: {"schema": {"type": "array", "items": _PAGE}},
            MEDIA_TYPES["jsonl"]: {"schema": _PAGE},
            **{MEDIA_TYPES[name]: {"schema": {"type": "string"}} for name in ("text", "csv", "hocr", "alto")},
            MEDIA_TYPES["pdf"]: _FILE,
        },
    },
    400: _described("the request is malformed"),
    403: _described("the request comes from another site's page, or for a name that is not allowed"),
    408: _described("the upload stopped or was too slow"),
    413: _described("the upload has too many bytes or pages"),
    422: _described("the file cannot be read"),
    429: _described("too many requests wait; see Retry-After"),
    503: _described("the service is being stopped"),
    504: _described("reading took too long"),
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["file"],
                }
            },
            "image/*": _FILE,
            "application/pdf": _FILE,
            "application/octet-stream": _FILE,
        },
    }
}
