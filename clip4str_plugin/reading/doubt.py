"""Which words have too low a confidence to be taken for text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clip4str_plugin.options import Confidence
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["find_doubtful"]

# A product of the characters' probabilities falls with every one: longer words are held to the limit as if they had
# so many.
_LONG = 8
# Words of up to so many characters are believed with the first share of the limit, longer ones with the second ...
_SHORT, _SHARE, _SHARE_OF_LONG = 3, 0.4, 0.6
# ... in a line whose other words, at least so many characters, are read this well on the average.
_CHARACTERS, _WELL_READ = 3, 0.8

# Short words that only one of two detectors found are mostly things that look like letters. Their limit is this power
# of the limit: 0.9 in place of 0.5.
_ALONE = 0.15

# A letter that stands alone and looks like others shares its probability with them, and has this share of the limit.
_LOOK_ALIKES, _SHARED = frozenset("cCoO0sSuUvVwWxXzZlI1"), 0.8

# Rows of dots or strokes lead from a word to another or wait for one; nobody reads them. Three dots are an ellipsis.
_LEADER = re.compile(r"[.…·_=-]{4,}")
# Such rows at the ends of a word say nothing of the word: how many dots they have, a recognizer can hardly tell.
_ROWS = re.compile(r"([.…·_=*-]{2,})?(.*?\w.*?)([.…·_=*-]{2,})?")


def find_doubtful(
    readings: Sequence[Recognition],
    lines: Sequence[Sequence[int]],
    min_confidence: float,
    kind: Confidence = "product",
    alone: Sequence[bool] | None = None,
) -> list[bool]:
    """Tell which words are doubtful: those with a confidence below a limit.

    This removes most false detections. In a line that is read well words are most likely text and get a lower limit,
    short ones the lowest, because a single letter tells a recognizer little.

    Args:
        readings: of the words of a page.
        lines: for each line the indices of its words; words without a line stand alone.
        min_confidence: the limit, from 0 to 1.
        kind: of the readings' confidence, see ``confidence`` of `clip4str_plugin.Recognizer`. Only a product
            falls with the length of a word.
        alone: for each word whether one detector found it where another one found nothing; None: there was one only.

    Returns:
        for each word whether it is doubtful; empty ones and leaders are.
    """
    sure = [_per_word(reading, kind) for reading in readings]
    limits = [
        min_confidence**_ALONE if lonely and len(reading.text) <= _SHORT else min_confidence
        for reading, lonely in zip(readings, alone or [False] * len(readings))
    ]
    doubtful = [
        not reading.text or trust < limit * (_SHARED if reading.text in _LOOK_ALIKES else 1.0)
        for reading, trust, limit in zip(readings, sure, limits)
    ]
    for line in lines:
        for index in line:
            if not doubtful[index] or not readings[index].text:
                continue
            others = [(sure[other], len(readings[other].text)) for other in line if other != index]
            characters = sum(length for _, length in others)
            if characters >= _CHARACTERS and sum(trust * n for trust, n in others) >= _WELL_READ * characters:
                share = _SHARE if len(readings[index].text) <= _SHORT else _SHARE_OF_LONG
                doubtful[index] = sure[index] < share * limits[index]
    return [doubt or _LEADER.fullmatch(reading.text) is not None for doubt, reading in zip(doubtful, readings)]


def _per_word(reading: Recognition, kind: Confidence) -> float:
    """The confidence as that of a word that is not long."""
    if kind != "product" or not reading.text:
        return reading.confidence
    confidence, length = reading.confidence, len(reading.text)
    rows = _ROWS.fullmatch(reading.text)
    if rows and (rows[1] or rows[3]) and len(reading.char_confidences) == length:
        confidence = math.prod(reading.char_confidences[rows.start(2) : rows.end(2)])
        length = len(rows[2])
    return float(confidence ** min(1.0, _LONG / length))
