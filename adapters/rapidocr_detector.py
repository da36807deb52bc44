"""RapidOCR's text detector, its three steps run here: its own class mixes up scores and shrinks pages twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clip4str_adapters._checks import check_number
from clip4str_adapters.rapidocr_boxes import find_boxes
from clip4str_adapters.rapidocr_network import DetectionNetwork
from clip4str_plugin.errors import DetectorError
from clip4str_plugin.reading.detectors import Detections, check_page, orient_detections

__all__ = ["RapidOCRDetector", "TextMap"]

# The network wants sides in multiples of this.
_STRIDE = 32
# Regions at the border of the page and pages that are a single line are missed without some margin, so pages flatter
# than this are padded, as RapidOCR itself does.
_FLATTEST = 8
# A page of this side in both directions takes 19 GB.
_MOST_SIDE = 16_384


@dataclass(frozen=True, eq=False)
class TextMap:
    """Where the network sees the inner part of lines.

    Attributes:
        padded: (1, 1, h, w) float32 in [0, 1], over the page and its margins.
        left: columns of the margin on the left and of that on the right.
        top: rows of the margins above and below.
        page_size: height and width of the page in pixels.
    """

    padded: np.ndarray
    left: int
    top: int
    page_size: tuple[int, int]

    @property
    def inner(self) -> np.ndarray:
        """The map over the page alone, (h, w)."""
        rows, columns = self.padded.shape[2:]
        return self.padded[0, 0, self.top : rows - self.top, self.left : columns - self.left]


class RapidOCRDetector:
    """Finds lines.

    Args:
        network: sees text.
        min_side: pages whose shorter side is under this are enlarged to it.
        max_side: pages whose longer side would be over this are shrunk to it.
    """

    def __init__(self, network: DetectionNetwork, min_side: int, max_side: int) -> None:
        check_number("max_side", max_side, 1, _MOST_SIDE, whole=True)
        check_number("min_side", min_side, 1, _MOST_SIDE, whole=True)
        if min_side > max_side:
            raise DetectorError(f"min_side={min_side} is more than max_side={max_side}; a page cannot have both")
        self.network = network
        self.min_side = min_side
        self.max_side = max_side

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Find the lines of pages; see `clip4str_plugin.reading.detectors.Detector`."""
        return [self._detect(page) for page in pages]

    def _detect(self, page: np.ndarray) -> Detections:
        return self.lines(self.see(page))

    def see(self, page: np.ndarray) -> TextMap:
        """Run the network on a page, uint8 RGB (H, W, 3)."""
        import cv2

        check_page(page)
        height, width = page.shape[:2]
        margin_x, margin_y = max(0, (height // _FLATTEST - width) // 2), max(0, (width // _FLATTEST - height) // 2)
        padded_width, padded_height = width + 2 * margin_x, height + 2 * margin_y
        scale = max(1.0, self.min_side / min(padded_width, padded_height))
        scale = min(scale, self.max_side / max(padded_width, padded_height))
        columns, rows = (_STRIDE * max(1, round(side * scale / _STRIDE)) for side in (padded_width, padded_height))
        # Scaled before it is padded: the margins of a very flat page can be many times its size.
        left = min(round(margin_x / padded_width * columns), (columns - 1) // 2)
        top = min(round(margin_y / padded_height * rows), (rows - 1) // 2)
        inner = cv2.resize(page, (columns - 2 * left, rows - 2 * top), interpolation=cv2.INTER_LINEAR)
        image = cv2.copyMakeBorder(inner, top, top, left, left, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        # A level has only one normalised value; looked up, they are those of RapidOCR to the bit.
        normalized = cv2.LUT(image[..., ::-1], self.network.levels)
        batch = np.ascontiguousarray(normalized.transpose(2, 0, 1)[None])
        return TextMap(self.network.run(batch), left, top, (height, width))

    def lines(self, seen: TextMap) -> Detections:
        """Find the lines in what the network has seen."""
        rows, columns = seen.padded.shape[2:]
        height, width = seen.page_size
        scale = np.array([width / (columns - 2 * seen.left), height / (rows - 2 * seen.top)], np.float32)
        boxes, scores = find_boxes(seen.padded[0, 0], self.network.settings)
        polygons = [np.clip((box - (seen.left, seen.top)) * scale, 0, (width, height)) for box in boxes]
        return orient_detections(polygons, scores, "line")
