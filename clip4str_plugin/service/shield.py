"""Middleware for every request: security headers, and metrics of the answers."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from clip4str_plugin.service.problems import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clip4str_plugin.service.metrics import Metrics

__all__ = ["HEADERS", "Shield"]

# Ways of a header to say where the body ends; with both, a proxy may see another request than we do.
_FRAMING = ("content-length", "transfer-encoding")

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
        hosts: names under which browsers may reach the service, see ``create_app``.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._metrics = metrics
        self._any_host = "*" in hosts
        self._hosts = {name.lower().rstrip(".") for name in (*hosts, "localhost", socket.gethostname()) if name}

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

        refusal = self._refusal(Headers(scope=scope), scope["method"])
        app = self._app if refusal is None else refusal.response()
        if scope["path"] != "/read":
            return await app(scope, receive, send_with_headers)
        begin = time.perf_counter()
        try:
            await app(scope, count_bytes, send_with_headers)
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.requests.labels(str(status)).inc()
            self._metrics.request_seconds.observe(time.perf_counter() - begin)

    def _refusal(self, headers: Headers, method: str) -> RequestError | None:
        """Why a request is not let in.

        A page of another site can make a browser send it: under a name of its own that means this machine (DNS
        rebinding), then it could read the answer too; or blindly, then its origin says so.
        """
        if all(name in headers for name in _FRAMING):
            return RequestError(400, "the request has Content-Length and Transfer-Encoding; send one", close=True)
        host = headers.get("host", "")
        if host and not self._is_known(_name(host)):
            return RequestError(
                403, f"{_name(host)[:100]!r} is no name of this service; allow it with --allow-host", close=True
            )
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and origin is not None and not self._any_host:
            own = urlsplit(origin).netloc == host or _name(urlsplit(origin).netloc) in self._hosts - {"localhost"}
            if not (own and host):
                return RequestError(
                    403, f"the request comes from a page of {origin[:100]!r}; allow it with --allow-host", close=True
                )
        return None

    def _is_known(self, name: str) -> bool:
        if self._any_host or name.lower().rstrip(".") in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)  # cannot be made to mean another machine
        except ValueError:
            return False
        return True


def _name(place: str) -> str:
    """The host of ``host:port``, without the brackets of IPv6.

    >>> _name("[::1]:8000"), _name("localhost:8000"), _name("example.org")
    ('::1', 'localhost', 'example.org')
    """
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0].lower()
