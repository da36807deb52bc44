"""Words longer than a recognizer can return: cut with overlap, read in parts, joined without doubling."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from clip4str_plugin.reading.recognizer import Recognition
from clip4str_plugin.reading.views import certainty

__all__ = ["join_readings", "longest_text", "read_long_codes", "read_long_words"]

# Parts are so many heights long, overlap by so many, and their ends move by up to so many to miss the letters.
_PART, _OVERLAP, _REACH = 3.5, 1.5, 0.3
# Parts hold about this many characters at most: a network reads a few well and many badly.
_FEW = 12
# A crop at least this long, in heights, may hold more characters than a recognizer says.
_LONG = 10.0
# One this long may, too, if it was read with less than this certainty.
_DOUBTFUL, _CERTAIN = 6.0, 0.8
# Where two parts overlap, a different character costs this much, and an overlap off by one character so much.
_DIFFERENT, _OFF = 2.0, 0.35
# So many characters at the cut ends of parts may be left out, each at this cost: halves of letters read as anything.
_RAGGED, _LEFT_OUT = 1, 0.6


def read_long_words(
    crops: Sequence[np.ndarray],
    readings: Sequence[Recognition],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    max_length: int | None = None,
) -> list[Recognition]:
    """Read again, in one batch of overlapping parts, the words that are or may be longer than a recognizer can say.

    Args:
        crops: uint8 (h, w, 3) or (h, w), upright
        readings: what `recognize` gave for them
        recognize: reads crops; a `Recognizer`, say
        max_length: the longest text it can return; None: its `longest_text`

    Returns:
        the readings, those of long words replaced by joined ones where these are longer than what can be said at
        once or more certain than before
    """
    if max_length is None:
        max_length = longest_text(recognize)
    long = [
        index
        for index, (crop, reading) in enumerate(zip(crops, readings))
        if crop.size and (len(reading.text) >= max_length - 1 or _may_be_long(crop, reading))
    ]
    return _read_in_parts(long, crops, readings, recognize, max_length)


def read_long_codes(
    crops: Sequence[np.ndarray],
    readings: Sequence[Recognition],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    max_length: int | None = None,
) -> list[Recognition]:
    """Read again, in parts, the long texts with digits of which one character is doubtful.

    Squeezed to the size that a recognizer takes, digits and signs are lost: `IEC-62443-3-3` becomes `IEC-62443-33`.
    This is for what is certainly one word: read in parts, two words are as certain together as apart.

    Args, Returns:
        as `read_long_words`, whose result `readings` are.
    """
    if max_length is None:
        max_length = longest_text(recognize)
    codes = [
        index
        for index, (crop, reading) in enumerate(zip(crops, readings))
        if len(reading.text) > _FEW
        and any(map(str.isdigit, reading.text))
        and min(reading.char_confidences, default=1.0) < _CERTAIN
        and crop.shape[1] >= _DOUBTFUL * crop.shape[0]
        and not _may_be_long(crop, reading)  # read in parts already
    ]
    return _read_in_parts(codes, crops, readings, recognize, max_length)


def _may_be_long(crop: np.ndarray, reading: Recognition) -> bool:
    longest = _LONG if certainty(reading) >= _CERTAIN else _DOUBTFUL
    return crop.shape[1] >= longest * crop.shape[0]


def _read_in_parts(
    chosen: Sequence[int],
    crops: Sequence[np.ndarray],
    readings: Sequence[Recognition],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    max_length: int,
) -> list[Recognition]:
    """The readings, those that are chosen read in parts if that says more or is more certain."""
    parts = [(index, *ends) for index in chosen for ends in _parts(crops[index], len(readings[index].text))]
    if not parts:
        return list(readings)
    views = [np.ascontiguousarray(crops[index][:, int(left) : int(right)]) for index, left, right in parts]
    again = recognize(views)
    result = list(readings)
    for index in chosen:
        own = [(again[number], *part[1:]) for number, part in enumerate(parts) if part[0] == index]
        joined = join_readings([reading for reading, _, _ in own], [(left, right) for _, left, right in own])
        was = readings[index]
        if (len(was.text) >= max_length - 1 and len(joined.text) >= len(was.text)) or certainty(joined) > certainty(
            was
        ):
            result[index] = joined
    return result


def longest_text(recognizer: Any) -> int:
    """The longest text a recognizer can return: as its model's configuration says, 25 without one."""
    config = getattr(recognizer, "config", None)
    return int(getattr(config, "max_label_length", 25))


