"""Letters that stand apart with blanks between them, `a b c`: words of one letter each."""

from __future__ import annotations

import numpy as np

from clip4str_plugin.reading.letter_case import ink_of

__all__ = ["find_spread_letters"]

# Letters stand apart if the gaps between them are at least so wide, in heights of the tallest, each and at the median;
# words that are set wide leave less.
_LEAST, _USUAL = 0.35, 0.45
# Of figures and strokes as narrow as this, in the same measure, wide gaps say nothing: 111 in a typewriter's face.
_NARROW = 0.3
# What is narrower than this is one of these, or a rule beside a word.
_STROKE, _STROKES = 0.15, frozenset("iIjl1|!")
# Points leave wide gaps within a word.
_POINTS = frozenset(".,:;'`\"")
# Ink beyond the ends of a letter that still belongs to its crop, in heights.
_MARGIN = 0.1


def find_spread_letters(crop: np.ndarray, text: str) -> list[tuple[float, float]]:
    """Find the letters of a word that is no word, since blanks part all of them.

    Args:
        crop: uint8 (h, w, 3) or (h, w), upright.
        text: what was read in it.

    Returns:
        left and right end of each character, in shares of the width; empty if the word is one
    """
    # The gaps between marks, `***`, are wide beside their own height.
    if len(text) < 2 or set(text) & _POINTS or not any(map(str.isalnum, text)) or min(crop.shape[:2]) < 4:
        return []
    ink = ink_of(crop)
    columns = np.flatnonzero(np.diff(np.pad(ink.any(axis=0).astype(np.int8), 1)))
    begins, ends = columns[::2], columns[1::2]
    if len(begins) != len(text):
        return []
    rows = [np.flatnonzero(ink[:, begin:end].any(axis=1)) for begin, end in zip(begins, ends)]
    height = max(row[-1] - row[0] + 1 for row in rows)
    gaps = begins[1:] - ends[:-1]
    if gaps.min() < _LEAST * height or np.median(gaps) < _USUAL * height or (ends - begins).max() < _NARROW * height:
        return []
    if any(end - begin < _STROKE * height and char not in _STROKES for begin, end, char in zip(begins, ends, text)):
        return []
    margin, width = _MARGIN * height, crop.shape[1]
    return [(max(0.0, begin - margin) / width, min(width, end + margin) / width) for begin, end in zip(begins, ends)]
