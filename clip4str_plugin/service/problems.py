"""Errors as a client gets them: always one JSON object, ``{"error": "..."}``."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

__all__ = ["RequestError", "add_handlers", "stopping"]

logger = logging.getLogger(__name__)


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: of the answer.
        message: one line that names the input and the remedy.
        retry_after: seconds after which the same request may succeed.
        close: end the connection with the answer.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.close = close

    def response(self) -> JSONResponse:
        """The answer that says so."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.close:
            headers["Connection"] = "close"
        return JSONResponse({"error": self.message}, self.status, headers)


def stopping() -> RequestError:
    """The answer while the service stops."""
    return RequestError(503, "the service is being stopped; try again later", retry_after=10)


def add_handlers(app: FastAPI) -> None:
    """Make an application answer all errors in the same form."""

    @app.exception_handler(RequestError)
    async def _(request: Request, error: RequestError) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        remedy = {
            404: "GET / is the page for people, POST /read the service; /openapi.json describes it",
            405: "files are sent with POST /read, everything else is asked for with GET",
        }.get(error.status_code, str(error.detail))
        phrase = HTTPStatus(error.status_code).phrase.lower()
        message = f"{request.method} {request.url.path}: {phrase}; {remedy}"
        return JSONResponse({"error": message}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [f"{item['loc'][-1]}={item['input']!r}: {item['msg']}" for item in error.errors()]
        return JSONResponse({"error": "; ".join(wrong)}, 400)

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> JSONResponse:
        # The server logs the traceback; a client gets none of it.
        return JSONResponse({"error": "the service failed on this request; its log says why"}, 500)
