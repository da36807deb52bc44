"""Download a URL to a temporary file, with limits of size and time."""

from __future__ import annotations

import http.client
import re
import socket
import tempfile
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from typing import IO, Any

from clip4str_plugin.errors import ImageError

__all__ = ["MAX_BYTES", "fetch_url", "is_url"]

MAX_BYTES = 100_000_000
"""Larger files are not fetched."""

SECONDS = 60.0  # for all of it
SILENCE = 15.0  # for a connection, and between two bytes
_BLOCK = 1 << 16


def is_url(path: str) -> bool:
    """Tell whether a path is an http or https URL.

    >>> is_url("https://example.org/a.png"), is_url("photos/a.png")
    (True, False)
    """
    return re.match("https?://", path, re.IGNORECASE) is not None


def fetch_url(url: str, *, max_bytes: int = MAX_BYTES, seconds: float = SECONDS, silence: float = SILENCE) -> IO[bytes]:
    """Download a file over HTTP into a temporary one that is deleted when it is closed.

    Redirections are followed to other ``http`` and ``https`` addresses only. The system's proxy settings hold.

    Args:
        url: an ``http`` or ``https`` address.
        max_bytes: larger files are refused, at the latest when they have sent this much.
        seconds: for everything together but looking up the server's name: head, redirections and content.
        silence: for a connection, and between two bytes.

    Returns:
        the file, to be read from its start.

    Raises:
        ImageError: nothing usable came; it does not name the URL.
    """
    deadline = _Deadline(seconds)
    headers = {"User-Agent": "clip4str-plugin", "Accept": "image/*, application/pdf"}
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    try:
        request = urllib.request.Request(url, headers=headers)
        opener = urllib.request.build_opener(_WebOnly, _Http(deadline), _Https(deadline))
        with deadline, opener.open(request, timeout=min(seconds, silence)) as answer:
            length = answer.headers.get("Content-Length", "")
            if length.isdigit() and int(length) > max_bytes:
                raise ImageError(f"has {int(length):,} bytes, {_too_large(max_bytes)}")
            while block := answer.read1(_BLOCK):
                file.write(block)
                if file.tell() > max_bytes:
                    raise ImageError(f"has {_too_large(max_bytes)}")
            deadline.check()
            if length.isdigit() and file.tell() < int(length):
                raise ImageError(f"broke off after {file.tell():,} of {int(length):,} bytes; try again")
        if not file.tell():
            raise ImageError("the server sent an empty file (0 bytes)")
        file.seek(0)
        return file
    except BaseException as error:
        file.close()
        if isinstance(error, Exception):
            deadline.check()
        if isinstance(error, (OSError, http.client.HTTPException, ValueError)) and not isinstance(error, ImageError):
            raise ImageError(f"cannot be fetched ({_reason(error)}); check the address and the connection") from None
        raise


class _Deadline:
    """Cuts connections when time is up, in whatever they are: a server may drip bytes and never be silent for long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._over = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def connect(self, *args: Any, **options: Any) -> socket.socket:
        """As `socket.create_connection`."""
        connection = socket.create_connection(*args, **options)
        with self._lock:
            # Another handle of the same connection: TLS takes the first one over.
            self._sockets.append(connection.dup())
        if self._over:
            self._cut()
        return connection

    def check(self) -> None:
        """Raise ImageError if time is up."""
        if self._over:
            raise ImageError(f"took longer than {self._seconds:g} seconds to fetch; download it first") from None

    def _cut(self) -> None:
        with self._lock:
            self._over = True
            for each in self._sockets:
                with suppress(OSError):  # it has ended already
                    each.shutdown(socket.SHUT_RDWR)


class _Watched(urllib.request.AbstractHTTPHandler):
    """Opens connections that a deadline can cut."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        def connection(*args: Any, **more: Any) -> http.client.HTTPConnection:
            made = http_class(*args, **more)
            made._create_connection = self._deadline.connect
            return made

        return super().do_open(connection, req, **options)


class _Http(_Watched, urllib.request.HTTPHandler):
    pass


class _Https(_Watched, urllib.request.HTTPSHandler):
    pass


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Does not follow a redirection to anything but a web address; the standard library would follow FTP too."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if not is_url(newurl):
            raise ImageError(f"redirects to {newurl!r}, which is no web address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _too_large(max_bytes: int) -> str:
    return f"more than the {max_bytes:,} that are fetched at most; download it first"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return " ".join(f"the server answers {error.code} {error.reason}".split())
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return "the server does not answer"
    return " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
