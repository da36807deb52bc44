"""The engine behind `clip4str_adapters.ocrmypdf`; importing this loads OCRmyPDF."""

from __future__ import annotations

import logging
import math
import multiprocessing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ocrmypdf.hocrtransform import Baseline, BoundingBox, OcrClass, OcrElement
from ocrmypdf.pluginspec import OcrEngine, OrientationConfidence
from PIL import Image

from clip4str_adapters._common import shared_reader
from clip4str_plugin.geometry.rectification import rectify
from clip4str_plugin.reading.line_reading import mean_confidence, read_lines
from clip4str_plugin.version import __version__

if TYPE_CHECKING:
    from clip4str_plugin.page import Page, Word
    from clip4str_plugin.reading.reader import Reader

__all__ = ["ClipOcrEngine", "page_orientation"]

logger = logging.getLogger(__name__)

# Lines that are read both ways to find a page's orientation; a page has one orientation, a few lines tell.
_SAMPLE = 12
# What lies under the baseline, as a share of the height of a line.
_DESCENT = 0.2
# Lines at most so many degrees off level are laid level, in pieces that rise by so much of their height at most.
_LEVEL, _RISE = 2.5, 0.8
# In heights of the line: poppler sees no blank in a gap under 0.1 to 0.15.
_LEAST_BLANK = 0.2


class ClipOcrEngine(OcrEngine):
    """OCRmyPDF's engine interface. Model and detector are loaded once a process and set of options."""

    @staticmethod
    def version() -> str:
        """Version of this package."""
        return __version__

    @staticmethod
    def creator_tag(options: Any) -> str:
        """Name ourselves in the metadata of the PDF."""
        return f"CLIP4STR {__version__} ({options.clip4str.model})"

    def __str__(self) -> str:
        return f"CLIP4STR {__version__}"

    @staticmethod
    def languages(options: Any) -> set[str]:
        """No language is refused: the model decides which characters are read, and has no language."""
        return set()

    @staticmethod
    def get_orientation(input_file: Path, options: Any) -> OrientationConfidence:
        """Say by how much a page image is turned; see `page_orientation`."""
        angle, confidence = page_orientation(_reader(options), _load(input_file)[0])
        return OrientationConfidence(angle=angle, confidence=confidence)

    @staticmethod
    def supports_generate_ocr() -> bool:
        """We answer with a tree, not with files."""
        return True

    @staticmethod
    def generate_ocr(input_file: Path, options: Any, page_number: int = 0) -> tuple[OcrElement, str]:
        """Read a page image.

        Returns:
            the tree page > paragraph > line > word, in pixels of the image, and the text.
        """
        page = _read(input_file, options)
        root = OcrElement(
            ocr_class=OcrClass.PAGE,
            bbox=BoundingBox(0, 0, page.width, page.height),
            dpi=page.dpi,
            page_number=page_number,
            children=[
                OcrElement(
                    ocr_class=OcrClass.PARAGRAPH,
                    bbox=_bounds([word.polygon for line in block for word in line]),
                    children=[piece for line in block for piece in _lines(line)],
                )
                for block in page.blocks
            ],
        )
        return root, page.text

    @staticmethod
    def generate_hocr(input_file: Path, output_hocr: Path, output_text: Path, options: Any) -> None:
        """Read a page image into hOCR and text files."""
        from clip4str_plugin.io.writers import make_writer

        page = _read(input_file, options)
        with output_hocr.open("wb") as stream:
            writer = make_writer("hocr", stream)
            writer.write(page)
            writer.close()
        output_text.write_text(page.text, encoding="utf-8")

    @staticmethod
    def generate_pdf(input_file: Path, output_pdf: Path, output_text: Path, options: Any) -> None:
        """OCRmyPDF's legacy way of getting text; it is not needed with `generate_ocr`."""
        raise NotImplementedError("--ocr-engine clip4str works with --pdf-renderer auto or fpdf2, not with sandwich")


def _reader(options: Any) -> Reader:
    if multiprocessing.parent_process() is not None:
        # OCRmyPDF runs one worker process a core already.
        import torch

        torch.set_num_threads(1)
    ours = options.clip4str
    return shared_reader(ours.detector, ours.model, **ours.options())


def _load(path: Path) -> tuple[np.ndarray, float | None]:
    with Image.open(path) as image:
        dpi = image.info.get("dpi", (None,))[0]
        return np.asarray(image.convert("RGB")), None if dpi is None else float(dpi)


def _read(path: Path, options: Any) -> Page:
    image, dpi = _load(path)
    (page,) = _reader(options).stream([image])
    if page.error is not None:
        logger.error("a page has no text layer: %s", page.error)
    page.dpi = dpi
    return page


