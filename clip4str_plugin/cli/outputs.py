"""Output of the commands: standard output, a file, or a folder with a file for each input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from clip4str_plugin.cli import UsageError
from clip4str_plugin.io.images import find_files
from clip4str_plugin.io.whole_files import whole_file
from clip4str_plugin.io.writers import SUFFIXES, Writer, format_of, make_writer

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent

__all__ = ["FileNames", "FolderWriter", "choose_format", "inputs", "open_output", "open_writer"]


def inputs(args: argparse.Namespace) -> frozenset[str]:
    """Return the real paths of all files that are read, which nothing written may replace."""
    files = find_files(args.paths, recursive=args.recursive)
    return frozenset(os.path.realpath(path) for path in files if isinstance(path, str) and "\0" not in path)


def choose_format(args: argparse.Namespace, formats: Collection[str]) -> str:
    """Return ``--format``, or without it the one of ``formats`` that the suffix of ``--output`` names, or text."""
    named = format_of(args.output) if args.output is not None else None
    if args.format is None and named is not None and named in formats:
        return named
    return args.format or "text"


@contextmanager
def open_output(args: argparse.Namespace) -> Iterator[BinaryIO]:
    """Open ``--output``, or standard output without it, for bytes; a file appears when it is complete.

    Raises:
        UsageError: it cannot be written, or is one of the inputs.
    """
    if args.output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.realpath(args.output) in inputs(args):
        raise UsageError(f"{args.output} is an input as well; name another file for the output")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(whole_file(args.output))
        except OSError as error:
            raise UsageError(f"{args.output} cannot be written: {error.strerror}") from None
        yield file


@contextmanager
def open_writer(args: argparse.Namespace) -> Iterator[Writer]:
    """Open the writer for ``--format`` and ``--output``; a folder gets a file for each input.

    Raises:
        UsageError: the output cannot be written.
    """
    if args.output is not None and (os.path.isdir(args.output) or args.output.endswith(("/", os.sep))):
        with FolderWriter(args.output, args.format, inputs(args)) as folder:
            yield folder
        return
    if args.format == "page" and len(files := list(find_files(args.paths, recursive=args.recursive))) > 1:
        raise UsageError(f"PAGE XML holds one page a file, these are {len(files)}; name a folder with --output")
    if args.format == "pdf" and args.output is None and sys.stdout.isatty():
        raise UsageError("a PDF does not belong on a terminal; name a file with --output")
    with open_output(args) as stream:
        writer = make_writer(args.format, stream)
        yield writer
        writer.close()


class FileNames:
    """Unique names for files in a folder, after those of the inputs.

    Args:
        folder: created if missing.
        suffix: of the files.
        taken: real paths that are not given.

    Raises:
        UsageError: the folder cannot be created.
    """

    def __init__(self, folder: str | os.PathLike[str], suffix: str, taken: Collection[str] = ()) -> None:
        self.folder = Path(folder)
        self._suffix = suffix
        self._taken = taken
        self._given: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {self.folder} cannot be made: {error.strerror}") from None

    def name(self, source: str, index: int | None = None) -> Path:
        """Return a file for an input, or for a page of it that is not the first."""
        stem = Path(source).stem + (f"-{index + 1}" if index else "")
        name, count = stem, 1
        while name in self._given or os.path.realpath(self._path(name)) in self._taken:
            count += 1
            name = f"{stem}-{count}"
        self._given.add(name)
        return self._path(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{self._suffix}"


class FolderWriter:
    """Writes one file for each input, or for each page where the format has room for one only.

    A file appears when it is whole.
    """

    def __init__(self, folder: str | os.PathLike[str], format: str, taken: Collection[str] = ()) -> None:
        self._names = FileNames(folder, SUFFIXES[format], taken)
        self._format = format
        self._place: tuple[str, int | None] | None = None
        self._file = ExitStack()
        self._writer: Writer | None = None

    def write(self, page: PageContent) -> None:
        """Add a page to the file of its input."""
        place = page.source, page.index if self._format == "page" else 0
        if place != self._place:
            self.close()
            self._place = place
            stream = self._file.enter_context(whole_file(self._names.name(*place)))
            self._writer = make_writer(self._format, stream)
        assert self._writer is not None
        self._writer.write(page)

    def close(self) -> None:
        """Finish the last file."""
        with self._file:
            if self._writer is not None:
                self._writer.close()
        self._writer = None

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self.close()
        else:
            self._file.__exit__(kind, error, trace)
