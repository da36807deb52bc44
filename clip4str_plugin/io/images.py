"""From paths to pages: photos, multi-page TIFFs, PDFs and folders of them, hostile files included."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.errors import ImageError
from clip4str_plugin.io.urls import fetch_url, is_url

if TYPE_CHECKING:
    from PIL import Image

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

MAX_PIXELS = 150_000_000
"""Larger pages are refused unless the caller says otherwise: decoded, this many pixels take 450 MB."""

PDF_DPI = 200
"""Resolution at which pages of a PDF are rendered."""

PAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm",
     ".pdf", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)  # fmt: skip
"""Of a folder, only files that end so are read; a path that is named is read whatever its suffix."""

# What Pillow may decode. It knows more, some of it by starting other programs (EPS).
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_RAISE_LIMIT = "shrink it or, if it is to be trusted, raise the limit with --max-pixels (max_pixels=)"
# PDFium must not be entered by two threads at once, whatever document they work on.
_PDFIUM = threading.Lock()


@dataclass(frozen=True)
class PageImage:
    """One page of one file.

    Attributes:
        source: the file, as the caller named it.
        index: which page of the file, from 0.
        pixels: (H, W, 3) uint8 RGB, upright as its EXIF orientation says.
        dpi: pixels an inch, None where the file does not say.
    """

    source: str
    index: int
    pixels: np.ndarray
    dpi: float | None = None


@dataclass(frozen=True)
class Unreadable:
    """What stands in the place of a file, or a page of a file, that cannot be read.

    Attributes:
        source: the file, as the caller named it.
        error: one line; it names the file and the remedy.
        index: the page, from 0; None if it is the file as a whole.
    """

    source: str
    error: str
    index: int | None = None


def find_files(paths: Iterable[str | os.PathLike[str]], *, recursive: bool = False) -> Iterator[str | Unreadable]:
    """Replace folders by the images and PDFs in them, sorted by name; anything else stays as it is.

    Hidden files and those with other suffixes are passed over.

    Args:
        paths: files and folders.
        recursive: whether to look into folders within folders.
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
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, dpi: float = PDF_DPI, allow_url: bool = False
) -> Generator[PageImage | Unreadable, None, None]:
    """Read a file page by page; memory holds one page at a time.

    The content decides what the file is, not its suffix. A TIFF and a PDF give all their pages, other files that hold
    several pictures (animations) the first. Transparent parts become white, 16 bits a channel are scaled to 8. HEIC
    photos need the package ``pillow-heif``.

    >>> from clip4str_plugin.io.images import read_pages
    >>> [page.error for page in read_pages("missing.png")]
    ['missing.png: there is no such file']

    Args:
        path: a file; or the URL of one, see ``allow_url``.
        max_pixels: pages with more pixels are refused before they are decoded. A value beyond twice
            ``PIL.Image.MAX_IMAGE_PIXELS`` raises that limit of Pillow's as well, for the whole process.
        dpi: resolution for the pages of a PDF.
        allow_url: whether to fetch what is an ``http`` or ``https`` URL, see :func:`clip4str_plugin.io.urls.fetch_url`.

    Yields:
        pages in order; an `Unreadable` in the place of each that cannot be read. Nothing is raised for a bad file.
    """
    source = os.fspath(path)
    try:
        with _open(source, allow_url) as file:
            yield from read_stream(file, source, max_pixels=max_pixels, dpi=dpi)
    except ImageError as error:
        yield Unreadable(source, f"{source}: {error}")


def read_stream(
    file: IO[bytes], source: str, *, max_pixels: int = MAX_PIXELS, dpi: float = PDF_DPI, max_pages: int | None = None
) -> Generator[PageImage | Unreadable, None, None]:
    """Read an open file page by page; see `read_pages`.

    Args:
        file: seekable; it is read from its start and not closed.
        source: what to call it.
        max_pixels: as for `read_pages`.
        dpi: likewise.
        max_pages: files with more pages are refused before the first is decoded; None: any number.

    Yields:
        as `read_pages`.
    """
    try:
        file.seek(0)
        head = file.read(1024)
        file.seek(0)
        if not head:
            raise ImageError("the file is empty (0 bytes)")
        if b"%PDF-" in head:
            yield from _read_pdf(file, source, dpi, max_pixels, max_pages)
        else:
            yield from _read_image(file, source, head, max_pixels, max_pages)
    except ImageError as error:
        yield Unreadable(source, f"{source}: {error}")


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


