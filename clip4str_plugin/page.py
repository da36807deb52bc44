"""A page that was read, and its ways out: into a file, to docTR."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.io.writers import save_pages
from clip4str_plugin.page_content import PageContent, Word

if TYPE_CHECKING:
    from doctr.io.elements import Page as DoctrPage

__all__ = ["Page", "Word"]


class Page(PageContent):
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
        save_pages([self], path)
