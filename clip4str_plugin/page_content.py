"""What was read on a page: its words in reading order. `clip4str_plugin.page` adds what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clip4str_plugin.geometry.polygons import enclose

__all__ = ["PageContent", "Word"]


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
class PageContent:
    """A page as the writers see it; its attributes are those of `clip4str_plugin.page.Page`."""

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
