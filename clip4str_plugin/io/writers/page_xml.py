"""PAGE XML 2019-07-15, PRImA's format for page content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, BinaryIO
from xml.etree.ElementTree import Element, SubElement

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.io.writers.xml_tools import Box, around, clean, pixel_box, pixel_points, to_bytes

if TYPE_CHECKING:
    from clip4str_plugin.page_content import PageContent, Word

__all__ = ["PageXmlWriter"]

_NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"


class PageXmlWriter:
    """Writes one page: the format has no room for more in one file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._done = False

    def write(self, page: PageContent) -> None:
        """Write the page; without an image there is none to write.

        Raises:
            Clip4StrError: it is the second one.
        """
        if page.image is None:
            return
        if self._done:
            raise Clip4StrError("PAGE XML holds one page a file; name an existing folder for the output")
        self._done = True
        self._stream.write(to_bytes(_document(page)))
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left to write."""


def _document(page: PageContent) -> Element:
    from clip4str_plugin.version import __version__

    root = Element("PcGts", xmlns=_NAMESPACE)
    metadata = SubElement(root, "Metadata")
    SubElement(metadata, "Creator").text = f"clip4str-plugin {__version__}"
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    SubElement(metadata, "Created").text = now
    SubElement(metadata, "LastChange").text = now
    size = {"imageWidth": str(page.width), "imageHeight": str(page.height)}
    element = SubElement(root, "Page", {"imageFilename": clean(os.path.basename(page.source)), **size})
    if page.words:
        order = SubElement(SubElement(element, "ReadingOrder"), "OrderedGroup", id="reading_order")
        for number in range(len(page.blocks)):
            SubElement(order, "RegionRefIndexed", index=str(number), regionRef=f"region_{number + 1}")
    for number, block in enumerate(page.blocks, 1):
        _add_region(element, block, number, page)
    return root


def _add_region(parent: Element, block: list[list[Word]], number: int, page: PageContent) -> None:
    boxes = [[pixel_box(word, page.width, page.height) for word in line] for line in block]
    region = SubElement(parent, "TextRegion", id=f"region_{number}", type="paragraph")
    _add_points(region, _corners(around(box for line in boxes for box in line)))
    for line_number, (line, line_boxes) in enumerate(zip(block, boxes), 1):
        name = f"{number}_{line_number}"
        text_line = SubElement(region, "TextLine", id=f"line_{name}")
        _add_points(text_line, _corners(around(line_boxes)))
        for count, word in enumerate(line, 1):
            element = SubElement(text_line, "Word", id=f"word_{name}_{count}")
            _add_points(element, pixel_points(word.polygon, page.width, page.height))
            _add_text(element, word.text, word.confidence)
        _add_text(text_line, " ".join(word.text for word in line))
    _add_text(region, "\n".join(" ".join(word.text for word in line) for line in block))


def _corners(box: Box) -> list[tuple[int, int]]:
    left, top, right, bottom = box
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _add_points(parent: Element, points: Sequence[tuple[int, int]]) -> None:
    SubElement(parent, "Coords", points=" ".join(f"{x},{y}" for x, y in points))


def _add_text(parent: Element, text: str, confidence: float | None = None) -> None:
    attributes = {} if confidence is None else {"conf": f"{confidence:.4f}"}
    SubElement(SubElement(parent, "TextEquiv", attributes), "Unicode").text = clean(text)
