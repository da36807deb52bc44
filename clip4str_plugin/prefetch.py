"""Work on the next items in background threads while the current one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["map_ahead", "prefetch"]

T = TypeVar("T")
R = TypeVar("R")


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
    return _map_ahead(lambda item: item, items, 1, depth)


def map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield ``function(item)`` for ``items`` in order, while threads work on the ones that follow.

    What `prefetch` says of errors and of closing holds here, too.

    Args:
        function: called by several threads at once.
        items: iterated in the background threads, by one at a time.
        threads: how many; as many items may be waiting or in work.

    >>> list(map_ahead(abs, [-1, 2, -3], threads=2))
    [1, 2, 3]
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, is {threads}")
    return _map_ahead(function, items, threads, threads)


def _map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int, depth: int) -> Iterator[R]:
    # The results in the order of their items, in work or done; None at the end.
    results: queue.SimpleQueue[Future[R] | None] = queue.SimpleQueue()
    # Room is made before an item is, so that none is produced that would only wait to be put in the queue.
    room = threading.Semaphore(depth)
    taking = threading.Lock()
    stop = threading.Event()
    source = iter(items)

    def take() -> tuple[T, Future[R]] | None:
        """The next item, and where its result belongs."""
        with taking:
            room.acquire()
            if stop.is_set():
                room.release()  # for the next thread that waits
                return None
            try:
                item = next(source)
            except BaseException as error:
                stop.set()
                room.release()
                if not isinstance(error, StopIteration):
                    failed: Future[R] = Future()
                    failed.set_exception(error)
                    results.put(failed)
                results.put(None)
                return None
            result: Future[R] = Future()
            results.put(result)
            return item, result

    def work() -> None:
        while (taken := take()) is not None:
            item, result = taken
            try:
                result.set_result(function(item))
            except BaseException as error:  # handed to the consumer, whatever it is
                result.set_exception(error)
            del taken, item, result  # else they would live until the next ones are there

    workers = [threading.Thread(target=work, name="clip4str-prefetch", daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        while (entry := results.get()) is not None:
            result = entry.result()
            del entry
            room.release()
            yield result
            del result  # as above
    finally:
        stop.set()
        room.release()  # for a thread that waits: it sees the flag right after
        for worker in workers:
            worker.join()
