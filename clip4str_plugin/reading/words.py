"""Crops of words, read the way round that reads best, long ones in parts, doubtful ones from other views."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.options import Orientation
from clip4str_plugin.reading.long_words import read_long_codes, read_long_words
from clip4str_plugin.reading.orientation import Oriented, oriented, resolve_orientation
from clip4str_plugin.reading.regions import Views
from clip4str_plugin.reading.views import certainty
from clip4str_plugin.reading.word_views import DOUBTFUL, read_other_views

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["read_from_other_views", "read_words"]

# So many characters of a line, read this well, tell the direction of its other words; empty words count as so many.
_CHARACTERS, _WELL_READ, _EMPTY = 4, 0.9, 3
# So many of a page tell the direction of lines of up to so many characters, which tell little of it themselves, and
# that its words need no second look from this certainty on: as many would be lost by one as won.
_OF_PAGE, _SHORT_LINE, _SURE_ON_PAGE = 100, 3, 0.85


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
    return read_from_other_views(crops, settled, recognize, max_length=max_length) if other_views else settled


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


def read_from_other_views(
    crops: Sequence[np.ndarray],
    settled: Sequence[Oriented[Recognition]],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    views: Sequence[Views | None] = (),
    max_length: int | None = None,
    pages: Sequence[Hashable] | None = None,
) -> list[Oriented[Recognition]]:
    """Read doubtful words again, long ones in parts; fewer but numbers are doubtful on pages that are read well."""
    readings = [item.reading for item in settled]
    on_sure_pages = _beside_sure_words(readings, pages, _OF_PAGE) if pages is not None else set()
    flat = [index for index, item in enumerate(settled) if not item.stacked]
    upright = [np.rot90(crops[index], settled[index].turns) for index in flat]
    ways = [_turned(views[index], settled[index].turns) if views else None for index in flat]

    def read(crops: list[np.ndarray]) -> Sequence[Recognition]:
        return read_long_words(crops, recognize(crops), recognize, max_length)

    # A wrong digit shows in no other way.
    numbers = {index for index, reading in enumerate(readings) if any(map(str.isdigit, reading.text))}
    plain = on_sure_pages - numbers
    sure = [_SURE_ON_PAGE if index in plain else DOUBTFUL for index in flat]
    whole = read_long_codes(upright, [readings[index] for index in flat], recognize, max_length)
    again = read_other_views(upright, whole, read, ways, sure)
    result = list(settled)
    for index, reading in zip(flat, again):
        result[index] = replace(settled[index], reading=reading)
    return result


def _turned(views: Views | None, turns: int) -> Callable[[], list[np.ndarray]] | None:
    """What gives the crops of other views, turned as the word was."""
    return None if views is None else lambda: [np.rot90(view.crop, turns) for view in views()]
