"""Lines of text cut into words at their blanks."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clip4str_plugin.geometry.polygons import Start
from clip4str_plugin.geometry.text_strip import TextStrip
from clip4str_plugin.reading.line_marks import (
    find_boxes,
    find_leaders,
    find_underscores,
    ink_of_line,
    without_marks,
)
from clip4str_plugin.reading.segmentation import Pieces, likeliest

__all__ = ["find_pieces", "find_words", "split_lines"]

# Answers run from 0, a blank, to 1, a word. Words begin and end where they pass this, and a blank is possible where
# they fall to this or lower, by so much from both sides.
_WORD, _HIGHEST, _RISE = 0.55, 0.9, 0.05
# A valley with this lowest answer is as likely a blank as not; its log odds grow so much faster than the answer's fall.
# Measured on scanned forms (even at 0.24, 1.4 times) and on scenes (at 0.08, 0.8 times).
_EVEN, _STEEPNESS = 0.18, 1.35
# Words get this margin on both sides, in heights, but never more than half of a blank.
_MARGIN = 0.08
# Words that cover less than this share of a line longer than so many heights are chance: it stays one word.
_FEWEST, _LONG = 0.15, 4.0
# Words that end so near to a box, in heights, end beside it.
_BESIDE = 0.15
# Crops in one pass, and columns in it: memory does not grow with the number or length of lines.
_BATCH, _COLUMNS = 32, 40_000


def split_lines(image: np.ndarray, line_polygons: Iterable[Any], *, start: Start = "any") -> list[list[np.ndarray]]:
    """Cut lines of text into words at their blanks.

    Args:
        image: page, uint8, (H, W) or (H, W, C), any colour order
        line_polygons: one polygon a line, (K, 2) pixels each, straight or curved
        start: what the first point of a polygon means, see `rectify`

    Returns:
        for each line its words in reading order, polygons (K, 2) float32, clockwise from the text's top left corner;
        four points each on straight lines. A line in which nothing looks like text stays one word.

    Raises:
        PolygonError, ImageError: as `rectify` does
    """
    strips = [TextStrip.of(polygon, start) for polygon in line_polygons]
    found = find_words_in([strip.crop(image) for strip in strips])
    return [[strip.polygon(left, right) for left, right in words] for strip, words in zip(strips, found)]


def find_words(crop: np.ndarray) -> list[tuple[float, float]]:
    """Find the words of an upright line crop.

    Args:
        crop: uint8, (h, w) or (h, w, C), any colour order

    Returns:
        left and right end of each word, left to right, in shares of the width
    """
    return find_words_in([crop])[0]


def find_words_in(crops: Sequence[np.ndarray]) -> list[list[tuple[float, float]]]:
    """Find the words of several line crops, see `find_words`; lines of like length share a pass."""
    return [[pieces.extent(word) for word in likeliest(pieces)] for pieces in find_pieces(crops)]


def find_pieces(crops: Sequence[np.ndarray]) -> list[Pieces]:
    """Cut upright line crops wherever a blank is possible.

    Args:
        crops: uint8, (h, w) or (h, w, C), any colour order

    Returns:
        for each its pieces; a line in which nothing looks like text is one piece
    """
    from clip4str_plugin.reading.splitter import HEIGHT, STRIDE, splitter_answers, to_strip

    found: dict[int, Pieces] = {}
    order = sorted(range(len(crops)), key=lambda index: crops[index].shape[1] / crops[index].shape[0])
    while order:
        # The longest first: it says how many fit.
        longest = to_strip(crops[order[-1]]).shape[2]
        batch = [order.pop() for _ in range(min(len(order), _BATCH, max(1, _COLUMNS // longest)))]
        strips = [to_strip(crops[index]) for index in batch]
        padded = np.stack([np.pad(s, ((0, 0), (0, 0), (0, longest - s.shape[2])), mode="edge") for s in strips])
        answers = splitter_answers(padded)
        for index, strip, answer in zip(batch, strips, answers):
            height, width = crops[index].shape[:2]
            columns = width * HEIGHT / height / STRIDE
            found[index] = _pieces(
                answer[: strip.shape[2] // STRIDE], columns, HEIGHT / STRIDE, ink_of_line(crops[index])
            )
    return [found[index] for index in range(len(crops))]


def _pieces(answer: np.ndarray, columns: float, height: float, ink: np.ndarray) -> Pieces:
    """Pieces from the network's answers.

    Args:
        answer: (n,) from 0, a blank, to 1, a word
        columns: width of the line in answers
        height: of the line, in answers
        ink: from `ink_of_line`
    """
    step = len(ink) / height
    shown = columns
    for first, last in find_leaders(ink):
        answer, ink = answer.copy(), ink.copy()
        ink[:, first:last] = False
        # The network's answers are blurred: the whole blank, from ink to ink, is one.
        inked = np.flatnonzero(ink.any(axis=0))
        begin, end = max(inked[inked < first], default=-1) + 1, min(inked[inked >= last], default=ink.shape[1])
        answer[math.ceil(begin / step) : int(end / step)] = 0.0
        shown -= (end - begin) / step
    words = np.flatnonzero(answer > _WORD)
    if not len(words) or (len(words) < _FEWEST * shown and shown > _LONG * height):
        return Pieces([(0.0, 1.0)], [], columns / height)
    gaps = _valleys(answer, words[0], words[-1] + 1)
    joined = find_underscores(ink, [(left * step, right * step) for left, right, _ in gaps])
    gaps = [gap for gap, underscore in zip(gaps, joined) if not underscore]
    boxes = [(box[0] / step, box[1] / step) for box in find_boxes(ink)]
    gaps = _with_boxes(gaps, boxes, words[0], words[-1] + 1, _BESIDE * height)
    starts, stops = [float(words[0])], []
    for left, right, _ in gaps:
        left, right = without_marks(left * step, right * step, ink)
        stops.append(left / step)
        starts.append(right / step)
    starts[0] = without_marks(0, starts[0] * step, ink)[1] / step
    stops.append(without_marks(float(words[-1] + 1) * step, columns * step, ink)[0] / step)
    margin = _MARGIN * height
    room = [margin, *(min(margin, (right - left) / 2) for left, right in zip(stops, starts[1:])), margin]
    ends = [
        (max(0.0, start - room[number]) / columns, min(columns, stop + room[number + 1]) / columns)
        for number, (start, stop) in enumerate(zip(starts, stops))
    ]
    return Pieces(ends, [_blank(lowest) for _, _, lowest in gaps], columns / height)


def _blank(lowest: float) -> float:
    """How likely a valley with this lowest answer is a blank."""
    lowest = min(max(lowest, 1e-6), 1 - 1e-6)
    return 1 / (1 + (lowest / (1 - lowest) * (1 - _EVEN) / _EVEN) ** _STEEPNESS)


def _valleys(answer: np.ndarray, first: int, last: int) -> list[tuple[float, float, float]]:
    """Left and right edge and the lowest answer of every place where a word may end, from `first` to before `last`."""
    found: list[tuple[float, float, float]] = []
    peak, lowest, at = float(answer[first]), 1.0, [first]
    for index in range(first, last):
        value = float(answer[index])
        if value < lowest:
            lowest, at = value, [index]
        elif value == lowest:
            at.append(index)
        if lowest < peak - _RISE and value > lowest + _RISE:
            if lowest <= _HIGHEST:
                left, right = _edges(answer, at[len(at) // 2], first, last)
                if found and left <= found[-1][1]:  # nothing between the two is a word
                    left, _, other = found.pop()
                    lowest = min(lowest, other)
                found.append((left, right, lowest))
            peak, lowest, at = value, value, [index]
        elif value > peak and lowest > peak - _RISE:
            peak, lowest, at = value, value, [index]
    return found


def _with_boxes(
    gaps: list[tuple[float, float, float]], boxes: list[tuple[float, float]], first: float, last: float, near: float
) -> list[tuple[float, float, float]]:
    """The places where words may end between `first` and `last`: certainly beside boxes, and never within them."""
    for box in boxes:
        for edge in box:
            beside = [gap for gap in gaps if gap[0] - near <= edge <= gap[1] + near]
            if beside or first + near < edge < last - near:
                ends = [edge, *(end for left, right, _ in beside for end in (left, right))]
                gaps = [*(gap for gap in gaps if gap not in beside), (min(ends), max(ends), 0.0)]
    return sorted(gap for gap in gaps if not any(left < gap[0] and gap[1] < right for left, right in boxes))


def _edges(answer: np.ndarray, bottom: int, first: int, last: int) -> tuple[float, float]:
    """Where the words to both sides of a valley end."""
    if answer[bottom] > _WORD:  # all of it looks like a word
        return bottom + 0.5, bottom + 0.5
    left, right = bottom, bottom
    while left > first and answer[left - 1] <= _WORD:
        left -= 1
    while right < last and answer[right] <= _WORD:
        right += 1
    return float(left), float(right)
