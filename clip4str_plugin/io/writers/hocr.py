"""hOCR 1.2: HTML with the place and the confidence of every word."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from clip4str_plugin.io.writers.xml_tools import Box, around, clean, pixel_box, pixel_points, to_bytes

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent, Word

__all__ = ["HocrWriter"]

_DOCTYPE = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
)
_CAPABILITIES = "ocr_page ocr_carea ocr_par ocr_line ocrx_word ocrp_wconf ocrp_poly"


class HocrWriter:
    """Writes one document with all pages, at the end.

    Words keep their polygon (``poly``) next to the upright box (``bbox``); lines that run at an angle say so
    (``textangle``). Boxes are pixels of the upright page, confidences percent.
    """

    def __init__(self, stream: BinaryIO) -> None:
        from clip4str_plugin.version import __version__

        self._stream = stream
        self._root = Element("html", {"xmlns": "http://www.w3.org/1999/xhtml", "xml:lang": "en", "lang": "en"})
        head = SubElement(self._root, "head")
        SubElement(head, "title")
        SubElement(head, "meta", {"http-equiv": "Content-Type", "content": "text/html;charset=utf-8"})
        SubElement(head, "meta", name="ocr-system", content=f"clip4str-plugin {__version__}")
        SubElement(head, "meta", name="ocr-capabilities", content=_CAPABILITIES)
        self._body = SubElement(self._root, "body")
        self._pages = 0

    def write(self, page: PageContent) -> None:
        """Add a page; without an image there is none to add."""
        if page.image is None:
            return
        self._pages += 1
        name = f"page_{self._pages}"
        title = f"{_box((0, 0, page.width, page.height))}; ppageno {self._pages - 1}"
        if page.source:
            source = clean(page.source).replace("\\", "\\\\").replace('"', '\\"')
            title = f'image "{source}"; {title}'
        if page.dpi:
            title += f"; scan_res {page.dpi:.0f} {page.dpi:.0f}"
        division = SubElement(self._body, "div", {"class": "ocr_page", "id": name, "title": title})
        for number, block in enumerate(page.blocks, 1):
            _add_block(division, block, f"{name}_{number}", page)

    def close(self) -> None:
        """Write the document."""
        self._stream.write(to_bytes(self._root, _DOCTYPE))
        self._stream.flush()


def _add_block(parent: Element, block: list[list[Word]], name: str, page: PageContent) -> None:
    boxes = [[pixel_box(word, page.width, page.height) for word in line] for line in block]
    title = _box(around(box for line in boxes for box in line))
    area = SubElement(parent, "div", {"class": "ocr_carea", "id": f"block_{name}", "title": title})
    paragraph = SubElement(area, "p", {"class": "ocr_par", "id": f"par_{name}", "title": title})
    for number, (line, line_boxes) in enumerate(zip(block, boxes), 1):
        angle = _angle(line)
        title = _box(around(line_boxes)) + (f"; textangle {angle:.1f}" if abs(angle) >= 1 else "")
        span = SubElement(paragraph, "span", {"class": "ocr_line", "id": f"line_{name}_{number}", "title": title})
        for count, (word, box) in enumerate(zip(line, line_boxes), 1):
            points = " ".join(f"{x} {y}" for x, y in pixel_points(word.polygon, page.width, page.height))
            title = f"{_box(box)}; x_wconf {100 * word.confidence:.0f}; poly {points}"
            attributes = {"class": "ocrx_word", "id": f"word_{name}_{number}_{count}", "title": title}
            SubElement(span, "span", attributes).text = clean(word.text)


def _box(box: Box) -> str:
    return "bbox {} {} {} {}".format(*box)


def _angle(line: list[Word]) -> float:
    """Degrees by which a line is turned anticlockwise."""
    x, y = np.sum([word.quad[1] - word.quad[0] for word in line], axis=0)
    return float(np.degrees(np.arctan2(-y, x)))
