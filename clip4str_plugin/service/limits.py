"""Limits of a service, so that no client can exhaust it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of a service.

    Attributes:
        max_upload: bytes of a request's body.
        max_pixels: pixels of a page; larger ones are refused before they are decoded.
        max_pages: pages of a request, those of all its files together.
        queue: requests that may wait while others are read; one more is answered 429.
        workers: requests that are read at the same time. Their words share batches of the recognizer.
        timeout: seconds until a request that was received must be answered; receiving it may take as long again.
        stall: seconds without a byte after which an upload is given up.
        connections: open connections; beyond, 503 is answered.

    Raises:
        ValueError: a bound leaves no room for anything.
    """

    max_upload: int = 25_000_000
    max_pixels: int = 50_000_000
    max_pages: int = 30
    queue: int = 16
    workers: int = 4
    timeout: float = 120.0
    stall: float = 15.0
    connections: int = 500

    def __post_init__(self) -> None:
        for field in fields(self):
            smallest = 0 if field.name == "queue" else 1 if isinstance(field.default, int) else 0.001
            if not smallest <= (value := getattr(self, field.name)) < math.inf:  # nan as well
                raise ValueError(f"{field.name} is {value}; it must be a number of at least {smallest}")