def _bounds(shapes: list[np.ndarray]) -> BoundingBox:
    corners = np.concatenate(shapes)
    return BoundingBox(*(float(value) for value in (*corners.min(axis=0), *corners.max(axis=0))))


def _lines(words: list[Word]) -> list[OcrElement]:
    """Build a line; one that slopes gets a baseline, one that is turned over 45 degrees an angle.

    Poppler tears words whose letters are not level, and sees no blank between words that touch. So lines near level are
    laid level, in several pieces where they rise by much, and words that touch are shortened.
    """
    quads = [word.quad.astype(np.float64) for word in words]
    height = float(np.median([np.hypot(*(quad[3] - quad[0])) for quad in quads]))
    for quad, following in pairwise(quads):
        along = quad[1] + quad[2] - quad[0] - quad[3]
        length = float(np.hypot(*along)) / 2
        along /= max(2 * length, 1e-9)
        missing = _LEAST_BLANK * height - float((following[0] + following[3] - quad[1] - quad[2]) @ along) / 2
        quad[1:3] -= along * min(max(missing, 0.0), length / 2)
    # The quads run clockwise from the text's top left: 3 and 2 are the ends of its lower side.
    x, y = quads[-1][2] - quads[0][3]
    angle = math.degrees(math.atan2(-y, x))
    if abs(angle) > _LEVEL:
        return [_line(words, quads, height, angle)]
    count = min(len(words), 1 + int(abs(y) / (_RISE * height)))
    parts = [part for part in np.array_split(np.arange(len(words)), count) if len(part)]
    found = []
    for part in parts:
        level = [quads[index].copy() for index in part]
        middle = float(np.mean([quad[:, 1].mean() for quad in level]))
        for quad in level:
            quad[:2, 1], quad[2:, 1] = middle - height / 2, middle + height / 2
        found.append(_line([words[index] for index in part], level, height, 0.0))
    return found


def _line(words: list[Word], quads: list[np.ndarray], height: float, angle: float) -> OcrElement:
    box = _bounds(quads)
    sloping = abs(angle) <= 45
    x, y = quads[-1][2] - quads[0][3]
    intercept = float(quads[0][3][1]) - box.bottom - _DESCENT * height
    return OcrElement(
        ocr_class=OcrClass.LINE,
        bbox=box,
        baseline=Baseline(slope=float(y / x), intercept=intercept) if sloping else None,
        textangle=0.0 if sloping else angle,
        direction="ltr",
        children=[
            OcrElement(
                ocr_class=OcrClass.WORD,
                bbox=_bounds([quad]),
                poly=[(float(px), float(py)) for px, py in word.polygon],
                text=word.text,
                confidence=mean_confidence([word]),
            )
            for word, quad in zip(words, quads)
        ],
    )


def page_orientation(reader: Reader, image: np.ndarray) -> tuple[int, float]:
    """Find out by how much a page is turned, from how well its lines read either way along.

    Args:
        reader: its detector finds the lines, its recognizer reads the longest of them.
        image: uint8 RGB (H, W, 3).

    Returns:
        the clockwise angle by which the page has been turned, 0, 90, 180 or 270, and the evidence for it in decibels
        (ten times the logarithm of the ratio of the confidences, summed over the lines read), 0 without text.
    """
    (found,) = reader.detector([image])
    quads = [polygon for polygon in found.polygons if len(polygon) == 4]
    lengths = [float(np.hypot(*(quad[1] - quad[0]))) for quad in quads]
    longest = [quads[index] for index in np.argsort(lengths)[::-1][:_SAMPLE]]
    ways = [turned for quad in longest for turned in (quad, np.roll(quad, 2, axis=0))]
    crops = [rectify(image, quad, start="top-left") for quad in ways]
    readings = read_lines(reader.recognizer, crops, orientation="off")
    evidence = dict.fromkeys((0, 90, 180, 270), 0.0)
    for quad, reading in zip(ways, readings):
        x, y = quad[1] - quad[0]
        direction = round(math.degrees(math.atan2(y, x)) / 90) % 4 * 90
        evidence[direction] += 10 * math.log10(max(reading.confidence, 1e-3))
    # Lines along one axis are compared with each other; the axis is that of most lines.
    axis = max((0, 90), key=lambda start: _length_along(longest, start))
    forward, backward = evidence[axis], evidence[axis + 180]
    if not longest:
        return 0, 0.0
    return (axis if forward >= backward else axis + 180), abs(forward - backward)


def _length_along(quads: list[np.ndarray], axis: int) -> float:
    """Total length of the lines that run along an axis: 0 for level, 90 for upright."""
    total = 0.0
    for quad in quads:
        x, y = quad[1] - quad[0]
        if (abs(y) > abs(x)) == (axis == 90):
            total += float(np.hypot(x, y))
    return total
