"""ALTO 4 XML, the Library of Congress's format for text with a layout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO
from xml.etree.ElementTree import Element, SubElement

from clip4str_plugin.io.writers.xml_tools import Box, around, clean, pixel_box, pixel_points, to_bytes

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent, Word

__all__ = ["AltoWriter"]

_NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"


class AltoWriter:
    """Writes one document with all pages, at the end; coordinates are pixels, ``WC`` is the confidence.

    The n-th ``fileIdentifier`` names the file of the page whose ``PHYSICAL_IMG_NR`` is n.
    """

    def __init__(self, stream: BinaryIO) -> None:
        from clip4str_plugin.version import __version__

        self._stream = stream
        self._root = Element("alto", xmlns=_NAMESPACE, SCHEMAVERSION="4.2")
        description = SubElement(self._root, "Description")
        SubElement(description, "MeasurementUnit").text = "pixel"
        self._source = SubElement(description, "sourceImageInformation")
        self._file = SubElement(self._source, "fileName")
        processing = SubElement(description, "Processing", ID="processing_1")
        software = SubElement(processing, "processingSoftware")
        SubElement(software, "softwareName").text = "clip4str-plugin"
        SubElement(software, "softwareVersion").text = __version__
        self._layout = SubElement(self._root, "Layout")
        self._pages = 0

    def write(self, page: PageContent) -> None:
        """Add a page; without an image there is none to add."""
        if page.image is None:
            return
        self._pages += 1
        # The format has room for one name, but for any number of identifiers: one a page, in the pages' order.
        file_name = clean(os.path.basename(page.source))
        if self._pages == 1:
            self._file.text = file_name
        SubElement(self._source, "fileIdentifier").text = file_name
        name = f"page_{self._pages}"
        size = {"WIDTH": str(page.width), "HEIGHT": str(page.height)}
        element = SubElement(self._layout, "Page", {"ID": name, "PHYSICAL_IMG_NR": str(self._pages), **size})
        space = SubElement(element, "PrintSpace", {"HPOS": "0", "VPOS": "0", **size})
        for number, block in enumerate(page.blocks, 1):
            _add_block(space, block, f"{name}_{number}", page)

    def close(self) -> None:
        """Write the document."""
        self._stream.write(to_bytes(self._root))
        self._stream.flush()


def _add_block(parent: Element, block: list[list[Word]], name: str, page: PageContent) -> None:
    boxes = [[pixel_box(word, page.width, page.height) for word in line] for line in block]
    outline = around(box for line in boxes for box in line)
    element = SubElement(parent, "TextBlock", {"ID": f"block_{name}", **_place(outline)})
    for number, (line, line_boxes) in enumerate(zip(block, boxes), 1):
        text_line = SubElement(element, "TextLine", {"ID": f"line_{name}_{number}", **_place(around(line_boxes))})
        for count, (word, box) in enumerate(zip(line, line_boxes), 1):
            if count > 1:
                SubElement(text_line, "SP")
            attributes = {"CONTENT": clean(word.text), "WC": f"{word.confidence:.4f}", **_place(box)}
            string = SubElement(text_line, "String", {"ID": f"string_{name}_{number}_{count}", **attributes})
            points = " ".join(f"{x},{y}" for x, y in pixel_points(word.polygon, page.width, page.height))
            SubElement(SubElement(string, "Shape"), "Polygon", POINTS=points)


def _place(box: Box) -> dict[str, str]:
    left, top, right, bottom = box
    return {"HPOS": str(left), "VPOS": str(top), "WIDTH": str(right - left), "HEIGHT": str(bottom - top)}
