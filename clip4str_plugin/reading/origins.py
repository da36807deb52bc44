"""Where pages come from: opened one by one, mapped through a function, and told apart again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from clip4str_plugin.io.images import PageImage, Unreadable, find_files, read_pages, to_rgb
from clip4str_plugin.page import Page

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Source", "open_pages", "pair", "place"]

Source: TypeAlias = "str | PathLike[str] | Image | np.ndarray"

Result = TypeVar("Result")


def open_pages(source: Source | Iterable[Source]) -> Iterator[PageImage | Unreadable]:
    """Yield the pages of what `Reader.read` takes."""
    from PIL import Image

    if isinstance(source, (str, PathLike)):
        for file in find_files([source]):
            yield from [file] if isinstance(file, Unreadable) else read_pages(file)
    elif isinstance(source, Image.Image):
        yield PageImage("", 0, to_rgb(source))
    elif isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (1,), (3,), (4,)):
            expected = "an array of uint8 and the shape (H, W), (H, W, 3) or (H, W, 4)"
            yield Unreadable(
                "", f"a page of {source.dtype} and the shape {source.shape} cannot be read: give {expected}"
            )
        else:
            yield PageImage("", 0, to_rgb(Image.fromarray(source.squeeze(2) if source.shape[2:] == (1,) else source)))
    elif isinstance(source, Iterable):
        for each in source:
            yield from open_pages(each)
    else:
        raise TypeError(f"a {type(source).__name__} cannot be read: give a path, an image, an array or several of them")


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
