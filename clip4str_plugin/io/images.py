"""From paths to pages: photos, multi-page TIFFs, PDFs and folders of them, also damaged and hostile ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import IO

from clip4str_plugin.errors import ImageError
from clip4str_plugin.io.decoding import MAX_PIXELS, PDF_DPI, Decoding, PageImage, Unreadable, decode, open_image, to_rgb
from clip4str_plugin.io.urls import fetch_url, is_url

__all__ = [
    "MAX_PIXELS",
    "PAGE_SUFFIXES",
    "PDF_DPI",
    "PageImage",
    "Unreadable",
    "find_files",
    "read_pages",
    "read_stream",
    "to_rgb",
]

PAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm",
     ".pdf", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)  # fmt: skip
"""Of a folder, only files that end so are read; a path that is named is read whatever its suffix."""

# What is decoded in this process: images of these formats, no larger than those of a usual camera, and JPEGs in no more
# scans than they need. A child process costs a third of a second, and is used for everything else.
_PLAIN = frozenset({"BMP", "DIB", "GIF", "JPEG", "MPO", "PNG", "PPM", "TGA", "WEBP"})
_PLAIN_PIXELS = 16_000_000
_PLAIN_SCANS = 64
_PLAIN_BYTES = 200_000_000
# Decoding begins while these are opened, or has no end that their header tells.
_NEVER_PLAIN = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_START_OF_SCAN = b"\xff\xda"  # of a JPEG; in its compressed data 0xff is never followed by 0xda


def find_files(paths: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> Iterator[str | Unreadable]:
    """Replace folders by the images and PDFs in them, sorted by name; keep everything else as it is.

    Hidden files and those with other suffixes are skipped.

    Args:
        paths: files and folders.
        recursive: also look into subfolders.
    """
    for path in paths:
        path = str(os.fspath(path))
        if not os.path.isdir(path):
            yield path
            continue
        try:
            found = _list_folder(path, recursive)
        except OSError as error:
            yield Unreadable(path, f"{path}: the folder cannot be read ({error.strerror or error})")
            continue
        hint = "" if recursive else "; folders within it are searched with --recursive (recursive=True)"
        yield from found
        if not found:
            yield Unreadable(path, f"{path}: the folder holds no image or PDF{hint}")


def _list_folder(path: str, recursive: bool) -> list[str]:
    files: list[str] = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                files += _list_folder(entry.path, recursive) if recursive else []
            elif os.path.splitext(entry.name)[1].lower() in PAGE_SUFFIXES:
                files.append(entry.path)
    return files


def read_pages(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    dpi: float = PDF_DPI,
    allow_url: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Generator[PageImage | Unreadable, None, None]:
    """Read a file page by page; memory holds two pages at a time.

    The type of a file follows from its content, not from its suffix. TIFFs and PDFs give all their pages, animations
    their first picture. Transparent parts get a background on which the text is visible; 16 bits per channel are
    scaled to 8. HEIC photos need the package ``pillow-heif``.

    PDFs, TIFFs, large images and whatever may take long are decoded in child processes, which are limited to
    `clip4str_plugin.io.decoder_pool.memory_limit` and ``PAGE_SECONDS`` a page.

    >>> from clip4str_plugin.io.images import read_pages
    >>> [page.error for page in read_pages("missing.png")]
    ['missing.png: there is no such file']

    Args:
        path: a file; or the URL of one, see ``allow_url``.
        max_pixels: pages with more pixels are refused before they are decoded. A value beyond twice
            ``PIL.Image.MAX_IMAGE_PIXELS`` raises that limit of Pillow's as well, for the whole process.
        dpi: resolution for the pages of a PDF.
        allow_url: whether to fetch what is an ``http`` or ``https`` URL, see `clip4str_plugin.io.urls.fetch_url`.
        stop: as for `read_stream`.

    Yields:
        pages in order; an `Unreadable` in the place of each that cannot be read. Nothing is raised for a bad file.
    """
    source = os.fspath(path)
    try:
        with _open(source, allow_url) as file:
            local = None if is_url(source) else source
            yield from _read(file, source, Decoding(max_pixels, dpi), local, stop)
    except ImageError as error:
        yield Unreadable(source, f"{source}: {error}")


def read_stream(
    file: IO[bytes],
    source: str,
    *,
    max_pixels: int = MAX_PIXELS,
    dpi: float = PDF_DPI,
    max_pages: int | None = None,
    stop: Callable[[], bool] | None = None,
) -> Generator[PageImage | Unreadable, None, None]:
    """Read an open file page by page; see `read_pages`.

    Args:
        file: seekable; it is read from its start and not closed.
        source: what to call it.
        max_pixels: as for `read_pages`.
        dpi: likewise.
        max_pages: files with more pages are refused before the first is decoded; None: any number.
        stop: asked many times a second while a child process decodes; once it returns true the child is killed, and no
            more pages come.

    Yields:
        as `read_pages`.
    """
    try:
        yield from _read(file, source, Decoding(max_pixels, dpi, max_pages), None, stop)
    except ImageError as error:
        yield Unreadable(source, f"{source}: {error}")


def _read(
    file: IO[bytes], source: str, how: Decoding, path: str | None, stop: Callable[[], bool] | None
) -> Iterator[PageImage | Unreadable]:
    try:
        if _is_plain(file, how.max_pixels):
            yield from decode(file, source, how)
            return
    except MemoryError:
        raise ImageError("takes more memory than there is; shrink it") from None
    from clip4str_plugin.io.decoder_pool import decode_apart

    yield from decode_apart(file, source, how, path=path, stop=stop)


def _is_plain(file: IO[bytes], max_pixels: int) -> bool:
    """Whether a file can be decoded in this process without harm."""
    file.seek(0)
    head = file.read(1024)
    if not head:
        raise ImageError("the file is empty (0 bytes)")
    if b"%PDF-" in head or head[4:8] == b"ftyp" or head.startswith(_NEVER_PLAIN):
        return False
    if file.seek(0, os.SEEK_END) > _PLAIN_BYTES:  # far more than so many pixels take
        return False
    with open_image(file, max_pixels) as image:
        width, height = image.size
        if image.format not in _PLAIN or _PLAIN_PIXELS < width * height <= max_pixels:
            return False
        if image.format not in ("JPEG", "MPO"):
            return True
    file.seek(0)
    return file.read().count(_START_OF_SCAN) <= _PLAIN_SCANS


def _open(source: str, allow_url: bool) -> IO[bytes]:
    if is_url(source):
        if not allow_url:
            raise ImageError("is a URL; --allow-url (allow_url=True) permits fetching it")
        return fetch_url(source)
    try:
        status = os.stat(source)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device never end
            raise ImageError("is not a regular file")
        return Path(source).open("rb")
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from None
