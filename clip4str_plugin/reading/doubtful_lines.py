"""Lines of doubtful blanks: the words that are possible are read, and those that read best are chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clip4str_plugin.reading.long_words import read_long_words
from clip4str_plugin.reading.orientation import oriented
from clip4str_plugin.reading.regions import ReadRegion, Region, leaving_out
from clip4str_plugin.reading.segmentation import Span, choose, likeliest, worth_reading
from clip4str_plugin.reading.views import certainty
from clip4str_plugin.reading.word_boundaries import put_together

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["Line", "chosen_words", "is_well_read", "read_alternatives", "turns_of"]

logger = logging.getLogger(__name__)

# The mean certainty of a line that is read well.
_WELL_READ = 0.8
# Every character of a part that was read as surely as this was there to be seen.
_SEEN = 0.6

# The words of a line that were read, by the pieces they are made of.
Line: TypeAlias = dict[Span, ReadRegion]


def read_alternatives(
    pages: Sequence[Sequence[Region]],
    lines: Mapping[tuple[int, int], Line],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    max_length: int | None,
) -> None:
    """Read, in one batch, the alternatives that can still win, and add them to their lines."""
    open_lines = {
        place: (turns, {span: item.reading for span, (_, item) in line.items()})
        for place, line in lines.items()
        if (turns := turns_of(line)) in (0, 2) and _is_whole(line)
    }
    trials: list[tuple[Line, Region, int]] = []
    views: list[np.ndarray] = []
    for number, page in enumerate(pages):
        for region in page:
            place = number, region.line
            if region.likely or region.pieces is None or place not in open_lines:
                continue
            turns, readings = open_lines[place]
            if worth_reading(region.pieces, region.span, readings):
                with leaving_out():
                    views.append(np.rot90(region.crop, turns))
                    trials.append((lines[place], region, turns))
    # Only now: what is read must not keep others from being read.
    if trials:
        again = read_long_words(views, recognize(views), recognize, max_length)
        for (line, region, turns), reading in zip(trials, again):
            item = oriented(reading, turns)
            if reading.text and item.turns == turns:
                line[region.span] = region, item
        for line in {id(line): line for line, _, _ in trials}.values():
            _restore_lost_parts(line)
        logger.debug("%d crops were read to settle %d lines", len(trials), len({id(line) for line, _, _ in trials}))


def _restore_lost_parts(line: Line) -> None:
    """Let a word say all that its parts say, where it says no more than one of them: a first letter standing off."""
    backwards = turns_of(line) == 2
    for first, last in sorted(line, key=lambda span: span[1] - span[0]):
        region, item = line[first, last]
        for cut in range(first, last):
            beside = [line.get((first, cut)), line.get((cut + 1, last))]
            found = [part for part in beside if part is not None and part[0].likely]
            if len(found) < 2:
                continue
            parts = [part.reading for _, part in (reversed(found) if backwards else found)]
            lost = [part for part in parts if part.text != item.reading.text]
            if len(lost) == 1 and lost[0].text.isalnum() and min(lost[0].char_confidences, default=0.0) >= _SEEN:
                line[first, last] = region, replace(item, reading=put_together(*parts))
                break


def chosen_words(line: Line) -> list[ReadRegion]:
    """The words of a line."""
    pieces = next(iter(line.values()))[0].pieces
    if pieces is None or all(region.likely for region, _ in line.values()):
        return list(line.values())
    readings = {span: item.reading for span, (_, item) in line.items()}
    spans = choose(pieces, readings, backwards=turns_of(line) == 2)
    return [line[span] for span in spans]


def _is_whole(line: Line) -> bool:
    """Whether all likely words of a line are there: one that encloses no pixel is not, and nothing takes its place."""
    pieces = next(iter(line.values()))[0].pieces
    return pieces is not None and line.keys() >= set(likeliest(pieces))


def is_well_read(line: Line) -> bool:
    """Whether the characters of a line are sure on the average."""
    read = [(certainty(item.reading), len(item.reading.text)) for _, item in line.values()]
    count = sum(length for _, length in read)
    return count > 0 and sum(sure * length for sure, length in read) >= _WELL_READ * count


def turns_of(line: Line) -> int:
    """By how many quarter turns most of a line was turned to be read."""
    characters: dict[int, int] = {}
    for _, item in line.values():
        characters[item.turns] = characters.get(item.turns, 0) + len(item.reading.text)
    return max(characters, key=lambda turns: characters[turns])
