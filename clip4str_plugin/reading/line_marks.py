"""What stands beside the words of a line: points and hyphens that look like a part of the blank, boxes, and leaders."""

import math
from collections.abc import Sequence

import numpy as np

from clip4str_plugin.reading.splitter import HEIGHT

__all__ = [
    "begins_with_dot",
    "find_boxes",
    "find_leaders",
    "find_underscores",
    "ink_of_line",
    "without_marks",
]

# Ink begins so far on the way from the ground to the darkest (or lightest) parts of a line.
_INK = 0.35
# Marks have sides of so many heights, and belong to a word that is no farther away than this.
_FROM, _TO, _NEAR = 0.06, 0.55, 0.35
# A row with ink in more than this share of a blank is a rule.
_RULE = 0.7
# A box is at least so high beside its line, within these widths beside its height, and filled up to this share; so
# much of its sides is ink, which are so thick.
_BOX_FROM, _NARROW, _WIDE, _FILLED, _SIDE, _THICK = 0.3, 0.75, 1.35, 0.65, 0.9, 0.12
# Beside a box is this much ground, in heights; the letters of a word, an `n` with serifs say, stand closer.
_ALONE = 0.08
# The dots of a leader are so many at least, this wide and high at most, this far apart at most and to this share
# evenly, and this level. Higher ink than that is a letter.
_DOTS, _DOT_WIDE, _DOT_HIGH, _PITCH, _EVEN, _LEVEL = 5, 0.3, 0.2, 0.7, 0.35, 0.1
# An underscore is this wide, this high at most, and lies below this share of the line; it reaches no farther than so
# many heights under the letters beside it, and fills so much of the blank between them.
_SCORE_FROM, _SCORE_TO, _SCORE_HIGH, _BELOW, _UNDER, _SPANS = 0.2, 0.9, 0.15, 0.65, 0.2, 0.6


def ink_of_line(crop: np.ndarray) -> np.ndarray:
    """Where a line shows ink rather than ground.

    Args:
        crop: uint8, (h, w), (h, w, 1) or (h, w, 3)

    Returns:
        (32, W) bool, W as wide to 32 rows as the crop is to its height
    """
    import cv2

    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) if crop.ndim == 3 and crop.shape[2] > 1 else crop
    width = max(1, round(grey.shape[1] * HEIGHT / grey.shape[0]))
    way = cv2.INTER_AREA if grey.shape[0] > HEIGHT else cv2.INTER_LINEAR
    grey = cv2.resize(np.ascontiguousarray(grey), (width, HEIGHT), interpolation=way)
    up_to = np.bincount(grey.ravel(), minlength=256).cumsum()
    low, ground, high = np.searchsorted(up_to, np.array([0.02, 0.5, 0.98]) * grey.size).tolist()
    if ground - low > high - ground:
        return grey < ground - _INK * (ground - low)
    return grey > ground + _INK * (high - ground)


def without_marks(left: float, right: float, ink: np.ndarray) -> tuple[float, float]:
    """What is left of a blank when marks in it are given to the nearer of the words beside it.

    Args:
        left: where the blank begins, in columns
        right: where it ends
        ink: of the line, (h, w) bool

    Returns:
        where it begins and ends then
    """
    if right - left < 1:
        return left, right
    near = _NEAR * len(ink)
    first = int(left)
    marks = _marks(ink[:, first : int(np.ceil(right))]) + first
    for begin, end in marks.tolist():
        if begin - left <= min(near, right - end):
            left = max(left, end)
    for begin, end in marks[::-1].tolist():
        if begin >= left and right - end <= near:
            right = min(right, begin)
    return left, max(left, right)


def _marks(ink: np.ndarray) -> np.ndarray:
    """Left and right end of the small marks in a blank, (n, 2), left to right.

    Rules that run through it are none, nor is what hangs into it from the lines above and below.
    """
    import cv2

    rows = len(ink)
    ink = ink & ~(ink.mean(axis=1, keepdims=True) > _RULE)
    left, top, width, height, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)[2][1:].T
    longer = np.maximum(width, height)
    fits = (longer >= _FROM * rows) & (longer <= _TO * rows) & (top > 0) & (top + height < rows)
    marks = np.stack([left, left + width], axis=1)[fits]
    return marks[np.argsort(marks[:, 0])]


