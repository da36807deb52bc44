"""Work ahead: produce the next items in a background thread while the present one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """Yield ``items`` in order, while a thread produces the ones that follow.

    An error raised by ``items`` is raised here, after everything that came before it. Closing the iterator (or
    leaving it to the garbage collector) waits for the item in production and ends the thread, so that ``items`` is
    never touched afterwards.

    Args:
        items: iterated in the background thread, from the first request on.
        depth: how many finished items may wait; at most ``depth + 2`` exist at a time.

    >>> list(prefetch(range(3)))
    [0, 1, 2]
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, is {depth}")
    return _prefetch(items, depth)


def _prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    # Each entry is (item,), an exception, or None at the end.
    finished: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def produce() -> None:
        try:
            for item in items:
                finished.put((item,))
                if stop.is_set():
                    return
        except BaseException as error:  # handed to the consumer, whatever it is
            finished.put(error)
        else:
            finished.put(None)

    thread = threading.Thread(target=produce, name="clip4str-prefetch", daemon=True)
    thread.start()
    try:
        while (entry := finished.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
            del entry  # else the item would live until the next one is there
    finally:
        stop.set()
        # Room for a producer that waits in put(): it sees the flag right after.
        while not finished.empty():
            finished.get()
        thread.join()
