"""Searchable PDF: the pictures, and over them the text, invisible, where it stands."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from fpdf import FPDF

    from clip4str_plugin.page import Page, Word

__all__ = ["PdfWriter"]

# Photos do not say how large their subject is; at this resolution a 12 megapixel one fills a poster of 51 x 68 cm.
_DEFAULT_DPI = 150.0
_JPEG_QUALITY = 85
_FONT = "clip4str-invisible"
# In units of the font, which has 1000 in the height of a line; the baseline is where Latin text has it.
_ADVANCE, _ASCENT, _DESCENT = 500, 800, -200


class PdfWriter:
    """Writes one PDF with a page for each picture, at the end.

    Pages are as large as the picture's resolution says (150 dpi if it says nothing) and stored as JPEG. Selecting,
    copying and searching work at any angle and for any charset; the text is drawn with a font of our own whose glyphs
    have no ink. Until the end the compressed pictures are kept in memory.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pages: list[tuple[bytes, float, int, int, list[list[Word]]]] = []

    def write(self, page: Page) -> None:
        """Add a page; without an image there is none to add."""
        if page.image is None:
            return
        from PIL import Image

        jpeg = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(page.image)).save(jpeg, format="JPEG", quality=_JPEG_QUALITY)
        points = 72.0 / (page.dpi or _DEFAULT_DPI)
        self._pages.append((jpeg.getvalue(), points, page.width, page.height, page.lines))

    def close(self) -> None:
        """Write the document."""
        from fpdf import FPDF
        from fpdf.enums import TextMode

        pdf = FPDF(unit="pt")
        pdf.set_margin(0)
        pdf.set_auto_page_break(False)
        pdf.set_producer("clip4str-plugin")
        characters = {char for *_, lines in self._pages for line in lines for word in line for char in word.text}
        with TemporaryDirectory() as folder:  # fpdf2 takes fonts from files only
            path = Path(folder, "invisible.ttf")
            _make_font(characters | {" "}, path)
            pdf.add_font(_FONT, fname=path)
            for jpeg, points, width, height, lines in self._pages:
                pdf.add_page(format=(width * points, height * points))
                pdf.image(io.BytesIO(jpeg), x=0, y=0, w=width * points, h=height * points)
                pdf.text_mode = TextMode.INVISIBLE
                for line in lines:
                    _add_line(pdf, line, points)
            self._stream.write(pdf.output())
        self._stream.flush()


def _add_line(pdf: FPDF, line: list[Word], points: float) -> None:
    for number, word in enumerate(line, 1):
        # A blank after each word but the last, so that what is copied has them where the gap alone does not tell.
        text = word.text if number == len(line) else word.text + " "
        top_left, top_right, bottom_right, bottom_left = word.quad.astype(np.float64) * points
        along, down = (top_right + bottom_right - top_left - bottom_left) / 2, bottom_left - top_left
        length, size = float(np.hypot(*along)), float(np.hypot(*down))
        if min(length, size) < 0.1:
            continue
        x, y = bottom_left + down * (_DESCENT / 1000)
        pdf.set_font(_FONT, size=size)
        pdf.set_stretching(100 * length / (len(word.text) * size * _ADVANCE / 1000))
        with pdf.rotation(float(np.degrees(np.arctan2(-along[1], along[0]))), x, y):
            pdf.text(x, y, text)


def _make_font(characters: set[str], path: Path) -> None:
    """Write a TrueType font that has a glyph of its own for each character, all equally wide and without any ink."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    names = {ord(char): f"u{ord(char):04X}" for char in sorted(characters)}
    glyphs = [".notdef", *names.values()]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    # A diagonal there and back encloses nothing, yet has a box; PDFium skips upright text of glyphs that have none.
    pen = TTGlyphPen(None)
    pen.moveTo((0, _DESCENT))
    pen.lineTo((_ADVANCE, _ASCENT))
    pen.closePath()
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (_ADVANCE, 0)))
    builder.setupHorizontalHeader(ascent=_ASCENT, descent=_DESCENT)
    builder.setupNameTable({"familyName": _FONT, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=_ASCENT, sTypoDescender=_DESCENT, usWinAscent=_ASCENT, usWinDescent=-_DESCENT)
    builder.setupPost()
    builder.save(path)
