"""From an open file to pages, in this process, with one clear error for a page that cannot be decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.transparency import lay_on_ground

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FORMATS", "MAX_PIXELS", "PDF_DPI", "Decoding", "PageImage", "Unreadable", "decode", "open_image", "to_rgb"]

MAX_PIXELS = 150_000_000
"""Larger pages are refused unless the caller says otherwise: decoded, this many pixels take 450 MB."""

PDF_DPI = 200
"""Resolution at which pages of a PDF are rendered."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""What Pillow may decode. It knows more, some of it by starting other programs (EPS)."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_RAISE_LIMIT = "shrink it or, if it is to be trusted, raise the limit with --max-pixels (max_pixels=)"
# A TIFF whose directories form a circle has no end.
_MOST_PAGES = 100_000
# PDFium must not be entered by two threads at once, whatever document they work on.
_PDFIUM = threading.Lock()


@dataclass(frozen=True)
class PageImage:
    """One page of one file.

    Attributes:
        source: the file, as the caller named it.
        index: which page of the file, from 0.
        pixels: (H, W, 3) uint8 RGB, upright as its EXIF orientation says.
        dpi: pixels per inch, None where the file does not say.
    """

    source: str
    index: int
    pixels: np.ndarray
    dpi: float | None = None


@dataclass(frozen=True)
class Unreadable:
    """A file, or a page of a file, that cannot be read.

    Attributes:
        source: the file, as the caller named it.
        error: one line; it names the file and the remedy.
        index: the page, from 0; None if it is the file as a whole.
    """

    source: str
    error: str
    index: int | None = None


@dataclass(frozen=True)
class Decoding:
    """How a file is decoded.

    Attributes:
        max_pixels: pages with more pixels are refused before they are decoded.
        dpi: resolution for the pages of a PDF.
        max_pages: files with more pages are refused before the first is decoded; None: any number.
    """

    max_pixels: int = MAX_PIXELS
    dpi: float = PDF_DPI
    max_pages: int | None = None


def decode(
    file: IO[bytes], source: str, how: Decoding, first: int = 0, opened: Callable[[int], None] = lambda count: None
) -> Iterator[PageImage | Unreadable]:
    """Decode an open file page by page.

    Args:
        file: seekable; it is read from its start and not closed.
        source: what to call it.
        how: limits and resolution.
        first: the page to begin with, from 0.
        opened: called with the number of pages, or the most there can be, once that is known.

    Yields:
        pages in order; an `Unreadable` in the place of each that cannot be read.

    Raises:
        ImageError: nothing of the file can be read; it does not name the file.
        MemoryError: a page takes more memory than there is.
    """
    file.seek(0)
    head = file.read(1024)
    file.seek(0)
    if not head:
        raise ImageError("the file is empty (0 bytes)")
    if b"%PDF-" in head:
        yield from _read_pdf(file, source, how, first, opened)
    else:
        yield from _read_image(file, source, how, first, opened)


def open_image(file: IO[bytes], max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open one of the `FORMATS`; nothing but the header is decoded.

    Raises:
        ImageError: it is none, damaged, or too large.
    """
    from PIL import Image

    file.seek(0)
    head = file.read(12)
    file.seek(0)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _enable_heif()
    if not head.startswith((b"\xff\xd8", b"\x89PNG")):  # loading all decoders takes longer than decoding a photo
        Image.init()
    Image.preinit()
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)
    try:
        return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    except MemoryError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError("is neither an image nor a PDF that can be read here; save it as JPEG, PNG or PDF") from None
    except Image.DecompressionBombError:
        raise ImageError(f"is larger than {_megapixels(max_pixels)}; {_RAISE_LIMIT}") from None
    except Exception as error:  # decoders raise all kinds of errors on broken files
        raise ImageError(f"is damaged ({_reason(error)})") from None


def _read_image(
    file: IO[bytes], source: str, how: Decoding, first: int, opened: Callable[[int], None]
) -> Iterator[PageImage | Unreadable]:
    with open_image(file, how.max_pixels) as image:
        _check_count(_count_frames(image) if how.max_pages is not None else 1, how.max_pages)
        opened(_MOST_PAGES if image.format == "TIFF" else 1)
        for index in range(first, _MOST_PAGES):
            if index:
                try:
                    if image.format != "TIFF":
                        return
                    image.seek(index)
                except EOFError:
                    return
                except MemoryError:
                    raise
                except Exception as error:
                    problem = f"{source}: pages from {index + 1} on are damaged ({_reason(error)})"
                    yield Unreadable(source, problem, index)
                    return
            try:
                yield PageImage(source, index, _decode(image, how.max_pixels), _dpi(image))
            except ImageError as error:
                where = f"page {index + 1} " if index else ""
                yield Unreadable(source, f"{source}: {where}{error}", index or None)


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
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(f"is damaged or cut short ({_reason(error)})") from None
    try:
        upright = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # broken EXIF data say nothing about the pixels
        upright = image
    return to_rgb(upright)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode to pixels; transparent parts get a ground, more than 8 bits are scaled.

    Floating point is taken to be in [0, 1] or [0, 255] if it fits, else stretched from its smallest to its largest
    value; integers are taken to have the fewest of 8, 10, 12, 14 and 16 bits that hold
    them, since scanners write 12 bits into files of 16.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.
    """
    if image.mode.startswith(("I", "F")):
        return np.repeat(_scale(np.asarray(image))[..., None], 3, axis=2)
    image = lay_on_ground(image)
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
        tops = (1.0, 255.0) if is_float else tuple(2.0**bits - 1 for bits in (8, 10, 12, 14, 16))
        low, high = 0.0, next((top for top in tops if high <= top), high)
    return np.clip(np.rint((values - low) / max(high - low, 1e-12) * 255.0), 0, 255).astype(np.uint8)


def _dpi(image: Image.Image) -> float | None:
    try:
        value = float(image.info["dpi"][0])
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return value if 50 <= value <= 2400 else None  # cameras write 1 or 72 without meaning it


def _read_pdf(
    file: IO[bytes], source: str, how: Decoding, first: int, opened: Callable[[int], None]
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
        _check_count(count, how.max_pages)
        opened(count)
        for index in range(first, count):
            page: PageImage | Unreadable
            try:
                page = PageImage(source, index, _render(document, index, how.dpi, how.max_pixels), how.dpi)
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
