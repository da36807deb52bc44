"""Produce the next items in a background thread while the current one is used."""

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
        depth: how many items may be waiting or in production; with the one in use, ``depth + 1`` exist at a time.

    >>> list(prefetch(range(3)))
    [0, 1, 2]
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, is {depth}")
    return _prefetch(items, depth)


def _prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    # Each entry is (item,), an exception, or None at the end.
    finished: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
    # Room is made before an item is, so that none is produced that would only wait to be put in the queue.
    room = threading.Semaphore(depth)
    stop = threading.Event()

    def produce() -> None:
        try:
            iterator = iter(items)
            while room.acquire() and not stop.is_set():
                try:
                    item = next(iterator)
                except StopIteration:
                    finished.put(None)
                    return
                finished.put((item,))
                del item  # else it would live until the next one is there
        except BaseException as error:  # handed to the consumer, whatever it is
            finished.put(error)

    thread = threading.Thread(target=produce, name="clip4str-prefetch", daemon=True)
    thread.start()
    try:
        while (entry := finished.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            room.release()
            yield entry[0]
            del entry  # as above
    finally:
        stop.set()
        room.release()  # for a producer that waits: it sees the flag right after
        thread.join()
