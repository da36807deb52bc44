"""Decode files in child processes that are limited in memory and time, killed when they exceed it, and reused."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import asdict
from typing import IO

import numpy as np

from clip4str_plugin.errors import ImageError
from clip4str_plugin.io.decoder_worker import OUT_OF_MEMORY
from clip4str_plugin.io.decoding import Decoding, PageImage, Unreadable

__all__ = ["PAGE_SECONDS", "close_idle", "decode_apart", "memory_limit", "warm_up"]

PAGE_SECONDS = 120.0
"""A page that takes longer to decode is given up."""

# Bytes a child may use: for a page in several forms at a time (four channels, floating point, the copy that is sent),
# and for the decoder itself.
_BYTES_A_PIXEL, _BYTES_MORE = 16, 300_000_000
_MOST_LOST = 3  # pages of a file that may end the child before the rest of the file is given up
_MOST_IDLE = 2  # children that wait for the next file
_TICK = 0.05  # seconds between two looks at the clock

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from clip4str_plugin.io.decoder_worker import serve; serve()"
)
# One thread: a child decodes one page, and BLAS would reserve memory for each of its own.
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def memory_limit(max_pixels: int) -> int:
    """Return the bytes that a child may use for pages of at most so many pixels."""
    return _BYTES_MORE + _BYTES_A_PIXEL * max_pixels


def decode_apart(
    file: IO[bytes],
    source: str,
    how: Decoding,
    *,
    path: str | None = None,
    seconds: float = PAGE_SECONDS,
    stop: Callable[[], bool] | None = None,
) -> Generator[PageImage | Unreadable, None, None]:
    """Decode a file in a child process, page by page; see `clip4str_plugin.io.decoding.decode`.

    A page that ends the child costs only itself: another child goes on behind it.

    Args:
        file: seekable; its content is sent to the child.
        source: what to call it.
        how: limits and resolution.
        path: where the child finds the file itself; then ``file`` is not used.
        seconds: for each page.
        stop: asked again and again while a page is decoded; true kills the child and ends the pages.

    Yields:
        pages in order; an `Unreadable` in the place of each that cannot be read.
    """
    content = b""
    if path is None:
        file.seek(0)
        content = file.read()
    first = 0
    for _ in range(_MOST_LOST):
        child = _borrow()
        watch = _Watch(child, seconds, stop)
        try:
            for page in _pages(child, source, how, path, content, first, watch):
                first = (page.index or 0) + 1
                yield page
            return
        except _LostError:
            if watch.stopped:
                return
            yield Unreadable(source, f"{source}: {_why(child, first, how, watch)}", first or None)
        finally:
            watch.end()
            _give_back(child, watch.healthy)
        first += 1
        if first >= watch.count:
            return
    yield Unreadable(
        source, f"{source}: pages from {first + 1} on are not read, {_MOST_LOST} before them failed", first
    )


class _LostError(Exception):
    """The child has ended in the middle of its work."""


def _pages(
    child: _Child, source: str, how: Decoding, path: str | None, content: bytes, first: int, watch: _Watch
) -> Generator[PageImage | Unreadable, None, None]:
    request = {"path": path and os.path.abspath(path), "source": source, "first": first, "how": asdict(how),
               "memory": memory_limit(how.max_pixels), "size": len(content)}  # fmt: skip
    watch.begin()
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.write(content)
        child.stdin.flush()
        while True:
            line = child.stdout.readline()
            if not line.endswith(b"\n"):
                raise _LostError
            message = json.loads(line)
            if "end" in message:
                watch.healthy = message["again"]
                return
            if "count" in message:
                watch.count = message["count"]
                continue
            if "error" in message:
                page: PageImage | Unreadable = Unreadable(source, message["error"], message["index"])
            else:
                pixels = np.empty(message["shape"], np.uint8)
                _fill(child.stdout, memoryview(pixels.data).cast("B"))
                page = PageImage(source, message["index"], pixels, message["dpi"])
                del pixels
            watch.pause()  # the time until the next page is asked for is not the child's
            yield page
            del page
            watch.begin()
    except (OSError, ValueError):
        raise _LostError from None


def _fill(stream: IO[bytes], room: memoryview) -> None:
    while room:
        count = stream.readinto(room)  # type: ignore[attr-defined]
        if not count:
            raise _LostError
        room = room[count:]


def _why(child: _Child, index: int, how: Decoding, watch: _Watch) -> str:
    where = f"page {index + 1} " if index else ""
    if watch.late:
        return (
            f"{where}took longer than {watch.seconds:g} seconds to decode and was given up; save it again more simply"
        )
    megabytes = memory_limit(how.max_pixels) // 1_000_000
    status = child.process.wait()
    what = f"needs more than {megabytes:,} MB to be decoded, or breaks its decoder"
    if status != OUT_OF_MEMORY:
        what = f"breaks its decoder, or needs more than {megabytes:,} MB"
    return f"{where}{what}; save it again with another program"


class _Child:
    """A process of `clip4str_plugin.io.decoder_worker.serve`."""

    def __init__(self) -> None:
        if not sys.executable:
            raise ImageError("cannot be decoded safely: Python does not know its own program (sys.executable)")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_SETTINGS},
            )
        except OSError as error:
            raise ImageError(f"cannot be decoded, no process can be started for it ({error.strerror})") from None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin: IO[bytes] = self.process.stdin
        self.stdout: IO[bytes] = self.process.stdout
        if not self.stdout.readline():  # it is ready
            self.close()
            raise ImageError("cannot be decoded, the process for it does not start")

    def close(self) -> None:
        """Kill the process."""
        self.process.kill()
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):  # what was to be written has no reader any more
                stream.close()
        self.process.wait()


class _Watch:
    """Kills a child that takes too long, or whose work nobody waits for any more; knows what became of it.

    Attributes:
        seconds: for each page.
        count: pages the file may have, 0 until it is open.
        healthy: the child has done its work and can be used again.
        late: it was killed because a page took too long.
        stopped: it was killed because nobody waits any more.
    """

    def __init__(self, child: _Child, seconds: float, stop: Callable[[], bool] | None) -> None:
        self.seconds = seconds
        self.count = 0
        self.healthy = self.late = self.stopped = False
        self._child = child
        self._stop = stop
        self._deadline: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clip4str-decoder-watch", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Start counting the time."""
        self._deadline = time.monotonic() + self.seconds

    def pause(self) -> None:
        """Stop counting the time."""
        self._deadline = None

    def end(self) -> None:
        """Stop watching."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_TICK):
            self.stopped = self._stop is not None and self._stop()
            deadline = self._deadline
            self.late = not self.stopped and deadline is not None and time.monotonic() > deadline
            if self.stopped or self.late:
                self._child.process.kill()
                return


_idle: list[_Child] = []
_lock = threading.Lock()


def _borrow() -> _Child:
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.process.poll() is None:
                return child
            child.close()
    return _Child()


def _give_back(child: _Child, healthy: bool) -> None:
    if healthy:
        with _lock:
            if len(_idle) < _MOST_IDLE:
                _idle.append(child)
                return
    child.close()


def warm_up() -> None:
    """Start a child that waits for the first file."""
    _give_back(_borrow(), healthy=True)


def close_idle() -> None:
    """Stop idle children."""
    with _lock:
        while _idle:
            _idle.pop().close()


atexit.register(close_idle)


def _forget() -> None:
    # After a fork the children are those of the other process.
    global _lock
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
