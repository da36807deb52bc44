"""Whether a page is a photo of a scene or a document, from what is cheap to know about it."""

from __future__ import annotations

import numpy as np

__all__ = ["looks_like_photo"]

# The limits part 152 photos of streets, shops and things from 72 forms, receipts (half of them photographed) and
# rendered pages with one mistake: a photo taken for a document. At the median a photo is at 0.1 of the second limit, a
# photographed receipt at 2.6.
_PAPER = 0.75
_TEXT = 1.2
# Grey levels that count as one, of 256, and the longer side of the picture they are counted in.
_BAND, _SIDE = 33, 256
# A point of the map above this is text; spots of fewer points are noise.
_IS_TEXT, _SMALLEST = 0.3, 12


def looks_like_photo(page: np.ndarray, text_map: np.ndarray) -> bool:
    """Tell a photo of a scene from a document, photographed documents included.

    A document has paper, one grey level that fills most of the page, or many lines that fill much of it.

    Args:
        page: uint8 RGB (H, W, 3).
        text_map: (h, w) float32 in [0, 1] over the page, where a detector sees the inner part of lines of text.
    """
    return _share_of_paper(page) < _PAPER and _amount_of_text(text_map) < _TEXT


def _share_of_paper(page: np.ndarray) -> float:
    """The share of pixels that the commonest grey level and its neighbours make up."""
    import cv2

    scale = min(1.0, _SIDE / max(page.shape[:2]))
    size = max(1, round(page.shape[1] * scale)), max(1, round(page.shape[0] * scale))
    grey = cv2.cvtColor(cv2.resize(page, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    shares = np.bincount(grey.ravel(), minlength=256) / grey.size
    return float(np.convolve(shares, np.ones(_BAND), "same").max())


def _amount_of_text(text_map: np.ndarray) -> float:
    """The number of lines times the share of the page that their inner parts cover."""
    import cv2

    is_text = (text_map > _IS_TEXT).astype(np.uint8)
    stats = cv2.connectedComponentsWithStats(is_text)[2]
    return float((stats[1:, cv2.CC_STAT_AREA] >= _SMALLEST).sum() * is_text.mean())
