"""From a polygon on a page to an upright crop."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clip4str_plugin.geometry.polygons import Start
from clip4str_plugin.geometry.text_strip import CurvedStrip, StraightStrip, TextStrip

__all__ = ["Straightened", "other_views", "rectify", "straighten", "views_in_line", "without_margins"]

# Of outlines with margins above and below at most this much, in heights, is taken from either side.
_MOST_MARGIN = 0.3

# Outlines that people draw are looked beyond by up to this much, in heights, for the rest of cut letters.
_REACH = 0.25
# A border row or column is free of letters if it changes along itself by less than this share of the middle of the text
# (columns at the ends also run along upright strokes, and change more); then so much more, in heights, is taken.
_QUIET_ROW, _QUIET_COLUMN = 0.3, 0.5
_AIR = 0.05
# A border that falls together with that of a plate is as busy as one that cuts letters: so many rows within it tell.
_WITHIN = 2
# Where nothing near is free of letters, this much is taken.
_UNCLEAR = 0.08
# Other views are taken with such margins, in shares of the box and in heights.
_BOX_MARGIN, _MORE = 0.08, 0.15
# In such a box that is so many times as large, text is a thin diagonal that nobody reads; and boxes cost memory.
_MOST_AROUND = 10
# The other view of a word in its line has so much less above and below, in heights of the line.
_LESS = 0.18
# Letters are told from the ground on crops no higher than this.
_LOOKED_AT = 48


@dataclass(frozen=True, eq=False)
class Straightened:
    """A crop, with measures of its quality.

    Attributes:
        crop: uint8 (h, w) or (h, w, C), contiguous.
        strip: the part of the page it shows.
    """

    crop: np.ndarray
    strip: TextStrip

    @property
    def cut(self) -> float:
        """How busy the crop's borders are compared with its middle, the busiest of the four.

        Near 0 where the ground runs all around the letters, near 1 where the borders cut through them.
        """
        if min(self.crop.shape[:2]) < 4:
            return 0.0
        rows, columns = _busy_rows(self.crop), _busy_columns(self.crop)
        return float(max(rows[0], rows[-1], columns[0], columns[-1]))

    @property
    def stretch(self) -> float:
        """How much more the most stretched place of the text is enlarged than the least stretched one.

        Along or across the text; 1 for an upright box, about 2 for letters on a narrow circle.
        """
        return _stretch(self.strip)


def rectify(image: np.ndarray, polygon: Any, *, start: Start = "any") -> np.ndarray:
    """Cut the text within a polygon out of a page and straighten it.

    Four corners, or a polygon that nearly is a quad, are warped by the perspective they define. For any other polygon
    the simplest shape that explains it is taken: text along a circle (whose sides may bend off it a little), text of
    even height along any curve, or, if the polygon hugs single letters, the straight rectangle around it. Curved text
    is flattened in one step to an even height. Hand-drawn outlines often cut letters: then margins are added until the
    background shows, a quarter of the height at most.

    The crop is as wide as the text is long and as high as the text at its highest place, but at most 8192 pixels wide
    and 4 megapixels large. Outside of the page its border is repeated; what is farther outside than half the height of
    the text is left off.

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
        ValueError: there is no such start

    >>> import numpy as np
    >>> page = np.zeros((100, 200, 3), np.uint8)
    >>> rectify(page, [[20, 30], [120, 40], [117, 70], [17, 60]]).shape
    (30, 100, 3)
    """
    return straighten(image, polygon, start=start).crop


def straighten(image: np.ndarray, polygon: Any, *, start: Start = "any") -> Straightened:
    """Cut text out as `rectify` does, with measures of quality.

    Args and errors are those of `rectify`.
    """
    strip = TextStrip.of(polygon, start)
    crop = strip.crop(image)
    if strip.drawn and not _free_all_round(crop):
        strip, crop = _with_air(image, strip, crop)
    return Straightened(crop, strip)


def other_views(image: np.ndarray, strip: TextStrip) -> list[Straightened]:
    """What else text may be read from where its outline may mislead: the upright box around it, and more margin.

    Args:
        image: the page
        strip: as `straighten` cut it out

    Returns:
        views that differ from the strip, likeliest first; beyond the page none
    """
    outline = np.concatenate([strip.top, strip.bottom])
    (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
    x, y = _BOX_MARGIN * (right - left), _BOX_MARGIN * (bottom - top)
    box = np.array([[left - x, top - y], [right + x, top - y], [right + x, bottom + y], [left - x, bottom + y]])
    box = box.clip(0, image.shape[1::-1])
    views: list[TextStrip] = [strip.grown(_MORE, _MORE, _MORE, _MORE)]
    width, height = np.ptp(box, axis=0)
    if strip.drawn and min(width, height) >= 1 and width * height < _MOST_AROUND * np.prod(strip.size):
        views.insert(0, StraightStrip(box[:2], box[:1:-1], drawn=True))
    return [Straightened(view.crop(image), view) for view in views]


def views_in_line(image: np.ndarray, strip: TextStrip) -> list[Straightened]:
    """What else a word may be read from that was cut from a line.

    Detectors leave air above and below their lines: the only view shows less of it.

    Args:
        image: the page
        strip: the word, as high as its line
    """
    view = strip.grown(0, -_LESS, 0, -_LESS)
    return [Straightened(view.crop(image), view)]


def without_margins(image: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Move the upper and the lower side of the outline of a word in to its letters.

    Args:
        image: the page
        polygon: (K, 2) pixels, clockwise from the text's top left corner

    Returns:
        the outline; the same one if it is no quad, or if nothing tells its letters from the ground
    """
    if len(polygon) != 4:
        return polygon
    strip = TextStrip.of(polygon, "top-left")
    crop = strip.crop(image)
    if min(crop.shape[:2]) < 4:
        return polygon
    busy = _busy_rows(crop) >= _QUIET_ROW
    if not busy.any():
        return polygon
    upper, lower = (min(_MOST_MARGIN, int(side.argmax()) / len(busy) - _AIR) for side in (busy, busy[::-1]))
    if upper <= 0 and lower <= 0:
        return polygon
    return strip.grown(0, -max(0.0, upper), 0, -max(0.0, lower)).polygon(0, 1)


