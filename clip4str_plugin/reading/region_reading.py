"""From regions of pages to their words: read, doubtful lines settled, doubtful words read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.geometry.grouping import Runs, group_lines
from clip4str_plugin.options import Orientation
from clip4str_plugin.reading.doubtful_lines import Line, chosen_words, is_well_read, read_alternatives, turns_of
from clip4str_plugin.reading.letter_case import SeenWord, settle_case
from clip4str_plugin.reading.lone_characters import is_sure
from clip4str_plugin.reading.orientation import Oriented, oriented, stands_on_end
from clip4str_plugin.reading.regions import ReadRegion, Region
from clip4str_plugin.reading.word_boundaries import known_words_apart, letters_apart, parts_together, without_rules
from clip4str_plugin.reading.words import read_from_other_views, read_words

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["read_regions"]


def read_regions(
    pages: Sequence[Sequence[Region]],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    orientation: Orientation = "auto",
    max_length: int | None = None,
    other_views: bool = True,
) -> list[list[ReadRegion]]:
    """Read the words of several pages together, and settle what the words of doubtful lines are.

    Args:
        pages: for each page its words and their alternatives.
        recognize: reads crops; a ``Recognizer``, say.
        orientation: which words are tried in other directions, see ``resolve_orientation``.
        max_length: as in `read_words`.
        other_views: whether to read doubtful words again: words of lines with less above and below, others
            turned a little or, where their outline is no quad, with more margin and as the upright box
            around them.

    Returns:
        for each page its words, line after line, each with its reading and the direction it was read in; what stands
        alone comes last.
    """
    # Outlines tell the direction of narrow words, which are many among numbers: none needs to be read on end as well.
    recognize = getattr(recognize, "upright", recognize)
    regions = [(number, region) for number, page in enumerate(pages) for region in page if region.likely]
    lone = [(number, region) for number, region in regions if region.beside is not None]
    likely = [(number, region) for number, region in regions if region.beside is None]
    settled = read_words(
        [region.crop for _, region in likely],
        recognize,
        orientation=orientation,
        on_end=[orientation != "off" and stands_on_end(region.polygon) for _, region in likely],
        lines=_rows(likely),
        pages=[number for number, _ in likely],
        max_length=max_length,
        other_views=False,  # only when it is settled what the words are
    )
    lines: dict[tuple[int, int], Line] = {}
    for (number, region), item in zip(likely, settled):
        # Detected words are lines of their own.
        lines.setdefault((number, region.line), {})[region.span] = region, item
    read_alternatives(pages, lines, recognize, max_length)
    chosen = [(number, *word) for (number, _), line in lines.items() for word in parts_together(chosen_words(line))]
    items = [item for _, _, item in chosen]
    if other_views:
        views = [region.other_views for _, region, _ in chosen]
        crops = [region.crop for _, region, _ in chosen]
        items = read_from_other_views(crops, items, recognize, views, max_length, [number for number, *_ in chosen])
    found: list[list[ReadRegion]] = [[] for _ in pages]
    for (number, region, _), item in zip(chosen, items):
        for word in known_words_apart(region, replace(item, reading=without_rules(item.reading))):
            found[number] += letters_apart(*word)
    for number, region, item in _read_lone(lone, lines, recognize):
        found[number].append((region, item))
    return [_with_case(page) for page in found]


def _rows(regions: Sequence[tuple[int, Region]]) -> list[tuple[int, int, bool]]:
    """What names the line of each region, given with its page: detected words that stand in a row are in one."""
    rows = [(number, region.line, False) for number, region in regions]
    for page in dict.fromkeys(number for number, _ in regions):
        words = [i for i, (number, region) in enumerate(regions) if number == page and region.pieces is None]
        for row in group_lines(Runs.of([regions[i][1].polygon for i in words])):
            for i in row:
                rows[words[i]] = page, row[0], True
    return rows


def _read_lone(
    lone: Sequence[tuple[int, Region]],
    lines: Mapping[tuple[int, int], Line],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
) -> list[tuple[int, Region, Oriented[Recognition]]]:
    """Read what stands alone the way that the line beside it runs, and keep what is sure, each with its page's number.

    It tells nothing of the direction of its page itself, and beside lines that are not read well it is no text.
    """
    tried = [
        (number, region, turns_of(line))
        for number, region in lone
        if region.beside is not None and is_well_read(line := lines.get((number, region.beside), {}))
    ]
    if not tried:
        return []
    readings = recognize([np.rot90(region.crop, turns) for _, region, turns in tried])
    read = [(number, region, oriented(reading, turns)) for (number, region, turns), reading in zip(tried, readings)]
    return [(number, region, item) for number, region, item in read if is_sure(item.reading)]


def _with_case(page: list[ReadRegion]) -> list[ReadRegion]:
    """The words of a page, small letters and capitals that look alike told apart by their size."""
    words = [
        SeenWord(item.reading, np.rot90(region.crop, item.turns), region.polygon.mean(axis=0), region.line)
        for region, item in page
    ]
    changed = settle_case(words)
    return [
        (region, replace(item, reading=changed.get(index, item.reading))) for index, (region, item) in enumerate(page)
    ]
