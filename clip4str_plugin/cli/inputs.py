"""Input of the commands: files in the given order, errors in their places, a progress bar on a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from clip4str_plugin.io.images import PageImage, Unreadable, find_files, read_pages
from clip4str_plugin.reading.origins import Result, pair

if TYPE_CHECKING:
    import numpy as np

__all__ = ["process", "remark", "report"]

_File = TypeVar("_File")


def process(
    args: argparse.Namespace, function: Callable[[Iterator[np.ndarray]], Iterator[Result]]
) -> Iterator[tuple[PageImage | Unreadable, Result | None]]:
    """Map all pages through a function that keeps their order, and pair each page with its result.

    Args:
        args: parsed with ``add_input_arguments``; the progress bar looks at ``output`` too.
        function: takes pages, (H, W, 3) uint8 RGB, and gives one result each.

    Yields:
        page and result; for a page that cannot be read, its error and None.
    """
    yield from pair(_pages(args), function)


def report(error: str) -> None:
    """Print what went wrong as one line to standard error, above the progress bar if there is one."""
    remark(f"error: {error}")


def remark(line: str) -> None:
    """Print a line to standard error, above the progress bar if there is one."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)


def _pages(args: argparse.Namespace) -> Iterator[PageImage | Unreadable]:
    import warnings

    # Pillow remarks on every oddity of a file; what matters comes as an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    files = list(find_files(args.paths, recursive=args.recursive))
    # Lines that appear on the same terminal are progress enough, and would tear the bar.
    hidden = not sys.stderr.isatty() or (args.output is None and sys.stdout.isatty())
    for file in files if hidden else _with_bar(files):
        if isinstance(file, Unreadable):
            yield file
            continue
        options = {"max_pixels": args.max_pixels, "dpi": args.dpi, "allow_url": args.allow_url}
        with closing(read_pages(file, **options)) as pages:
            yield from pages


def _with_bar(files: list[_File]) -> Iterator[_File]:
    from tqdm import tqdm

    with tqdm(files, unit="file", leave=False, file=sys.stderr) as bar:
        yield from bar
