"""The server process: a socket, uvicorn, and time limits for idle connections."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from clip4str_plugin.errors import Clip4StrError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from clip4str_plugin.service.job_queue import JobQueue
    from clip4str_plugin.service.limits import Limits

__all__ = ["bind", "build_server"]

# Seconds until a connection must have sent the head of a request, counted from its beginning or the answer before.
_HEAD_SECONDS = 20.0
# Seconds for the requests under way when the service is stopped; then all are answered, and those that do
# not take their answer are dropped.
_GRACE_SECONDS = 8
_FAREWELL_SECONDS = 2
# Seconds without an acknowledgement from the client's machine, or with a full window, until a connection is dropped.
_SILENCE_SECONDS = 60


def bind(host: str, port: int) -> socket.socket:
    """Open the socket to listen on.

    Args:
        host: name or address; an IPv6 address without brackets.
        port: 0 takes a free one.

    Raises:
        Clip4StrError: the address is taken or not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Clip4StrError(f"{host} is no address of this machine ({error.strerror}); choose another --host") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by connections: clients that vanish or never read their answer are dropped by the kernel.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_SECONDS * 1000)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Clip4StrError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another --host or --port"
        ) from None
    return listener


def build_server(app: FastAPI, limits: Limits, log_level: str = "warning") -> uvicorn.Server:
    """Return the server of an application; run it with ``server.run(sockets=[bind(...)])``.

    SIGINT and SIGTERM stop it: no new connections, some seconds for the requests under way, then the end.

    Args:
        app: from `clip4str_plugin.service.app.create_app`.
        limits: bound the connections.
        log_level: of uvicorn; "info" logs every request.
    """
    config = uvicorn.Config(
        app,
        http=_ImpatientProtocol,
        ws="none",
        log_level=log_level,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=_GRACE_SECONDS + _FAREWELL_SECONDS,
        server_header=False,
    )
    return _Server(config, app.state.job_queue)


class _Server(uvicorn.Server):
    """Tells those who still wait when the service ends, instead of cutting them off."""

    def __init__(self, config: uvicorn.Config, job_queue: JobQueue) -> None:
        super().__init__(config)
        self._job_queue = job_queue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        alarm = asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._job_queue.stop)
        try:
            await super().shutdown(sockets)
        finally:
            alarm.cancel()


class _ImpatientProtocol(H11Protocol):
    """Drops connections that do not send the head of a request in time; uvicorn would wait for ever."""

    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._set_alarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_alarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._unset_alarm()

    def send_400_response(self, msg: str) -> None:
        # What is no HTTP may come after a request: its answer, if it is under way, has nobody to hear it any more, and
        # if it was given, there is no other one.
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        # Set first: uvicorn begins with the next request, if there is one, before it returns.
        self._set_alarm()
        super().on_response_complete()
        if not self.cycle.response_complete:
            self._unset_alarm()

    def _set_alarm(self) -> None:
        self._unset_alarm()
        self._alarm = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def _unset_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