def _free_all_round(crop: np.ndarray) -> bool:
    """Whether the ground runs along all four borders of a crop, so that no letters are cut."""
    if min(crop.shape[:2]) < 4:
        return True
    crop = _shrunk(crop)
    rows, columns = _busy_rows(crop), _busy_columns(crop)
    ends = slice(_WITHIN + 1), slice(-_WITHIN - 1, None)
    return all(
        line[end].min() < quiet for line, quiet in ((rows, _QUIET_ROW), (columns, _QUIET_COLUMN)) for end in ends
    )


def _with_air(image: np.ndarray, strip: TextStrip, crop: np.ndarray) -> tuple[TextStrip, np.ndarray]:
    """The strip with margins that reach to where the ground shows, and its crop."""
    wide_strip = strip.grown(_REACH, _REACH, _REACH, _REACH)
    if strip.height < 4 or not wide_strip.lies_on(*image.shape[1::-1]):
        return strip, crop
    wide = wide_strip.crop(image)
    # Where the strip's own borders are in the wider crop, in pixels.
    height, width = wide.shape[:2]
    y = height * _REACH / (1 + 2 * _REACH)
    x = width * _REACH * strip.height / wide_strip.size[0]
    inner = np.s_[round(y) : height - round(y)], np.s_[round(x) : width - round(x)]
    rows, columns = _busy_rows(wide[:, inner[1]]), _busy_columns(wide[inner[0]])
    upper, lower = (_margin(line, round(y * len(rows) / height), _QUIET_ROW) for line in (rows, rows[::-1]))
    left, right = (_margin(line, round(x * len(columns) / width), _QUIET_COLUMN) for line in (columns, columns[::-1]))
    # Never negative: no margin is larger than what was looked at.
    first_row, last_row = round(y - upper * y / _REACH), height - round(y - lower * y / _REACH)
    first_column, last_column = round(x - left * x / _REACH), width - round(x - right * x / _REACH)
    crop = np.ascontiguousarray(wide[first_row:last_row, first_column:last_column])
    return (strip.grown(left, upper, right, lower) if left or upper or right or lower else strip), crop


def _margin(busy: np.ndarray, room: int, quiet: float) -> float:
    """How far, in heights, to go beyond a border that lies `room` places within the busyness of rows or columns."""
    if room < 1:
        return 0.0
    free = np.flatnonzero(busy[room + _WITHIN :: -1] < quiet) - _WITHIN
    if not len(free):
        return _UNCLEAR
    return 0.0 if free[0] <= 0 else min(_REACH, float(free[0]) / room * _REACH + _AIR)


def _busy_rows(crop: np.ndarray) -> np.ndarray:
    """How much rows change along themselves, as shares of what is usual in the middle half of the crop."""
    import cv2

    crop, channels = _flat(crop)
    return _relative(
        cv2.reduce(cv2.absdiff(crop[:, channels:], crop[:, :-channels]), 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
    )


def _busy_columns(crop: np.ndarray) -> np.ndarray:
    """The same of columns."""
    import cv2

    crop, channels = _flat(crop)
    busy = cv2.reduce(cv2.absdiff(crop[1:], crop[:-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
    return _relative(cv2.reduce(busy.reshape(-1, channels), 1, cv2.REDUCE_AVG))


def _flat(crop: np.ndarray) -> tuple[np.ndarray, int]:
    """The crop, made small, with the colours of a row's pixels one behind another, (h, w * colours), and how many."""
    crop = _shrunk(crop)
    crop = crop[..., :3] if crop.ndim == 3 else crop[..., None]
    return crop.reshape(len(crop), -1), crop.shape[2]


def _shrunk(crop: np.ndarray) -> np.ndarray:
    import cv2

    height, width = crop.shape[:2]
    if height <= _LOOKED_AT:
        return crop
    return cv2.resize(crop, (max(4, round(width * _LOOKED_AT / height)), _LOOKED_AT), interpolation=cv2.INTER_AREA)


def _relative(line: np.ndarray) -> np.ndarray:
    line = line.ravel()
    quarter = len(line) // 4
    middle = np.sort(line[quarter : len(line) - quarter])
    return line / max(float(middle[len(middle) // 2]), 1.0)


def _stretch(strip: TextStrip) -> float:
    across = np.hypot(*(strip.bottom - strip.top).T)
    if not isinstance(strip, CurvedStrip):
        along = np.hypot(*np.diff(np.stack([strip.top, strip.bottom]), axis=1).reshape(-1, 2).T)
        return float(max(across.max() / max(across.min(), 1e-9), along.max() / max(along.min(), 1e-9)))
    # Over some points at a time: single ones stand unevenly where an outline is dense.
    steps = np.stack([np.diff(side[:: max(1, len(side) // 12)], axis=0) for side in (strip.top, strip.bottom)])
    along = np.hypot(steps[..., 0], steps[..., 1])
    return float(max(across.max() / max(across.min(), 1e-9), along.max() / max(along.min(), 1e-9)))
