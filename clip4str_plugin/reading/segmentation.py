"""Which pieces of a line make up its words: what the look of the blanks leaves open is decided by reading."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from clip4str_plugin.reading.lexicon import unknown_characters

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["Pieces", "Span", "alternatives", "choose", "known_words", "likeliest", "worth_reading"]

Span = tuple[int, int]
"""Numbers of the first and of the last piece of a word."""

# Blanks from this probability on are certain, and so are words below this one.
_CERTAIN_BLANK, _CERTAIN_WORD = 0.96, 0.07
# Over blanks from this probability on only what may be a number, or a mark and its word, is read together.
_LIKELY_BLANK = 0.9
# Longer words, in heights, are not tried, nor are those over more doubtful blanks: squashed to the size that a
# recognizer takes they are read badly, which says nothing about their blanks.
_LONGEST, _MOST = 12.0, 4
# A word that is read as surely as this is not taken apart again, unless a blank as likely as this is in it: of two
# words in one crop, one is sometimes read surely and the other one not at all.
_SURE, _DOUBTFUL = 0.9, 0.4
# Words of which every character is as sure as this are well read.
_WELL_READ = 0.8
# What is read as nothing counts like a word as unlikely as exp(-3), and so does a cut through a number or an address
# exp(-4), and one beside a mark or through `it's` exp(-2). Digits are evenly wide, so that a blank between two always
# shows: a cut where none does counts exp(-2). A cut behind a capital, `S mith`, counts exp(-3), or, where what follows
# is a word itself, `J ones`, exp(-1).
_NOTHING, _CUT_NUMBER, _CUT_MARK, _CUT_DIGITS, _CUT_CAPITAL, _CUT_TO_WORD = 3.0, 4.0, 2.0, 2.0, 3.0, 1.0
# So many characters that are read apart may be missing from what is read together; every further one makes it less
# likely by exp(-1), and the first one, too, if it is a word: a crop of two is sometimes read as one of them.
_MAY_MISS, _MISSING = 1, 1.0
# A character outside of known words makes a reading less likely by exp(-0.5).
_UNKNOWN = 0.5
# Two known words in one reading stand beside a valley if their letters put the blank this near to it, in characters;
# the longer one has so many letters at least, the other one so many characters.
_BESIDE_VALLEY, _LETTERS, _CHARACTERS = 1.0, 3, 2
# Words that others often begin or end with.
_BEGINNINGS = frozenset([
    "anti", "auto", "bio", "co", "counter", "cross", "dis", "down", "extra", "fore", "hand", "hyper", "in",
    "inter", "mac", "mid", "mini", "mis", "multi", "neo", "non", "off", "on", "out", "over", "par", "per",
    "photo", "post", "pre", "pro", "re", "self", "semi", "sub", "super", "tele", "trans", "tri", "ultra", "un",
    "under", "up", "van",
])  # fmt: skip
_ENDINGS = frozenset([
    "able", "age", "al", "ally", "ant", "ants", "berg", "burg", "bury", "dale", "ed", "en", "end", "ent", "er",
    "ers", "es", "ever", "field", "ford", "ful", "gate", "hill", "hood", "house", "ing", "ings", "ion", "ism",
    "ist", "ists", "ity", "land", "lands", "led", "less", "like", "line", "ling", "ly", "man", "mark", "mart",
    "men", "ment", "ments", "mill", "more", "ness", "new", "off", "on", "out", "over", "port", "ring", "room",
    "ship", "son", "south", "ted", "ting", "tion", "ton", "town", "up", "ville", "ward", "way", "west", "wide",
    "wise", "wood", "work", "works", "worth", "yard",
])  # fmt: skip
# Narrow and wide letters, beside a width of 1.
_NARROW_LETTERS, _WIDE_LETTERS, _NARROW, _WIDE = frozenset("iljtfrI1.,:;'!|()[]"), frozenset("mwMW@%"), 0.55, 1.4
# The decimals of a number, and a group of its thousands.
_DECIMALS = re.compile(r"\.\d|,\d{3}(?!\d)|,\d\d(?!\d)")
# Two decimals end an amount.
_AMOUNT = re.compile(r"\d[.,]\d\d$")
# Marks that end a word, those that enclose one, and what follows an apostrophe.
_MARKS, _OPENING, _CLOSING = frozenset(".,:;!?"), frozenset("([{"), frozenset(")]}")
_CONTRACTED = re.compile(r"[A-Za-z]'(s|t|d|m|re|ve|ll)(?![A-Za-z])", re.IGNORECASE)
# A first letter, but none that is a word itself, or a capital behind a small letter, before the rest of its word.
_INITIAL = re.compile(r"([^\W\d_aeiouyAEIOUY]|.*[a-z-][A-Z]) [a-z].*")
# A dash that is seen on both sides, and the sign in an address.
_DASH, _ADDRESS = re.compile(r".*[A-Za-z.]- -[A-Za-z].*"), re.compile(r".*(@ | @)[A-Za-z][\w-]*\.[A-Za-z].*")


@dataclass(frozen=True)
class Pieces:
    """A line cut wherever a blank is possible.

    Attributes:
        ends: left and right end of each piece with its margins, left to right, in shares of the line's width.
        blanks: how likely there is a blank between each two pieces, from 0 to 1; one fewer.
        length: of the line in heights.
    """

    ends: Sequence[tuple[float, float]]
    blanks: Sequence[float]
    length: float

    def extent(self, span: Span) -> tuple[float, float]:
        """Left and right end of a word."""
        return self.ends[span[0]][0], self.ends[span[1]][1]

    def touches_next(self, number: int) -> bool:
        """Whether hardly a blank is to be seen behind a piece: its margin meets that of the next one."""
        return self.ends[number + 1][0] - self.ends[number][1] <= 1e-6


def likeliest(pieces: Pieces) -> list[Span]:
    """The words of a line by the look of its blanks alone, left to right."""
    cuts = [number + 1 for number, blank in enumerate(pieces.blanks) if blank >= 0.5]
    return list(zip([0, *cuts], [cut - 1 for cut in [*cuts, len(pieces.ends)]]))


def alternatives(pieces: Pieces) -> list[Span]:
    """Other words that the doubtful blanks of a line leave possible.

    They are parts of the likeliest, several of them, or one with a piece of its neighbour.
    """
    count, usual = len(pieces.ends), likeliest(pieces)
    first_pieces, last_pieces = map(set, zip(*usual))
    begins = [0, *(number + 1 for number, blank in enumerate(pieces.blanks) if blank > _CERTAIN_WORD)]
    stops = [*(number for number, blank in enumerate(pieces.blanks) if blank > _CERTAIN_WORD), count - 1]
    found = []
    for first in begins:
        for last in (stop for stop in stops if stop >= first):
            inside = pieces.blanks[first:last]
            left, right = pieces.extent((first, last))
            too_long = last > first and (right - left) * pieces.length > _LONGEST
            if too_long or max(inside, default=0.0) >= _CERTAIN_BLANK or sum(b > _CERTAIN_WORD for b in inside) > _MOST:
                break
            crossed = sum(first <= end < last for end in last_pieces)
            several = first in first_pieces and last in last_pieces
            with_a_piece = crossed == 1 and ((first + 1, last) in usual or (first, last - 1) in usual)
            if (first, last) not in usual and (several or crossed == 0 or with_a_piece):
                found.append((first, last))
    return found


def worth_reading(pieces: Pieces, span: Span, readings: Mapping[Span, Recognition]) -> bool:
    """Whether an alternative can win, however well it is read, given the readings of the likeliest words.

    None within a sure word can, unless a blank in it is doubtful, and none whose blanks alone make it less likely than
    the words it stands for, unless every cut in it may have gone through a number or lost a mark.
    """
    words = sorted(word for word in readings if word[0] <= span[1] and span[0] <= word[1])
    joins = len(words) > 1
    word = words[0]
    if word[0] <= span[0] and span[1] <= word[1] and _cost(readings[word]) < -math.log(_SURE):
        beside = [pieces.blanks[edge] for edge in (span[0] - 1, span[1]) if word[0] <= edge < word[1]]
        return max(beside, default=0.0) >= _DOUBTFUL
    if joins and all(_may_be_cut(readings[left].text, readings[right].text) for left, right in pairwise(words)):
        return True
    first, last = words[0][0], words[-1][1]
    cuts = {right for _, right in words[:-1]}
    if max(pieces.blanks[span[0] : span[1]], default=0.0) >= _LIKELY_BLANK:
        return False
    now = sum(_cost(readings[word]) for word in words) + _blank_costs(pieces, first, last, cuts)
    edges = {edge for edge in (span[0] - 1, span[1]) if first <= edge < last}
    # Read together, well-read words say what they say apart: only if that is a word can it be the likelier.
    said = [readings[word] for word in words]
    well = joins and all(min(reading.char_confidences, default=0.0) >= _WELL_READ for reading in said)
    unknown = _UNKNOWN * unknown_characters("".join(reading.text for reading in said)) if well else 0.0
    return _blank_costs(pieces, first, last, edges) + unknown < now


def _may_be_cut(left: str, right: str) -> bool:
    """Whether a cut between two readings may go through a word, or lose a mark: see `_cut_cost`."""
    if not left or not right:
        return True
    mark = any(len(text) == 1 and not text.isalnum() for text in (left, right))
    digits = (left[-1] + right[0]).strip(".,").isdigit()
    seam = f"{left} {right}"
    return mark or digits or _contracted(left, right) or any(cut.fullmatch(seam) for cut in (_INITIAL, _DASH, _ADDRESS))


def _contracted(left: str, right: str) -> bool:
    return any(_CONTRACTED.match(left[-letters:] + right) for letters in (1, 2))


def _blank_costs(pieces: Pieces, first: int, last: int, cuts: Collection[int]) -> float:
    """How unlikely it is that the blanks from a piece to another are cut where they are, as a logarithm."""
    return -sum(
        math.log(max(blank if number in cuts else 1 - blank, 1e-9))
        for number, blank in enumerate(pieces.blanks[first:last], first)
        if not (number in cuts and blank >= _CERTAIN_BLANK)
    )


def choose(pieces: Pieces, readings: Mapping[Span, Recognition], *, backwards: bool = False) -> list[Span]:
    """Choose the words of a line.

    The likeliest way through the line wins: the product of the probabilities of all its characters, as they were read,
    and of its blanks. Both ways have about as many characters, so that neither is favoured by its length. Where a line
    is read equally well together and apart, known words win. Numbers are not cut at their points.

    Args:
        pieces: of the line.
        readings: of possible words, those of ``likeliest`` at least.
        backwards: whether the line was read upside down, the last piece first.

    Returns:
        its words, left to right.
    """
    lengths = _most_characters(readings)
    ways: dict[Span, tuple[float, Span | None]] = {}
    by_end: dict[int, list[Span]] = {}
    for span in sorted(readings, key=lambda span: span[::-1]):
        first, last = span
        text = readings[span].text
        missing = lengths[span] - len(text) - (0 if _loses_a_word(readings, span) else _MAY_MISS)
        cost = (
            _cost(readings[span])
            + _MISSING * max(missing, 0)
            - sum(math.log1p(-min(blank, 1 - 1e-9)) for blank in pieces.blanks[first:last])
        )
        if first == 0:
            ways[span] = cost, None
        else:
            blank = pieces.blanks[first - 1]
            if blank < _CERTAIN_BLANK:
                cost -= math.log(max(blank, 1e-9))
            before = [
                (ways[other][0] + _cut_cost(pieces, readings, other, span, backwards), other)
                for other in by_end.get(first - 1, ())
            ]
            if not before:
                continue
            least, previous = min(before)
            ways[span] = cost + least, previous
        by_end.setdefault(last, []).append(span)
    way: list[Span] = []
    at: Span | None = min(by_end[len(pieces.ends) - 1], key=lambda span: ways[span][0])
    while at is not None:
        way.append(at)
        at = ways[at][1]
    return way[::-1]


def known_words(pieces: Pieces, span: Span, text: str) -> tuple[int, int] | None:
    """Find where an unknown word is two known ones with hardly a blank between them.

    The faint blank and the words must speak for it together: many names are made of two words.

    Args:
        pieces: of its line.
        span: the pieces it is made of.
        text: what was read, in the order of the pieces.

    Returns:
        characters of the first word, and the last piece of it; None where the word stays whole
    """
    unknown = unknown_characters(text)
    if not unknown:
        return None
    widths = [_NARROW if char in _NARROW_LETTERS else _WIDE if char in _WIDE_LETTERS else 1.0 for char in text]
    left, right = pieces.extent(span)
    best: tuple[float, tuple[int, int]] | None = None
    for cut in range(1, len(text)):
        parts = text[:cut], text[cut:]
        if not _are_words(*parts):
            continue
        place = left + (right - left) * sum(widths[:cut]) / sum(widths)
        character = (right - left) / sum(widths)
        for number in range(*span):
            valley = (pieces.ends[number][1] + pieces.ends[number + 1][0]) / 2
            gain = _UNKNOWN * unknown + math.log(max(pieces.blanks[number], 1e-9))
            if abs(valley - place) <= _BESIDE_VALLEY * character and gain > 0 and (best is None or gain > best[0]):
                best = gain, (cut, number)
    return best[1] if best else None


def _are_words(*parts: str) -> bool:
    first, last = parts[0].lower(), parts[-1].lower()
    if first in _BEGINNINGS or last in _ENDINGS:
        return False
    if any(unknown_characters(part) or len(part) < _CHARACTERS for part in parts):
        return False
    return max(sum(map(str.isalpha, part)) for part in parts) >= _LETTERS


def _most_characters(readings: Mapping[Span, Recognition]) -> dict[Span, int]:
    """The most characters that were read in each span, as a whole or in parts."""
    most: dict[Span, int] = {}
    for first, last in sorted(readings, key=lambda span: span[1] - span[0]):
        parts = [most[first, cut] + most[cut + 1, last] for cut in range(first, last)
                 if (first, cut) in most and (cut + 1, last) in most]  # fmt: skip
        most[first, last] = max([len(readings[first, last].text), *parts])
    return most


def _loses_a_word(readings: Mapping[Span, Recognition], span: Span) -> bool:
    """Whether what is read together is one of its parts alone, and the other one surely reads as letters or digits."""
    first, last = span
    for cut in range(first, last):
        parts = [readings.get((first, cut)), readings.get((cut + 1, last))]
        for part, other in (parts, parts[::-1]):
            if part is None or other is None or part.text != readings[span].text or not other.text.isalnum():
                continue
            if min(other.char_confidences, default=0.0) >= _SURE:
                return True
    return False


def _cost(reading: Recognition) -> float:
    """How unlikely a reading is: the logarithm of its probability, negative, and a charge for unknown words."""
    if not reading.text:
        return _NOTHING
    unlikely = -sum(math.log(max(value, 1e-4)) for value in reading.char_confidences)
    return unlikely + _UNKNOWN * unknown_characters(reading.text)


def _cut_cost(pieces: Pieces, readings: Mapping[Span, Recognition], left: Span, right: Span, backwards: bool) -> float:
    """What it costs to have a cut between two words."""
    before, after = (readings[right], readings[left]) if backwards else (readings[left], readings[right])
    joined = readings.get((left[0], right[1]))
    a, b = before.text, after.text
    if not a or not b:
        return 0.0
    if (a in _OPENING) != (b in _CLOSING):  # an empty pair of them is a box to be filled in
        return _CUT_MARK
    if len(b) == 1 and (b in _MARKS or (joined is not None and joined.text[:-1] == a and joined.text[-1] in _MARKS)):
        return _CUT_MARK
    if _contracted(a, b):
        return _CUT_MARK
    seam = f"{a} {b}"
    if _INITIAL.fullmatch(seam):
        return _CUT_CAPITAL if unknown_characters(b) else _CUT_TO_WORD
    if _DASH.fullmatch(seam):
        return _CUT_MARK
    if _ADDRESS.fullmatch(seam) and pieces.blanks[left[1]] < _CERTAIN_BLANK:
        return _CUT_NUMBER
    digits = a[-1].isdigit() and b[0].isdigit() and pieces.touches_next(left[1]) and not _AMOUNT.search(a)
    if a[-1] in ".," and b[0].isdigit():  # the point may stand on either side of the cut ...
        a, b = a[:-1], a[-1] + b
    elif joined is not None and joined.text[: len(a)] == a:
        rest = joined.text[len(a) :]  # ... or be lost by it, and letters be read for zeros
        if rest[1:] == b or len(rest) == len(b):
            b = rest
    return _CUT_NUMBER if a[-1:].isdigit() and _DECIMALS.match(b) else _CUT_DIGITS if digits else 0.0
