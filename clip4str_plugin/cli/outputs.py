"""The way of the output: standard output, a file, or a folder with a file for each input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from clip4str_plugin.cli import UsageError
from clip4str_plugin.io.writers import SUFFIXES, Writer, make_writer

if TYPE_CHECKING:
    from clip4str_plugin.page import Page

__all__ = ["FileNames", "FolderWriter", "open_output", "open_writer"]


@contextmanager
def open_output(args: argparse.Namespace) -> Iterator[BinaryIO]:
    """Open ``--output``, or standard output without it, for bytes.

    Raises:
        UsageError: it cannot be written, or is one of the inputs.
    """
    if args.output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if any(os.path.exists(path) and os.path.exists(args.output) and os.path.samefile(path, args.output)
           for path in args.paths):  # fmt: skip
        raise UsageError(f"{args.output} is an input as well; name another file for the output")
    try:
        file = open(args.output, "wb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"{args.output} cannot be written: {error.strerror}") from None
    with file:
        yield file


@contextmanager
def open_writer(args: argparse.Namespace) -> Iterator[Writer]:
    """Open the writer for ``--format`` and ``--output``; a folder gets a file for each input.

    Raises:
        UsageError: the output cannot be written.
    """
    if args.output is not None and (os.path.isdir(args.output) or args.output.endswith(("/", os.sep))):
        writer: Writer = FolderWriter(args.output, args.format)
        yield writer
        writer.close()
        return
    if args.format == "pdf" and args.output is None and sys.stdout.isatty():
        raise UsageError("a PDF does not belong on a terminal; name a file with --output")
    with open_output(args) as stream:
        writer = make_writer(args.format, stream)
        yield writer
        writer.close()


class FileNames:
    """Names for files in a folder after those of the inputs, each given only once.

    Args:
        folder: created if missing.
        suffix: of the files.

    Raises:
        UsageError: the folder cannot be created.
    """

    def __init__(self, folder: str | os.PathLike[str], suffix: str) -> None:
        self.folder = Path(folder)
        self._suffix = suffix
        self._given: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {self.folder} cannot be made: {error.strerror}") from None

    def name(self, source: str, index: int | None = None) -> Path:
        """Return a file for an input, or for a page of it that is not the first."""
        stem = Path(source).stem + (f"-{index + 1}" if index else "")
        name, count = stem, 1
        while name in self._given:
            count += 1
            name = f"{stem}-{count}"
        self._given.add(name)
        return self.folder / f"{name}{self._suffix}"


class FolderWriter:
    """Writes one file for each input, or for each page where the format has room for one only."""

    def __init__(self, folder: str | os.PathLike[str], format: str) -> None:
        self._names = FileNames(folder, SUFFIXES[format])
        self._format = format
        self._place: tuple[str, int | None] | None = None
        self._file: BinaryIO | None = None
        self._writer: Writer | None = None

    def write(self, page: Page) -> None:
        """Add a page to the file of its input."""
        place = page.source, page.index if self._format == "page" else 0
        if place != self._place:
            self.close()
            self._place = place
            self._file = self._names.name(*place).open("wb")
            self._writer = make_writer(self._format, self._file)
        assert self._writer is not None
        self._writer.write(page)

    def close(self) -> None:
        """Finish the last file."""
        if self._writer is not None and self._file is not None:
            with self._file:
                self._writer.close()
            self._writer = self._file = None