def _read_image(
    file: IO[bytes], source: str, head: bytes, max_pixels: int, max_pages: int | None
) -> Iterator[PageImage | Unreadable]:
    from PIL import Image

    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _enable_heif()
    Image.init()
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)
    try:
        image = Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
    except Image.UnidentifiedImageError:
        raise ImageError("is neither an image nor a PDF that can be read here; save it as JPEG, PNG or PDF") from None
    except Image.DecompressionBombError:
        raise ImageError(f"is larger than {_megapixels(max_pixels)}; {_RAISE_LIMIT}") from None
    except Exception as error:  # decoders raise all kinds of errors on broken files
        raise ImageError(f"is damaged ({_reason(error)})") from None
    with image:
        _check_count(_count_frames(image) if max_pages is not None else 1, max_pages)
        index = 0
        while True:
            try:
                yield PageImage(source, index, _decode(image, max_pixels), _dpi(image))
            except ImageError as error:
                where = f"page {index + 1} " if index else ""
                yield Unreadable(source, f"{source}: {where}{error}", index or None)
            index += 1
            try:
                if image.format != "TIFF":
                    return
                image.seek(index)
            except EOFError:
                return
            except Exception as error:
                yield Unreadable(source, f"{source}: pages from {index + 1} on are damaged ({_reason(error)})", index)
                return


def _count_frames(image: Image.Image) -> int:
    try:
        return getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    except Exception:  # damaged after the first page, which is still there to be read
        return 1


def _check_count(count: int, max_pages: int | None) -> None:
    if max_pages is not None and count > max_pages:
        raise ImageError(f"has {count} pages, more than the limit of {max_pages}; split it")


def _enable_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError("is a HEIC photo; to read those: pip install pillow-heif") from None
    register_heif_opener()


def _decode(image: Image.Image, max_pixels: int) -> np.ndarray:
    from PIL import ImageOps

    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"has {width} x {height} pixels, more than the limit of {_megapixels(max_pixels)}; {_RAISE_LIMIT}"
        )
    try:
        image.load()
    except Exception as error:
        raise ImageError(f"is damaged or cut short ({_reason(error)})") from None
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF data say nothing about the pixels
        upright = image
    return to_rgb(upright)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode to pixels; transparent parts become white, more than 8 bits are scaled.

    Floating point is taken to be in [0, 1] or [0, 255] if it fits, else stretched from its smallest to its largest
    value; integers are taken to be 16 bits wide if they fit.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.
    """
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return np.repeat(_scale(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    if image.mode == "LAB":  # the one colour space that Pillow leaves to its colour management
        from PIL import ImageCms

        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.array(ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB"))
    return np.array(image.convert("RGB"))


def _scale(values: np.ndarray) -> np.ndarray:
    """Bring grey values of any type to uint8, (H, W)."""
    is_float = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float32))
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        tops = (1.0, 255.0) if is_float else (65535.0,)
        low, high = 0.0, next((top for top in tops if high <= top), high)
    return np.clip(np.rint((values - low) / max(high - low, 1e-12) * 255.0), 0, 255).astype(np.uint8)


def _dpi(image: Image.Image) -> float | None:
    try:
        value = float(image.info["dpi"][0])
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return value if 50 <= value <= 2400 else None  # cameras write 1 or 72 without meaning it


def _read_pdf(
    file: IO[bytes], source: str, dpi: float, max_pixels: int, max_pages: int | None
) -> Iterator[PageImage | Unreadable]:
    import pypdfium2

    with _PDFIUM:
        try:
            document = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise ImageError("the PDF is protected by a password; save it without one first") from None
            raise ImageError(f"the PDF is damaged ({error})") from None
    try:
        with _PDFIUM:
            count = len(document)
            document.init_forms()  # else what was filled into forms is not drawn
        if not count:
            raise ImageError("the PDF has no pages")
        _check_count(count, max_pages)
        for index in range(count):
            page: PageImage | Unreadable
            try:
                page = PageImage(source, index, _render(document, index, dpi, max_pixels), dpi)
            except (ImageError, pypdfium2.PdfiumError) as error:
                page = Unreadable(source, f"{source}: page {index + 1} {_reason(error)}", index)
            yield page
    finally:
        with _PDFIUM:
            document.close()


def _render(document: Any, index: int, dpi: float, max_pixels: int) -> np.ndarray:
    with _PDFIUM:
        page = document[index]
        try:
            width, height = page.get_size()
            scale = dpi / 72
            if width * scale * height * scale > max_pixels:
                raise ImageError(
                    f"would have {width * scale:.0f} x {height * scale:.0f} pixels at {dpi:g} dpi, more than the limit "
                    f"of {_megapixels(max_pixels)}; lower --dpi (dpi=) or raise --max-pixels (max_pixels=)"
                )
            pixels = page.render(scale=scale, rev_byteorder=True).to_numpy()
            # A copy, because the bitmap's memory goes with the page.
            return np.array(pixels[..., :3] if pixels.ndim == 3 and pixels.shape[2] > 1 else np.dstack([pixels] * 3))
        finally:
            page.close()


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:g} megapixels"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
