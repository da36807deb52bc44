"""What was read on a page: its words in reading order."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.geometry.polygons import enclose

if TYPE_CHECKING:
    from doctr.io.elements import Page as DoctrPage

__all__ = ["Page", "Word"]


@dataclass(frozen=True, eq=False)
class Word:
    """One word that was read.

    Attributes:
        text: the characters, at least one.
        confidence: how sure the recognizer is, in [0, 1].
        polygon: (K, 2) float32, K >= 4, pixels of the page, clockwise from the top left corner of the text.
        line: index of its line on the page; lines are numbered in reading order.
        block: index of its block (paragraph, sign, column), numbered likewise.
        objectness: how sure the detector is that there is text; of the whole line if the detector finds lines.
        char_confidences: the recognizer's, one per character.
        doubtful: whether its confidence is so low that it may be a false detection.
    """

    text: str
    confidence: float
    polygon: np.ndarray
    line: int
    block: int
    objectness: float
    char_confidences: tuple[float, ...] = ()
    doubtful: bool = False

    @property
    def quad(self) -> np.ndarray:
        """The polygon itself if it has four corners, else four corners around it; (4, 2) float32, in its order."""
        if len(self.polygon) == 4:
            return self.polygon
        half = len(self.polygon) // 2  # where the upper side ends and the lower one begins
        return enclose(self.polygon, self.polygon[[0, half - 1, half, -1]])

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the upright rectangle around the polygon, in pixels."""
        (left, top), (right, bottom) = self.polygon.min(axis=0), self.polygon.max(axis=0)
        return float(left), float(top), float(right), float(bottom)


@dataclass(eq=False)
class Page:
    """What was read on one page.

    Attributes:
        image: the page, (H, W, 3) uint8 RGB; None if it could not be read at all.
        words: in reading order: the words of line 0, those of line 1 ...
        seconds: time spent on it in the stages ``"detect"``, ``"rectify"`` (cutting lines and straightening) and
            ``"recognize"``.
        error: one line that says why there are no words; None if all went well.
        source: file the page comes from, "" if it does not come from a file.
        index: its number in that file, from 0; None for a file that cannot be read at all.
        dpi: pixels per inch, None if unknown.
        left_out: the doubtful words, which are not in ``words``; they have lines and blocks of their own. Empty with
            ``keep_doubtful``, where they are in ``words``.
        detector: which detectors the detector "auto" used for this page, for example "craft+rapidocr"; else "".
    """

    image: np.ndarray | None
    words: list[Word] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    source: str = ""
    index: int | None = 0
    dpi: float | None = None
    left_out: list[Word] = field(default_factory=list)
    detector: str = ""

    @property
    def width(self) -> int:
        """Width in pixels, 0 without an image."""
        return 0 if self.image is None else self.image.shape[1]

    @property
    def height(self) -> int:
        """Height in pixels, 0 without an image."""
        return 0 if self.image is None else self.image.shape[0]

    @property
    def blocks(self) -> list[list[list[Word]]]:
        """The words, in lines, in blocks, all in reading order."""
        blocks: list[list[list[Word]]] = []
        previous: Word | None = None
        for word in self.words:
            if previous is None or word.block != previous.block:
                blocks.append([])
            if previous is None or word.line != previous.line:
                blocks[-1].append([])
            blocks[-1][-1].append(word)
            previous = word
        return blocks

    @property
    def lines(self) -> list[list[Word]]:
        """The words, in lines, in reading order."""
        return [line for block in self.blocks for line in block]

    @property
    def text(self) -> str:
        """The text of the page: one line per line, words separated by spaces."""
        return "\n".join(" ".join(word.text for word in line) for line in self.lines)

    def to_doctr(self, index: int = 0, *, straight: bool = False) -> DoctrPage:
        """Convert the page to docTR's own; geometry is relative to the page's size.

        Args:
            index: its place in the document.
            straight: upright boxes in place of four corners. Some of docTR's exports (``export_as_xml``) take nothing
                else.
        """
        from doctr.io import elements

        size = np.array([self.width, self.height], dtype=np.float64)

        def geometry(word: Word) -> Any:
            points = np.clip(word.quad / size, 0, 1)
            corners = [points.min(axis=0), points.max(axis=0)] if straight else points
            return tuple(tuple(float(value) for value in point) for point in corners)

        def doctr_word(word: Word) -> elements.Word:
            upright = {"value": 0, "confidence": None}
            return elements.Word(word.text, word.confidence, geometry(word), word.objectness, upright)

        blocks = [
            elements.Block([elements.Line([doctr_word(word) for word in line]) for line in block])
            for block in self.blocks
        ]
        image = np.zeros((0, 0, 3), np.uint8) if self.image is None else self.image
        return elements.Page(image, blocks, index, (self.height, self.width))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to a file in the format that the suffix names: .txt, .json, .hocr, .pdf ...

        Args:
            path: the file; one that exists is replaced.

        Raises:
            ValueError: no format has this suffix.
        """
        # By name: the writers know pages, so pages cannot know the writers.
        import_module("clip4str_plugin.io.writers").save_pages([self], path)
