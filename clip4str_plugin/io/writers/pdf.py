"""Searchable PDF: the pictures, with the text over them, invisible and in place."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from fpdf import FPDF

    from clip4str_plugin.page_content import PageContent, Word

__all__ = ["PdfWriter"]

# Photos do not say how large their subject is; at this resolution a 12 megapixel one fills a poster of 51 x 68 cm.
_DEFAULT_DPI = 150.0
_JPEG_QUALITY = 85
_FONT = "clip4str-invisible"
# In units of the font, which has 1000 in the height of a line; the baseline is where Latin text has it.
_ADVANCE, _ASCENT, _DESCENT = 500, 800, -200
# Lines at most so many degrees off an axis are laid along it; the ends of a word move by less than a stroke.
_LEVEL = 2.5
# Readers that sort by height want the words of such a line at nearly one height; so much of its slope is taken away.
_FLATTEN = 0.6
# In heights of the line: poppler sees no blank in a gap under 0.1 to 0.15; PDFium takes for one line what is no further
# apart than half the width of a letter.
_LEAST_BLANK, _RISE = 0.2, 0.4


class PdfWriter:
    """Writes one PDF with a page for each picture, at the end.

    Pages are as large as the picture's resolution says (150 dpi if it says nothing) and stored as JPEG. Selecting,
    copying and searching work at any angle and for any charset; the text is drawn with a font of our own whose glyphs
    have no ink. Until the end the compressed pictures are kept in memory.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pages: list[tuple[bytes, float, int, int, list[list[Word]]]] = []

    def write(self, page: PageContent) -> None:
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
    """Write each word as a run of text, and between two of them a blank that fills the gap.

    Poppler tears words whose letters are not level, so words near an axis are laid along it, and others say what they
    are as a whole. PDFium sorts the words of a line by where they begin, even if they run to the left; blanks that
    stand a little higher keep them apart.
    """
    runs = [run for word in line if (run := _run(word, points)) is not None]
    if not runs:
        return
    x, y = np.sum([run.along for run in runs], axis=0)
    angle = float(np.degrees(np.arctan2(y, x)))
    axis = 90 * round(angle / 90)
    if level := abs(angle - axis) <= _LEVEL:
        direction = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)][axis // 90 % 4], np.float64)
        down, middle = np.array([-direction[1], direction[0]]), (runs[0].centre + runs[-1].centre) / 2
        runs = [
            run._replace(
                centre=run.centre - down * ((run.centre - middle) @ down) * _FLATTEN,
                along=direction * np.hypot(*run.along),
            )
            for run in runs
        ]
    leftwards = abs(angle) > 135
    for run, following in zip(runs, [*runs[1:], None]):
        if following is None:
            _add_text(pdf, run, whole=not level)
            continue
        length, forth, under = run.frame
        gap = float((following.centre - following.along / 2 - run.centre - run.along / 2) @ forth)
        blank = max(gap, _LEAST_BLANK * run.size)
        # Words that touch, or nearly so, are shortened: it is the gap that parts them for most readers.
        cut = forth * min(blank - gap, length / 2)
        _add_text(pdf, run._replace(along=run.along - cut, centre=run.centre - cut / 2), whole=not level)
        middle = run.centre + run.along / 2 - cut + forth * blank / 2
        rise = under * (_RISE * run.size if leftwards else 0.0)
        _add_text(pdf, _Run(" ", middle - rise, forth * blank, run.size), whole=False)


class _Run(NamedTuple):
    """A word or blank in place: its middle, the way along it and its height, in points of the page, y down."""

    text: str
    centre: np.ndarray
    along: np.ndarray
    size: float

    @property
    def frame(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Its length, and unit vectors along it and down from it."""
        length = float(np.hypot(*self.along))
        x, y = self.along / length
        return length, np.array([x, y]), np.array([-y, x])


def _run(word: Word, points: float) -> _Run | None:
    """Place a word; one without length or height has no place."""
    quad = word.quad.astype(np.float64) * points
    along, down = (quad[1] + quad[2] - quad[0] - quad[3]) / 2, (quad[2] + quad[3] - quad[0] - quad[1]) / 2
    size = float(np.hypot(*down))
    return _Run(word.text, quad.mean(axis=0), along, size) if min(size, np.hypot(*along)) >= 0.1 else None


def _add_text(pdf: FPDF, run: _Run, whole: bool) -> None:
    length, _, under = run.frame
    x, y = run.centre - run.along / 2 + under * run.size * (0.5 + _DESCENT / 1000)
    pdf.set_font(_FONT, size=run.size)
    pdf.set_stretching(100 * length / (len(run.text) * run.size * _ADVANCE / 1000))
    with pdf.rotation(float(np.degrees(np.arctan2(-run.along[1], run.along[0]))), x, y):
        if whole:  # "replacement text", ISO 32000-1, 14.9.4
            code = run.text.encode("utf-16-be", "replace").hex()
            pdf._out(f"/Span <</ActualText <FEFF{code}>>> BDC")
        pdf.text(x, y, run.text)
        if whole:
            pdf._out("EMC")


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
