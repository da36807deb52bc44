"""A text detector in thirty lines: what is darker than its surroundings and stands close together is a word.

It serves scans of clean print. ``pip install .`` here, then ``clip4str plugins`` lists it and
``clip4str read scan.png --detector ink`` uses it.
"""

import cv2
import numpy as np

from clip4str_plugin import Detections


def detector(arch=None, *, gap: float = 0.3):
    """Build the detector.

    Args:
        arch: what follows the colon in ``--detector ink:arch``; this detector has only one kind.
        gap: letters closer than this share of their height belong to one word.
    """
    if arch is not None:
        raise ValueError(f"the detector ink has no arch {arch!r}")

    def detect(pages):
        return [_detect(page, gap) for page in pages]

    return detect


def _detect(page: np.ndarray, gap: float) -> Detections:
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    ink = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 31, 20)
    letters = cv2.connectedComponentsWithStats(ink)[2][1:]
    letters = letters[letters[:, cv2.CC_STAT_AREA] >= 8]
    if not len(letters):
        return Detections([], [])
    height = float(np.percentile(letters[:, cv2.CC_STAT_HEIGHT], 75))
    kernel = np.ones((max(1, round(height / 4)), max(1, round(gap * height))), np.uint8)
    words = cv2.connectedComponentsWithStats(cv2.morphologyEx(ink, cv2.MORPH_CLOSE, kernel))[2][1:]
    boxes = [(x - 2, y - 2, x + w + 2, y + h + 2) for x, y, w, h, _ in words if height / 2 <= h <= 3 * height]
    polygons = [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32) for x0, y0, x1, y1 in boxes]
    return Detections(polygons, [1.0] * len(polygons), "word")
