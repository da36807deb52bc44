"""Lines of text end where leaders begin: rows of dots, of which detectors take some for text."""

import math

import numpy as np

from clip4str_plugin.geometry.text_strip import TextStrip
from clip4str_plugin.reading.line_marks import begins_with_dot, find_leaders, ink_of_line

__all__ = ["without_leaders"]

# A leader is looked for where a dot is the first or last thing within this many heights of an end of a line, and so far
# beyond it.
_WITHIN, _BEYOND = 1.5, 3.0
# The line ends so far from the next dot, in heights.
_CLEAR = 0.08
# What is left between two leaders is text if it is so wide, in heights.
_NARROWEST = 0.15


def without_leaders(image: np.ndarray, strip: TextStrip) -> tuple[TextStrip, np.ndarray] | None:
    """Take leaders off the ends of a line.

    Args:
        image: the page, uint8 (H, W, 3).
        strip: the line on it.

    Returns:
        the line without them, and its crop; None where nothing else is there.
    """
    crop = strip.crop(image)
    end = math.ceil(_WITHIN * crop.shape[0])
    dotted = [begins_with_dot(ink_of_line(part)) for part in (crop[:, :end], crop[:, -end:][:, ::-1])]
    if not any(dotted):
        return strip, crop
    before, behind = (_BEYOND if there else 0.0 for there in dotted)
    seen = strip.grown(before, 0, behind, 0)
    if not seen.lies_on(image.shape[1], image.shape[0]):
        seen, before, behind = strip, 0.0, 0.0
    ink = ink_of_line(seen.crop(image))
    high, wide = strip.size[1], strip.size[0]
    left, right = 0.0, 1.0
    for begin, end in find_leaders(ink):
        # In shares of the line itself, clear of the dots.
        ends = begin / len(ink) - _CLEAR, end / len(ink) + _CLEAR
        first, last = ((place - before) * high / wide for place in ends)
        if first <= _NARROWEST * high / wide and last > 0:
            left = max(left, last)
        elif last >= 1 - _NARROWEST * high / wide and first < 1:
            right = min(right, first)
    if (left, right) == (0.0, 1.0):
        return strip, crop
    if (right - left) * wide < _NARROWEST * high:
        return None
    rest = TextStrip.of(strip.polygon(left, right), "top-left")
    return rest, rest.crop(image)