def join_readings(readings: Sequence[Recognition], places: Sequence[tuple[float, float]]) -> Recognition:
    """Join readings of overlapping parts of a word.

    How many characters two parts share follows from both their places and their characters, so that neither
    `-12-12` is doubled nor one of its halves lost.

    Args:
        readings: of the parts, left to right
        places: left and right end of each part, in any unit

    Returns:
        the whole word; each character with its probability in the part that holds it farther from the cut; the
        confidence is that of the least certain part

    >>> halves = [Recognition("555-12", 0.9, (0.9,) * 6), Recognition("12-12", 0.8, (0.8,) * 5)]
    >>> join_readings(halves, [(0, 60), (40, 90)]).text
    '555-12-12'
    """
    kept = [(reading, place) for reading, place in zip(readings, places) if reading.text]
    if not kept:
        return Recognition("", 0.0, ())
    text, probabilities = kept[0][0].text, list(kept[0][0].char_confidences)
    for (before, left_place), (after, right_place) in pairwise(kept):
        pitch = sum(
            (right - left) / len(reading.text)
            for reading, (left, right) in ((before, left_place), (after, right_place))
        )
        expected = max(0.0, left_place[1] - right_place[0]) / (pitch / 2)
        shared, tail, head = _overlap(text, after.text, expected)
        # Characters next to a cut are the least sure: the first half of the overlap is taken from the part before.
        middle = shared // 2
        stop = len(text) - tail - (shared - middle)
        text = text[:stop] + after.text[head + middle :]
        probabilities = probabilities[:stop] + list(after.char_confidences[head + middle :])
    return Recognition(text, min(reading.confidence for reading, _ in kept), tuple(probabilities))


def _overlap(before: str, after: str, expected: float) -> tuple[int, int, int]:
    """How many characters the end of one text shares with the start of the next.

    Returns:
        their number, and how many characters to leave out first at the end of `before` and at the start of `after`
    """
    best, answer = math.inf, (0, 0, 0)
    for tail in range(min(_RAGGED, len(before)) + 1):
        for head in range(min(_RAGGED, len(after)) + 1):
            for shared in range(min(len(before) - tail, len(after) - head) + 1):
                end = len(before) - tail
                pairs = zip(before[end - shared : end], after[head : head + shared])
                different = sum(a != b and a.lower() != b.lower() for a, b in pairs)
                # What is left out was seen twice, too.
                off = shared + (tail + head) / 2 - expected
                cost = _DIFFERENT * different + _OFF * off * off + _LEFT_OUT * (tail + head)
                if cost < best:
                    best, answer = cost, (shared, tail, head)
    return answer


def _parts(crop: np.ndarray, characters: int) -> list[tuple[float, float]]:
    """Left and right end, in pixels, of overlapping parts of a crop; ends lie between letters where they can."""
    height, width = crop.shape[:2]
    # Narrow type has more characters to the height.
    scale = min(1.0, _FEW * width / max(characters, 1) / (_PART * height)) if characters else 1.0
    part, overlap = _PART * height * scale, _OVERLAP * height * scale
    count = max(2, math.ceil((width - overlap) / (part - overlap)))
    starts = np.linspace(0, width - part, count) if width > part else np.array([0.0, width / 3])
    part = min(part, width * 2 / 3) if width <= part else part
    grey = crop.astype(np.float32)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    ink = np.ptp(grey, axis=0)
    reach = max(1, int(_REACH * height * scale))

    def emptiest(x: float) -> float:
        near = np.arange(max(1, int(x) - reach), min(width - 1, int(x) + reach) + 1)
        return float(near[(ink[near] + 1e-3 * np.abs(near - x)).argmin()]) if len(near) else x

    return [
        (0.0 if number == 0 else emptiest(start), float(width) if number == count - 1 else emptiest(start + part))
        for number, start in enumerate(starts[:count])
    ]