def find_boxes(ink: np.ndarray) -> list[tuple[int, int]]:
    """Left and right end, in columns, of the boxes to be checked in a line, left to right.

    Letters have round or open corners and stand close to each other; a box has four that are not, and stands alone.

    Args:
        ink: of the line, (h, w) bool
    """
    import cv2

    _, labels, shapes, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    found = []
    for label, (left, top, width, height, area) in enumerate(shapes.tolist()):
        if not label or height < _BOX_FROM * len(ink) or not _NARROW <= width / height <= _WIDE:
            continue
        alone = math.ceil(_ALONE * len(ink))
        beside = ink[top : top + height, max(0, left - alone) : left + width + alone].any(axis=0)
        if beside.sum() > width:
            continue
        shape = labels[top : top + height, left : left + width] == label
        side = max(2, round(_THICK * height))
        corner = np.s_[:: height - 1, :: width - 1]
        sides = shape[:side].any(0), shape[-side:].any(0), shape[:, :side].any(1), shape[:, -side:].any(1)
        if area <= _FILLED * width * height and min(line.mean() for line in sides) >= _SIDE:
            rounded = cv2.dilate(shape.astype(np.uint8), np.ones((3, 3), np.uint8))
            if rounded[corner].all():
                found.append((left, left + width))
    return sorted(found)


def begins_with_dot(ink: np.ndarray) -> bool:
    """Whether what may be a dot of a leader comes first.

    Args:
        ink: of the beginning of a line, (h, w) bool
    """
    shapes = _components(ink)
    dots = _are_dots(shapes, len(ink))
    others = shapes[~dots & (shapes[:, 3] > _DOT_HIGH * len(ink))]
    return bool(dots.any() and (not len(others) or shapes[dots, 0].min() < others[0, 0]))


def find_leaders(ink: np.ndarray) -> list[tuple[int, int]]:
    """Left and right end, in columns, of the rows of dots that lead from a word to another or wait for one.

    Args:
        ink: of the line, (h, w) bool
    """
    rows, shapes = len(ink), _components(ink)
    left, top, width, height, _ = shapes.T
    right, middle = left + width, top + height / 2
    letters = np.flatnonzero(height > _DOT_HIGH * rows)
    runs: list[list[int]] = []
    for dot in np.flatnonzero(_are_dots(shapes, rows)).tolist():
        for run in runs[::-1]:
            last = run[-1]
            pitch = left[dot] - left[last]
            usual = pitch if len(run) < 2 else (left[last] - left[run[0]]) / (len(run) - 1)
            if (
                right[last] < left[dot]
                and pitch <= _PITCH * rows
                and abs(pitch - usual) <= _EVEN * usual + 1
                and abs(middle[dot] - middle[last]) <= _LEVEL * rows
                and not ((left[letters] < right[dot]) & (right[letters] > left[last])).any()
            ):
                run.append(dot)
                break
        else:
            runs.append([dot])
    return [(int(left[run[0]]), int(right[run[-1]])) for run in runs if len(run) >= _DOTS]


def find_underscores(ink: np.ndarray, blanks: Sequence[tuple[float, float]]) -> list[bool]:
    """Which blanks show an underscore, which joins the words beside it; a line under words reaches farther.

    Args:
        ink: of the line, (h, w) bool
        blanks: left and right end of each, in columns
    """
    rows = len(ink)
    left, top, width, height, _ = _components(ink).T
    fits = (width >= _SCORE_FROM * rows) & (width <= _SCORE_TO * rows)
    # What touches the border hangs into the strip from the line below.
    fits &= (height <= _SCORE_HIGH * rows) & (top >= _BELOW * rows) & (top + height < rows)
    left, right = left[fits], (left + width)[fits]
    reach = _UNDER * rows
    return [
        bool(((left > begin - reach) & (right < end + reach) & (right - left >= _SPANS * (end - begin))).any())
        for begin, end in blanks
    ]


def _components(ink: np.ndarray) -> np.ndarray:
    """Left, top, width, height and area of what hangs together, (n, 5), left to right."""
    import cv2

    shapes = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)[2][1:]
    return shapes[np.argsort(shapes[:, 0])]


def _are_dots(shapes: np.ndarray, rows: int) -> np.ndarray:
    """Which components may be dots of a leader; those that touch the border are specks or parts of other lines."""
    _, top, width, height, _ = shapes.T
    inside = (top > 0) & (top + height < rows)
    return inside & (width <= _DOT_WIDE * rows) & (height <= _DOT_HIGH * rows)
