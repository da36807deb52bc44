"""The words within detected regions of a page: cut, straightened, and read the way round that reads best."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.errors import PolygonError
from clip4str_plugin.geometry.rectification import Straightened, other_views, straighten, views_in_line
from clip4str_plugin.geometry.text_strip import TextStrip
from clip4str_plugin.options import Orientation
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.letter_case import SeenWord, settle_case
from clip4str_plugin.reading.line_splitting import find_pieces, split_lines
from clip4str_plugin.reading.long_words import read_long_words
from clip4str_plugin.reading.orientation import Oriented, oriented, resolve_orientation, stands_on_end
from clip4str_plugin.reading.segmentation import (
    Pieces,
    Span,
    alternatives,
    choose,
    known_words,
    likeliest,
    worth_reading,
)
from clip4str_plugin.reading.spread_letters import find_spread_letters
from clip4str_plugin.reading.views import certainty
from clip4str_plugin.reading.word_views import read_other_views

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["Region", "cut_words", "read_regions", "read_words", "split_each"]

logger = logging.getLogger(__name__)

# So many characters of a line, read this well, tell the direction of its other words; empty words count as so many.
_CHARACTERS, _WELL_READ, _EMPTY = 4, 0.9, 3
# So many of a page tell the direction of lines of up to so many characters, which tell little of it themselves.
_OF_PAGE, _SHORT_LINE = 100, 3

# Underscores at the ends of a word are nearly always a part of a rule, and so many dots lead to another word.
_RULES = re.compile(r"_*(.*?)_*(?:[.…·]{4,}_*)?", re.DOTALL)

# The point of an amount goes with its first part where its type is wide: `$10.` and `80`.
_FIRST_PART, _DECIMALS = re.compile(r"[$€£]\d[\d,]*\."), re.compile(r"\d\d")

_Views = Callable[[], Sequence[Straightened]]


@dataclass(frozen=True, eq=False)
class Region:
    """A word that was detected, or that may be there.

    Attributes:
        polygon: (K, 2) float32 pixels of the page, clockwise from what is taken for the text's top left corner.
        score: the detector's, in [0, 1]; that of the line where it finds lines.
        line: index of the detected region that it was cut from; words of one line share it.
        page: it lies on, uint8 (H, W, 3).
        pieces: of its line, see `clip4str_plugin.reading.segmentation`; None where words were detected.
        span: the pieces it is made of.
        likely: whether it is a word by the look of the blanks, and not one of the alternatives.
    """

    polygon: np.ndarray
    score: float
    line: int
    page: np.ndarray
    pieces: Pieces | None = None
    span: Span = (0, 0)
    likely: bool = True

    @property
    def crop(self) -> np.ndarray:
        """The word, straightened when it is first looked at: uint8 (h, w, 3).

        Raises:
            PolygonError: the polygon encloses no pixel of the page.
        """
        return self._straightened.crop

    @property
    def other_views(self) -> _Views | None:
        """What cuts it out of its page in other ways; None where its four corners leave no doubt."""
        strip = self._straightened.strip
        if strip.drawn:
            return partial(other_views, self.page, strip)
        return None if self.pieces is None else partial(views_in_line, self.page, strip)

    @cached_property
    def _straightened(self) -> Straightened:
        return straighten(self.page, self.polygon, start="top-left")


def cut_words(image: np.ndarray, detections: Detections) -> list[Region]:
    """Cut detected lines into words and straighten every word; what encloses no pixel is left out.

    Where it is doubtful whether a line has a blank, the other words that are possible follow those that are likely. The
    regions of ``detections.rivals`` come last, their lines numbered on.

    Args:
        image: the page, uint8 (H, W, 3).
        detections: what a detector found on it.
    """
    cut = _straighten if detections.granularity == "word" else _split
    regions = cut(image, detections)
    if detections.rivals is not None:
        rivals = cut_words(image, detections.rivals)
        regions += [replace(region, line=region.line + len(detections)) for region in rivals]
    return regions


def _straighten(image: np.ndarray, words: Detections) -> list[Region]:
    regions: list[Region] = []
    for number, (polygon, score) in enumerate(zip(words.polygons, words.scores.tolist())):
        with _leaving_out():
            regions.append(_seen(Region(polygon, score, number, image)))
    return regions


def _split(image: np.ndarray, lines: Detections) -> list[Region]:
    regions: list[Region] = []
    strips: dict[int, TextStrip] = {}
    crops: list[np.ndarray] = []
    for number, polygon in enumerate(lines.polygons):
        with _leaving_out():
            strip = TextStrip.of(polygon, "top-left")
            crops.append(strip.crop(image))
            strips[number] = strip
    for (number, strip), pieces in zip(strips.items(), find_pieces(crops)):
        score = float(lines.scores[number])
        for span in likeliest(pieces):
            with _leaving_out():
                regions.append(_seen(Region(strip.polygon(*pieces.extent(span)), score, number, image, pieces, span)))
        for span in alternatives(pieces):  # few of them are read, and only these are straightened
            word = strip.polygon(*pieces.extent(span))
            regions.append(Region(word, score, number, image, pieces, span, likely=False))
    return regions


def _seen(region: Region) -> Region:
    """The region, straightened already, so that a `PolygonError` is raised here."""
    _ = region.crop
    return region


def read_regions(
    pages: Sequence[Sequence[Region]],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    orientation: Orientation = "auto",
    max_length: int | None = None,
    other_views: bool = True,
) -> list[list[tuple[Region, Oriented[Recognition]]]]:
    """Read the words of several pages together, and settle what the words of doubtful lines are.

    Args:
        pages: for each page its words and their alternatives.
        recognize: reads crops; a ``Recognizer``, say.
        orientation: which words are tried in other directions, see ``resolve_orientation``.
        max_length: as in `read_words`.
        other_views: whether to read doubtful words again: words of lines with more beside them and less above and
            below, others turned a little or, where their outline is no quad, with more margin and as the upright box
            around them.

    Returns:
        for each page its words, line after line, each with its reading and the direction it was read in.
    """
    likely = [(number, region) for number, page in enumerate(pages) for region in page if region.likely]
    settled = read_words(
        [region.crop for _, region in likely],
        recognize,
        orientation=orientation,
        on_end=[orientation != "off" and stands_on_end(region.polygon) for _, region in likely],
        lines=[(number, region.line) for number, region in likely],
        pages=[number for number, _ in likely],
        max_length=max_length,
        other_views=False,  # only when it is settled what the words are
    )
    lines: dict[tuple[int, int], dict[Span, tuple[Region, Oriented[Recognition]]]] = {}
    for (number, region), item in zip(likely, settled):
        # Detected words are lines of their own.
        lines.setdefault((number, region.line), {})[region.span] = region, item
    _read_alternatives(pages, lines, recognize, max_length)
    chosen = [(number, *word) for (number, _), line in lines.items() for word in _amounts_together(_chosen(line))]
    items = [item for _, _, item in chosen]
    if other_views:
        regions = [region for _, region, _ in chosen]
        views = [region.other_views for region in regions]
        items = _from_other_views([region.crop for region in regions], items, recognize, views, max_length)
    found: list[list[tuple[Region, Oriented[Recognition]]]] = [[] for _ in pages]
    for (number, region, _), item in zip(chosen, items):
        for word in _known_words_apart(region, replace(item, reading=_without_rules(item.reading))):
            found[number] += _letters_apart(*word)
    return [_with_case(page) for page in found]


def _with_case(page: list[tuple[Region, Oriented[Recognition]]]) -> list[tuple[Region, Oriented[Recognition]]]:
    """The words of a page, small letters and capitals that look alike told apart by their size."""
    words = [
        SeenWord(item.reading, np.rot90(region.crop, item.turns), region.polygon.mean(axis=0), region.line)
        for region, item in page
    ]
    changed = settle_case(words)
    return [
        (region, replace(item, reading=changed.get(index, item.reading))) for index, (region, item) in enumerate(page)
    ]


def _from_other_views(
    crops: Sequence[np.ndarray],
    settled: Sequence[Oriented[Recognition]],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    views: Sequence[_Views | None] = (),
    max_length: int | None = None,
) -> list[Oriented[Recognition]]:
    """Read doubtful words again, long ones in parts."""
    flat = [index for index, item in enumerate(settled) if not item.stacked]
    upright = [np.rot90(crops[index], settled[index].turns) for index in flat]
    ways = [_turned(views[index], settled[index].turns) if views else None for index in flat]

    def read(crops: list[np.ndarray]) -> Sequence[Recognition]:
        return read_long_words(crops, recognize(crops), recognize, max_length)

    again = read_other_views(upright, [settled[index].reading for index in flat], read, ways)
    result = list(settled)
    for index, reading in zip(flat, again):
        result[index] = replace(settled[index], reading=reading)
    return result


def _turned(views: _Views | None, turns: int) -> Callable[[], list[np.ndarray]] | None:
    """What gives the crops of other views, turned as the word was."""
    return None if views is None else lambda: [np.rot90(view.crop, turns) for view in views()]


def _known_words_apart(region: Region, item: Oriented[Recognition]) -> list[tuple[Region, Oriented[Recognition]]]:
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


def _letters_apart(region: Region, item: Oriented[Recognition]) -> list[tuple[Region, Oriented[Recognition]]]:
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


def _without_rules(reading: Recognition) -> Recognition:
    """Leave out what a word stands on or leads to: underscores at its ends, and a leader behind it."""
    text = reading.text
    found = _RULES.fullmatch(text)
    if found is None or found[1] == text or not any(map(str.isalnum, found[1])):
        return reading
    characters = reading.char_confidences
    if len(characters) == len(text):
        characters = characters[found.start(1) : found.end(1)]
    return replace(reading, text=found[1], char_confidences=characters)


_Line = dict[Span, tuple[Region, Oriented["Recognition"]]]


def _read_alternatives(
    pages: Sequence[Sequence[Region]],
    lines: Mapping[tuple[int, int], _Line],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    max_length: int | None,
) -> None:
    """Read, in one batch, the alternatives that can still win, and add them to their lines."""
    open_lines = {
        place: (turns, {span: item.reading for span, (_, item) in line.items()})
        for place, line in lines.items()
        if (turns := _turns_of(line)) in (0, 2) and _is_whole(line)
    }
    trials: list[tuple[_Line, Region, int]] = []
    views: list[np.ndarray] = []
    for number, page in enumerate(pages):
        for region in page:
            place = number, region.line
            if region.likely or region.pieces is None or place not in open_lines:
                continue
            turns, readings = open_lines[place]
            if worth_reading(region.pieces, region.span, readings):
                with _leaving_out():
                    views.append(np.rot90(region.crop, turns))
                    trials.append((lines[place], region, turns))
    # Only now: what is read must not keep others from being read.
    if trials:
        again = read_long_words(views, recognize(views), recognize, max_length)
        for (line, region, turns), reading in zip(trials, again):
            item = oriented(reading, turns)
            if reading.text and item.turns == turns:
                line[region.span] = region, item
        logger.debug("%d crops were read to settle %d lines", len(trials), len({id(line) for line, _, _ in trials}))


def _is_whole(line: _Line) -> bool:
    """Whether all likely words of a line are there: one that encloses no pixel is not, and nothing takes its place."""
    pieces = next(iter(line.values()))[0].pieces
    return pieces is not None and line.keys() >= set(likeliest(pieces))


def _turns_of(line: _Line) -> int:
    """By how many quarter turns most of a line was turned to be read."""
    characters: dict[int, int] = {}
    for _, item in line.values():
        characters[item.turns] = characters.get(item.turns, 0) + len(item.reading.text)
    return max(characters, key=lambda turns: characters[turns])


def _chosen(line: _Line) -> list[tuple[Region, Oriented[Recognition]]]:
    """The words of a line."""
    pieces = next(iter(line.values()))[0].pieces
    if pieces is None or all(region.likely for region, _ in line.values()):
        return list(line.values())
    readings = {span: item.reading for span, (_, item) in line.items()}
    spans = choose(pieces, readings, backwards=_turns_of(line) == 2)
    return [line[span] for span in spans]


def _amounts_together(
    words: list[tuple[Region, Oriented[Recognition]]],
) -> list[tuple[Region, Oriented[Recognition]]]:
    """The words of a line, amounts that came apart at their point whole again."""
    together: list[tuple[Region, Oriented[Recognition]]] = []
    for region, item in words:
        if together:
            before, first = together[-1]
            texts = first.reading.text, item.reading.text
            follows = before.span[1] + 1 == region.span[0] and before.pieces is not None
            quads = len(before.polygon) == len(region.polygon) == 4 and first.turns == item.turns == 0
            if follows and quads and _FIRST_PART.fullmatch(texts[0]) and _DECIMALS.fullmatch(texts[1]):
                polygon = np.concatenate([before.polygon[:1], region.polygon[1:3], before.polygon[3:]])
                reading = replace(
                    first.reading,
                    text="".join(texts),
                    confidence=min(first.reading.confidence, item.reading.confidence),
                    char_confidences=(*first.reading.char_confidences, *item.reading.char_confidences),
                )
                whole = replace(before, polygon=polygon, span=(before.span[0], region.span[1]))
                together[-1] = whole, replace(first, reading=reading)
                continue
        together.append((region, item))
    return together


def split_each(image: np.ndarray, polygons: list[np.ndarray]) -> list[list[np.ndarray]]:
    """The words of each line as ``split_lines`` gives them, none for a line that encloses no pixel."""
    try:
        return split_lines(image, polygons, start="top-left")
    except PolygonError:  # all at once is faster, but one spoils it
        lines: list[list[np.ndarray]] = []
        for polygon in polygons:
            words: list[np.ndarray] = []
            with _leaving_out():
                (words,) = split_lines(image, [polygon], start="top-left")
            lines.append(words)
        return lines


@contextmanager
def _leaving_out() -> Iterator[None]:
    try:
        yield
    except PolygonError as error:
        logger.info("a detected region is left out: %s", error)


def read_words(
    crops: Sequence[np.ndarray],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    *,
    orientation: Orientation = "auto",
    on_end: Sequence[bool] | None = None,
    lines: Sequence[Hashable] | None = None,
    pages: Sequence[Hashable] | None = None,
    max_length: int | None = None,
    other_views: bool = True,
) -> list[Oriented[Recognition]]:
    """Read crops of words as well as the recognizer can.

    Args:
        crops: uint8 (h, w, 3) or (h, w), as ``rectify`` gives them.
        recognize: reads crops; a ``Recognizer``, say.
        orientation: which crops are tried in other directions, see ``resolve_orientation``.
        on_end: for each crop whether it stood on end on its page; None: none did.
        lines: for each crop the line it is a word of; words of a line all run the way that most of it is read best.
            None: every crop is a line of its own.
        pages: for each crop the page it is from; given with ``lines``. Short lines, unless they stand on end, run the
            way of a page that is read well. None: they say themselves which way they run.
        max_length: the most characters ``recognize`` says; None: what ``longest_text`` finds out.
        other_views: whether to read doubtful words again, turned a little, see `read_other_views`.

    Returns:
        for each crop its reading and its direction.
    """
    readings = recognize(list(crops))
    settled = [oriented(reading) for reading in readings]
    beside: set[int] = set()
    if lines is not None and orientation == "auto":
        beside = _beside_sure_words(readings, lines, _CHARACTERS)
        if pages is not None:
            on_sure_pages = _beside_sure_words(readings, pages, _OF_PAGE)
            beside |= on_sure_pages & _in_short_lines(readings, lines, on_end)
    tried = [index for index in range(len(crops)) if index not in beside]
    again = resolve_orientation(
        [crops[index] for index in tried],
        [readings[index] for index in tried],
        recognize,
        orientation,
        [on_end[index] for index in tried] if on_end is not None else None,
    )
    for index, item in zip(tried, again):
        settled[index] = item
    against = _against_their_line(settled, lines) if lines is not None else []
    with_line = recognize([np.rot90(crops[index], turns) for index, turns in against]) if against else []
    for (index, turns), reading in zip(against, with_line):
        settled[index] = oriented(reading, turns)
    flat = [index for index, item in enumerate(settled) if not item.stacked]
    upright = [np.rot90(crops[index], settled[index].turns) for index in flat]
    whole = read_long_words(upright, [settled[index].reading for index in flat], recognize, max_length)
    for index, reading in zip(flat, whole):
        settled[index] = replace(settled[index], reading=reading)
    return _from_other_views(crops, settled, recognize, max_length=max_length) if other_views else settled


def _beside_sure_words(readings: Sequence[Recognition], groups: Sequence[Hashable], enough: int) -> set[int]:
    """The words whose line or page is read well without them, ``enough`` characters: it tells their direction."""
    sums: dict[Hashable, np.ndarray] = {}
    # A word of which nothing is read speaks against its line as a short one does.
    own = [np.array([certainty(reading), 1]) * _characters(reading) for reading in readings]
    for group, sure_and_characters in zip(groups, own):
        sums[group] = sums.get(group, 0) + sure_and_characters
    others = [sums[group] - word for group, word in zip(groups, own)]
    return {index for index, (sure, count) in enumerate(others) if count >= enough and sure >= _WELL_READ * count}


def _in_short_lines(
    readings: Sequence[Recognition], lines: Sequence[Hashable], on_end: Sequence[bool] | None
) -> set[int]:
    """The words of lines that are too short to tell their direction, unless they stand on end."""
    counts: dict[Hashable, int] = {}
    for reading, line in zip(readings, lines):
        counts[line] = counts.get(line, 0) + _characters(reading)
    stand = on_end or [False] * len(readings)
    return {i for i, line in enumerate(lines) if counts[line] <= _SHORT_LINE and not stand[i]}


def _characters(reading: Recognition) -> int:
    return len(reading.text) or _EMPTY


def _against_their_line(settled: Sequence[Oriented[Recognition]], lines: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The words that were read in another direction than their line runs, and that direction in quarter turns."""
    members: dict[Hashable, list[int]] = {}
    for index, line in enumerate(lines):
        members.setdefault(line, []).append(index)
    against: list[tuple[int, int]] = []
    for words in members.values():
        ways: dict[tuple[int, bool], float] = {}
        for item in (settled[index] for index in words):
            weight = certainty(item.reading) * len(item.reading.text)
            ways[item.turns, item.stacked] = ways.get((item.turns, item.stacked), 0.0) + weight
        if len(ways) > 1:
            turns, _ = max(ways, key=lambda way: ways[way])
            against += [(i, turns) for i in words if settled[i].turns != turns or settled[i].stacked]
    return against
