"""Words that were read with doubt, read again from other views: many slope within an upright crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from clip4str_plugin.reading.views import View, certainty, read_views

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["DOUBTFUL", "read_other_views"]

# Measured on word crops of ICDAR 2015, IIIT5K, SVT and receipts: of 6 to 24 degrees, slants, shears, margins and
# contrasts, alone and together, so much more margin (in heights) and then a turn gain most for less than a quarter more
# crops.
_MORE = 0.25
_ANGLES = (-12.0, 12.0)
DOUBTFUL = 0.95
"""Words of which the mean character is less sure than this are read again."""
_MARGIN = 0.01
# Turned, a crop this many times as long as wide is five times as large, and its letters a fifth of its height. Longer
# ones would hold nothing legible, and cost memory without limit.
_LONGEST = 20


def read_other_views(
    crops: Sequence[np.ndarray],
    readings: Sequence[Recognition],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    cuts: Sequence[Callable[[], Sequence[np.ndarray]] | None] | None = None,
    sure: Sequence[float] | None = None,
) -> list[Recognition]:
    """Read doubtful crops again from other views, and keep the likeliest reading of each.

    Args:
        crops: uint8 (h, w, 3) or (h, w), upright words.
        readings: what was read in each; crops without text are not looked at again.
        recognize: reads crops; a ``Recognizer``, say. It is called once for the first view of every doubtful crop, once
            for the second view of those that are still doubtful, and so on.
        cuts: for each crop what cuts its other views out of the page; None: it is shown with a quarter of its height
            more margin, and turned by 12 degrees, if it is less than 20 times as long as wide.
        sure: for each crop the certainty from which on it is not looked at again; None: 0.95.

    Returns:
        one reading a crop, in their order.
    """
    kept = list(readings)
    sure = sure or [DOUBTFUL] * len(crops)
    doubtful = {
        index: cut() if cut is not None else _views_of(crop)
        for index, (crop, reading, cut) in enumerate(zip(crops, readings, cuts or [None] * len(crops)))
        if 0 < certainty(reading) < sure[index]
    }
    for number in range(max(map(len, doubtful.values()), default=0)):
        views = [
            View(index, shown[number], _MARGIN)
            for index, shown in doubtful.items()
            if number < len(shown) and certainty(kept[index]) < sure[index]
        ]
        kept = [reading for reading, _ in read_views(kept, views, recognize)]
    return kept


def _views_of(crop: np.ndarray) -> list[np.ndarray]:
    longer, shorter = max(crop.shape[:2]), min(crop.shape[:2])
    if longer >= _LONGEST * shorter:
        return []
    margin = max(1, round(_MORE * crop.shape[0]))
    wider = cv2.copyMakeBorder(crop, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    # The way that brings text level parts its rows from those above and below.
    return [wider, max((_turned(crop, angle) for angle in _ANGLES), key=_contrast_of_rows)]


def _contrast_of_rows(crop: np.ndarray) -> float:
    """Mean square of the difference between the brightness of one row and of the next."""
    rows = crop.reshape(len(crop), -1).mean(axis=1)
    return float((np.diff(rows) ** 2).sum()) / max(1, len(rows) - 1)


def _turned(crop: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a crop anticlockwise; it grows to hold all of it, and its border is repeated."""
    height, width = crop.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    cos, sin = np.abs(matrix[0, :2])
    size = round(width * cos + height * sin), round(width * sin + height * cos)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
