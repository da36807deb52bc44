"""Map pages through a function and re-attach file and page number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from clip4str_plugin.io.images import PageImage, Unreadable
from clip4str_plugin.page import Page

if TYPE_CHECKING:
    import numpy as np

__all__ = ["pair", "place"]

Result = TypeVar("Result")


def pair(
    pages: Iterable[PageImage | Unreadable], function: Callable[[Iterator[np.ndarray]], Iterator[Result]]
) -> Iterator[tuple[PageImage | Unreadable, Result | None]]:
    """Map pages through a function that keeps their order, and pair each page with its result.

    Args:
        pages: as `clip4str_plugin.io.images.read_pages` gives them.
        function: takes pages, (H, W, 3) uint8 RGB, and gives one result each.

    Yields:
        page and result; for a page that cannot be read, its error and None.
    """
    waiting: deque[PageImage | Unreadable] = deque()

    def readable() -> Iterator[np.ndarray]:
        for page in pages:
            waiting.append(page)
            if isinstance(page, PageImage):
                yield page.pixels

    for result in function(readable()):
        while isinstance(waiting[0], Unreadable):
            yield waiting.popleft(), None
        yield waiting.popleft(), result
    yield from ((page, None) for page in waiting)


def place(origin: PageImage | Unreadable, page: Page | None) -> Page:
    """Note on a page which file and page number it comes from.

    Args:
        origin: what was read.
        page: the result, or None in the place of what cannot be read.
    """
    if isinstance(origin, Unreadable) or page is None:
        return Page(None, error=getattr(origin, "error", None), source=origin.source, index=origin.index)
    page.source, page.index, page.dpi = origin.source, origin.index, origin.dpi
    if page.error is not None:
        where = f"page {origin.index + 1}: " if origin.index else ""
        page.error = f"{origin.source}: {where}{page.error}"
    return page
