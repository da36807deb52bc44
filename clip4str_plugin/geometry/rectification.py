"""From a polygon on a page to an upright crop."""

from typing import Any

import numpy as np

from clip4str_plugin.geometry.polygons import Start
from clip4str_plugin.geometry.text_strip import TextStrip

__all__ = ["rectify"]


def rectify(image: np.ndarray, polygon: Any, *, start: Start = "any") -> np.ndarray:
    """Cut the text within a polygon out of a page and straighten it.

    Four corners, or a polygon that nearly has but four, are warped by the perspective they define. Any other polygon
    is taken as a ribbon: its two ends are found, its long sides are followed by smooth curves, and the text between
    them is laid out flat in one go, at an even height. The crop is as wide as the text is long and as tall as it is
    at its tallest, but never over 8192 pixels or 4 megapixels. Beyond the page its border is repeated; what lies
    farther outside than half the height of the text is left off.

    Coordinates count from the outer corner of the first pixel, so `[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]` with
    whole numbers gives exactly `image[y0:y1, x0:x1]`.

    Args:
        image: page, uint8, (H, W) or (H, W, C), any colour order, views welcome
        polygon: (K, 2) pixels, K >= 3, any winding; slight crossings are repaired
        start: `"any"`: the points may start anywhere; text is taken to run along the long sides, rightwards, or
            downwards if they are nearly vertical. `"top-left"`: the first point is the text's own top left corner,
            at any angle.

    Returns:
        the crop, uint8, (h, w) or (h, w, C), contiguous, in the page's colour order

    Raises:
        PolygonError: the polygon is malformed, thinner than a pixel or off the page
        ImageError: the page is not a uint8 picture

    >>> import numpy as np
    >>> page = np.zeros((100, 200, 3), np.uint8)
    >>> rectify(page, [[20, 30], [120, 40], [117, 70], [17, 60]]).shape
    (30, 100, 3)
    """
    return TextStrip.of(polygon, start).crop(image)
