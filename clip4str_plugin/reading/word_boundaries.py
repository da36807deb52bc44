"""Where words begin and end, by what was read: put together, taken apart, rules and leaders left out."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.geometry.text_strip import TextStrip
from clip4str_plugin.reading.orientation import Oriented
from clip4str_plugin.reading.regions import ReadRegion, Region
from clip4str_plugin.reading.segmentation import known_words
from clip4str_plugin.reading.spread_letters import find_spread_letters

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["known_words_apart", "letters_apart", "parts_together", "put_together", "without_rules"]

# Underscores at the ends of a word are nearly always a part of a rule, and so many dots lead to another word.
_RULES = re.compile(r"_*(.*?)_*(?:[.…·]{4,}_*)?", re.DOTALL)

# The point of an amount goes with its first part where its type is wide: `$10.` and `80`.
_AMOUNT = re.compile(r"[$€£]\d[\d,]*\. \d\d")
# Where no blank is to be seen, parts of numbers, compounds, addresses and elisions are one: `27` and `-23343332-8`,
# `self-` and `employed`, `www.` and `example.org`, `info@site` and `.org`, `dell'` and `acqua`.
_ONE = re.compile(
    r".*\d(- | -)\d.*|.*[A-Za-z]- [A-Za-z].*|(?:.*//)?www\. \w.*|.*\w@ \w.*|.*\w @\w.*|.*\w \.[A-Za-z].*"
    r"|(?:[dl]|un|qu|all|(?:d|n|s|qu)[aeu]ll)' [A-Za-z].*",
    re.IGNORECASE,
)

# A point within a name, an address or a file's name, `file.` and `html`, where a blank this likely at most is to be
# seen; behind an abbreviation blanks are clear.
_DOTTED, _FAINT = re.compile(r".*\w\. [a-z]{2}.*"), 0.65


def parts_together(words: list[ReadRegion]) -> list[ReadRegion]:
    """The words of a line, those whole again that came apart at a point, a hyphen or the like within them."""
    together: list[ReadRegion] = []
    for region, item in words:
        if together:
            before, first = together[-1]
            texts = first.reading.text, item.reading.text
            follows = before.span[1] + 1 == region.span[0]
            quads = len(before.polygon) == len(region.polygon) == 4 and first.turns == item.turns == 0
            seam = " ".join(texts)
            if follows and quads and _is_one(before, seam):
                polygon = np.concatenate([before.polygon[:1], region.polygon[1:3], before.polygon[3:]])
                whole = replace(before, polygon=polygon, span=(before.span[0], region.span[1]))
                together[-1] = whole, replace(first, reading=put_together(first.reading, item.reading))
                continue
        together.append((region, item))
    return together


def put_together(first: Recognition, second: Recognition) -> Recognition:
    """One reading of two parts of a word that share nothing; its confidence is that of the less certain part."""
    return replace(
        first,
        text=first.text + second.text,
        confidence=min(first.confidence, second.confidence),
        char_confidences=(*first.char_confidences, *second.char_confidences),
    )


def _is_one(before: Region, seam: str) -> bool:
    """Whether a word and the next one of its line, joined by a blank in `seam`, are one."""
    pieces, last = before.pieces, before.span[1]
    if pieces is None:
        return False
    touches = pieces.touches_next(last)
    if _AMOUNT.fullmatch(seam) or (touches and _ONE.fullmatch(seam)):
        return True
    return (touches or "@" in seam) and pieces.blanks[last] <= _FAINT and _DOTTED.fullmatch(seam) is not None


def known_words_apart(region: Region, item: Oriented[Recognition]) -> list[ReadRegion]:
    """A word of a line, or the two known words that it is made of."""
    reading, pieces, backwards = item.reading, region.pieces, item.turns == 2
    if pieces is None or item.turns % 2 or len(reading.char_confidences) != len(reading.text) or backwards:
        return [(region, item)]
    found = known_words(pieces, region.span, reading.text)
    if found is None:
        return [(region, item)]
    characters, last = found
    strip = TextStrip.of(region.polygon, "top-left")
    left, right = pieces.extent(region.span)
    words = []
    for span, part in (
        ((region.span[0], last), slice(None, characters)),
        ((last + 1, region.span[1]), slice(characters, None)),
    ):
        ends = [(end - left) / (right - left) for end in pieces.extent(span)]
        sure = reading.char_confidences[part]
        # A product of probabilities is as many factors shorter; means and minima hardly change.
        share = len(sure) / len(reading.text) if reading.confidence < min(reading.char_confidences) else 1.0
        word = replace(reading, text=reading.text[part], confidence=reading.confidence**share, char_confidences=sure)
        words.append((replace(region, polygon=strip.polygon(*ends), span=span), replace(item, reading=word)))
    return words


def letters_apart(region: Region, item: Oriented[Recognition]) -> list[ReadRegion]:
    """A word of a line, or its letters where blanks part them all."""
    reading = item.reading
    if region.pieces is None or item.turns % 2 or len(reading.char_confidences) != len(reading.text):
        return [(region, item)]
    crop = np.rot90(region.crop, item.turns)
    ends = find_spread_letters(crop, reading.text)
    if not ends:
        return [(region, item)]
    strip = TextStrip.of(region.polygon, "top-left")
    letters = []
    for (left, right), char, sure in zip(ends, reading.text, reading.char_confidences):
        polygon = strip.polygon(*((1 - right, 1 - left) if item.turns else (left, right)))
        letter = replace(reading, text=char, confidence=sure, char_confidences=(sure,))
        letters.append((replace(region, polygon=polygon), replace(item, reading=letter)))
    return letters[::-1] if item.turns else letters


def without_rules(reading: Recognition) -> Recognition:
    """Leave out what a word stands on or leads to: underscores at its ends, and a leader behind it."""
    text = reading.text
    found = _RULES.fullmatch(text)
    if found is None or found[1] == text or not any(map(str.isalnum, found[1])):
        return reading
    characters = reading.char_confidences
    if len(characters) == len(text):
        characters = characters[found.start(1) : found.end(1)]
    return replace(reading, text=found[1], char_confidences=characters)
