"""What holds for every request: headers that protect the page's visitors, and the count of what was answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clip4str_plugin.service.metrics import Metrics

__all__ = ["HEADERS", "Shield"]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every answer: the page runs its own scripts only, and nobody else's page shows ours."""


class Shield:
    """ASGI middleware that adds `HEADERS` and counts requests for reading.

    Args:
        app: the application.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status = 499

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        async def count_bytes() -> Message:
            message = await receive()
            self._metrics.upload_bytes.inc(len(message.get("body", b"")))
            return message

        if scope["path"] != "/read":
            return await self._app(scope, receive, send_with_headers)
        begin = time.perf_counter()
        try:
            await self._app(scope, count_bytes, send_with_headers)
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.requests.labels(str(status)).inc()
            self._metrics.request_seconds.observe(time.perf_counter() - begin)
