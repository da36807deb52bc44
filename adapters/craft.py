"""CRAFT as a detector of words, without EasyOCR and without PyTorch: for photos.

>>> from clip4str_plugin import Reader
>>> document = Reader("craft")([page])  # doctest: +SKIP

The weights lie in the package ``torchfree-ocr`` (Apache-2.0, 83 MB); any other CRAFT network does as well. RapidOCR's
detector, far cheaper, says where to look; see `clip4str_adapters.craft_tiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clip4str_adapters.craft_network import FILL, PACKAGE, Network, Precision, bundled_weights, load_network
from clip4str_adapters.craft_tiles import CANVAS, Tile, place_tiles, plan_tiles
from clip4str_adapters.craft_words import Thresholds, find_words
from clip4str_plugin.errors import DetectorError
from clip4str_plugin.reading.detectors import Detections, check_page, load_detector
from clip4str_plugin.reading.tiles import one_per_place

__all__ = ["HOST", "CraftDetector", "Scout", "detector"]

HOST = PACKAGE

# Words that come so close to the border of their tile, in pixels of the canvas, may go on behind it.
_BORDER = 3.0


def detector(
    arch: str | None = None,
    *,
    text_threshold: float = 0.7,
    link_threshold: float = 0.4,
    low_text: float = 0.4,
    precision: Precision = "auto",
    threads: int | None = None,
    scout: Scout | None = None,
) -> CraftDetector:
    """Build CRAFT.

    Args:
        arch: None for the weights in ``torchfree-ocr`` 1.0, or the path of CRAFT weights as ``.onnx`` or ``.pth``;
            ``.pth`` files need PyTorch.
        text_threshold: how sure CRAFT must be of at least one spot of a word.
        link_threshold: how strongly letters must belong together.
        low_text: where the border of a word is drawn.
        precision: of the arithmetic in OpenVINO: "fp32", "bf16", "int8" (8 bits, for the weights in ``torchfree-ocr``
            alone), or "auto": 8 bits for these, for others bf16 where the processor has it.
        threads: CPU threads of the networks, None for one a core.
        scout: says where to look, None for ``rapidocr``.

    Returns:
        a detector of words, safe to call from several threads.

    Raises:
        DetectorError: there are no such weights, or they are not those of CRAFT.
        HostError: ``torchfree-ocr`` is not installed and no file is given.
    """
    thresholds = Thresholds(text_threshold, link_threshold, low_text)
    network = load_network(bundled_weights() if arch is None else Path(arch), precision, threads)
    looks_first: Any = load_detector("rapidocr", threads=threads) if scout is None else scout
    if not hasattr(looks_first, "see"):
        raise DetectorError(f"scout is {scout!r}; it has to be a detector that sees, such as load_detector('rapidocr')")
    return CraftDetector(network, looks_first, thresholds)


class _Seen(Protocol):
    @property
    def inner(self) -> np.ndarray:
        """The map over the page, (h, w) float32 in [0, 1]."""


class Scout(Protocol):
    """Sees where a page may hold text; ``rapidocr`` does."""

    def see(self, page: np.ndarray) -> _Seen:
        """Look at a page, uint8 RGB (H, W, 3)."""


class CraftDetector:
    """Finds words with CRAFT in the places where another detector may have seen text.

    Args:
        network: CRAFT.
        scout: says where to look.
        thresholds: what counts as a word.
    """

    def __init__(self, network: Network, scout: Scout, thresholds: Thresholds | None = None) -> None:
        self.network = network
        self.scout = scout
        self.thresholds = thresholds or Thresholds()

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Find the words of pages; see `clip4str_plugin.reading.detectors.Detector`."""
        for page in pages:
            check_page(page)
        return [self.find(page, self.scout.see(page).inner) for page in pages]

    def find(self, page: np.ndarray, text_map: np.ndarray) -> Detections:
        """Find the words of a page.

        Args:
            page: uint8 RGB (H, W, 3).
            text_map: (h, w) float32 over the page, how likely there is text; see `Scout`.
        """
        found: list[_Found] = []
        for canvas in place_tiles(plan_tiles(text_map, page.shape)):
            found += self._look(page, canvas)
        kept = _settle(found)
        return Detections([word.polygon for word in kept], np.array([word.score for word in kept]), "word")

    def _look(self, page: np.ndarray, tiles: list[Tile]) -> list[_Found]:
        import cv2

        canvas = np.full((CANVAS, CANVAS, 3), FILL, np.uint8)
        for tile in tiles:
            columns, rows = tile.size
            part = page[tile.top : tile.bottom, tile.left : tile.right]
            shrinks = tile.scale < 0.75
            scaled = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
            canvas[tile.y : tile.y + rows, tile.x : tile.x + columns] = scaled
        maps = self.network(canvas)
        return [word for tile in tiles for word in self._words_of(tile, maps, page.shape)]

    def _words_of(self, tile: Tile, maps: np.ndarray, shape: tuple[int, ...]) -> list[_Found]:
        columns, rows = tile.size
        window = maps[tile.y // 2 : (tile.y + rows + 1) // 2, tile.x // 2 : (tile.x + columns + 1) // 2]
        words = find_words(window[..., 0], window[..., 1], self.thresholds)
        # A point of the maps is two pixels of the canvas.
        to_page = 2 / tile.scale
        offset = np.array([tile.left, tile.top]) - np.array([tile.x % 2, tile.y % 2]) / tile.scale
        inner_low = np.array([tile.left if tile.left else -np.inf, tile.top if tile.top else -np.inf])
        far = [tile.right if tile.right < shape[1] else np.inf, tile.bottom if tile.bottom < shape[0] else np.inf]
        slack = _BORDER / tile.scale
        found = []
        for word in words:
            polygon = (word.polygon * to_page + offset).astype(np.float32)
            cut = bool((polygon < inner_low + slack).any() or (polygon > np.array(far) - slack).any())
            polygon = np.clip(polygon, 0, (shape[1], shape[0]))
            found.append(_Found(polygon, word.score, word.height * 2, cut, tile.left, tile.top))
        return found


@dataclass(frozen=True, eq=False)
class _Found:
    """A word in pixels of the page; its height is that on the canvas."""

    polygon: np.ndarray
    score: float
    height: float
    cut: bool
    left: int
    top: int


def _settle(found: list[_Found]) -> list[_Found]:
    """Keep one of words that different tiles show in one place."""
    from shapely import Polygon

    return one_per_place(found, [Polygon(word.polygon).buffer(0) for word in found])
