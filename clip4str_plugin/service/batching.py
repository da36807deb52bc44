"""Word crops of several requests in the same batches."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip4str_plugin.model.preprocess import Color
    from clip4str_plugin.reading.recognizer import Recognition, Recognizer

__all__ = ["Batcher", "Cancelled", "SharedRecognizer"]


class Cancelled(Exception):  # noqa: N818  # an order, not a fault
    """The request was cancelled."""


@dataclass(eq=False)
class _Order:
    """Crops that somebody wants read, and what is known of them so far, in order."""

    crops: list[Any]
    color: Color
    cancelled: threading.Event
    upright: bool = False
    results: list[Recognition] = field(default_factory=list)
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def left(self) -> int:
        return len(self.crops) - len(self.results)

    @property
    def kind(self) -> tuple[Color, bool]:
        """What the crops of a batch have in common."""
        return self.color, self.upright


class Batcher:
    """Fills the batches of one recognizer with the crops of all requests, in one thread.

    No crop waits for company: a batch is made of whatever has come while the one before it was read. Each order gets
    an equal share of it, so that a photo with three words does not wait for a page with five hundred.

    Args:
        recognizer: whose results depend neither on the batch size nor on the neighbours in a batch.
        observe: called after each batch with its numbers of crops and of orders.
    """

    def __init__(self, recognizer: Recognizer, observe: Callable[[int, int], None] | None = None) -> None:
        self.recognizer = recognizer
        self._observe = observe
        self._waiting: list[_Order] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="clip4str-batcher", daemon=True)
        self._thread.start()

    def read(
        self, crops: list[Any], color: Color, cancelled: threading.Event, *, upright: bool = False
    ) -> list[Recognition]:
        """Read crops, as a recognizer does; blocks until they are read.

        Args:
            crops: as `clip4str_plugin.Recognizer` takes them.
            color: channel order of arrays with three or four channels.
            cancelled: set when nobody waits for the result any more; crops not begun by then are dropped.
            upright: read them with the recognizer's ``upright``, where it has one.

        Raises:
            Cancelled: the result is not wanted any more, or the batcher was closed.
            Exception: what the recognizer raises for these crops.
        """
        if not crops:
            return []
        order = _Order(crops, color, cancelled, upright)
        with self._changed:
            if self._closed:
                raise Cancelled
            self._waiting.append(order)
            self._changed.notify()
        order.done.wait()
        if order.error is not None:
            raise order.error
        return order.results

    def close(self) -> None:
        """Drop what waits and end the thread after the current batch."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while shares := self._next_batch():
            try:
                self._read(shares)
            except Exception as error:  # of one order, but nothing says whose: each alone
                for order, count in shares:
                    try:
                        if len(shares) == 1:
                            raise error
                        self._read([(order, count)])
                    except Exception as own:
                        order.error = own
            for order, _ in shares:
                if order.error is not None or not order.left:
                    self._finish(order)

    def _next_batch(self) -> list[tuple[_Order, int]]:
        """Whose crops come next and how many of each; nothing once the batcher is closed."""
        with self._changed:
            while True:
                for order in [order for order in self._waiting if self._closed or order.cancelled.is_set()]:
                    order.error = Cancelled()
                    self._finish(order)
                if self._closed:
                    return []
                if self._waiting:
                    break
                self._changed.wait()
            orders = [order for order in self._waiting if order.kind == self._waiting[0].kind]
        shares = _fair_shares([order.left for order in orders], self.recognizer.batch_size)
        return [(order, count) for order, count in zip(orders, shares) if count]

    def _read(self, shares: list[tuple[_Order, int]]) -> None:
        crops: list[Any] = []
        for order, count in shares:
            begin = len(order.results)
            crops += order.crops[begin : begin + count]
        color, upright = shares[0][0].kind
        recognizer = getattr(self.recognizer, "upright", self.recognizer) if upright else self.recognizer
        results = iter(recognizer(crops, color))
        for order, count in shares:
            order.results += islice(results, count)
        if self._observe is not None:
            self._observe(len(crops), len(shares))

    def _finish(self, order: _Order) -> None:
        with self._changed:
            self._waiting.remove(order)
        order.done.set()


def _fair_shares(wanted: Sequence[int], room: int) -> list[int]:
    """Deal places out one by one, in turn, to those who want more.

    >>> _fair_shares([100, 2, 5], 9)
    [4, 2, 3]
    """
    shares = [0] * len(wanted)
    while room and shares != list(wanted):
        for index, most in enumerate(wanted):
            if room and shares[index] < most:
                shares[index] += 1
                room -= 1
    return shares


class SharedRecognizer:
    """The recognizer of one request; it sends its crops to a batcher.

    Args:
        batcher: reads them.
        cancelled: as in `Batcher.read`.
    """

    def __init__(self, batcher: Batcher, cancelled: threading.Event) -> None:
        self._batcher = batcher
        self._cancelled = cancelled
        self._upright = False

    @property
    def upright(self) -> SharedRecognizer:
        """The same, as `clip4str_plugin.Recognizer.upright` is."""
        same = copy.copy(self)
        same._upright = True
        return same

    @property
    def batch_size(self) -> int:
        """That of the recognizer behind."""
        return self._batcher.recognizer.batch_size

    @property
    def config(self) -> Any:
        """The configuration of its model, which says among other things how long a text it can return."""
        return getattr(self._batcher.recognizer, "config", None)

    @property
    def options(self) -> Any:
        """Its options, which say among other things of what kind its confidences are."""
        return getattr(self._batcher.recognizer, "options", None)

    def __call__(self, crops: Iterable[Any], color: Color = "rgb") -> list[Recognition]:
        """Read all crops, as `clip4str_plugin.Recognizer.__call__` does."""
        return self._batcher.read(list(crops), color, self._cancelled, upright=self._upright)

    def stream(self, crops: Iterable[Any], color: Color = "rgb") -> Iterator[Recognition]:
        """Read crops a batch at a time, as `clip4str_plugin.Recognizer.stream` does."""
        iterator = iter(crops)
        while chunk := list(islice(iterator, self.batch_size)):
            yield from self(chunk, color)
