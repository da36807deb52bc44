"""Reading word crops: turned where that reads better, the words of a line the same way, long words in parts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.long_words import read_long_words
from clip4str_plugin.orientation import Mode, Oriented, certainty, settle_orientation

if TYPE_CHECKING:
    from clip4str_plugin.recognizer import Recognition

__all__ = ["read_words"]


def read_words(
    crops: Sequence[np.ndarray],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    *,
    orientation: Mode = "auto",
    on_end: Sequence[bool] | None = None,
    lines: Sequence[Hashable] | None = None,
    max_length: int | None = None,
) -> list[Oriented[Recognition]]:
    """Read crops of words as well as the recognizer can.

    Args:
        crops: uint8 (h, w, 3) or (h, w), as ``rectify`` gives them.
        recognize: reads crops; a ``Recognizer``, say.
        orientation: which crops are tried in other directions, see ``settle_orientation``.
        on_end: for each crop whether it stood on end on its page; None: none did.
        lines: for each crop the line it is a word of; words of a line all run the way that most of it is read best.
            None: every crop is a line of its own.
        max_length: the most characters ``recognize`` says; None: what ``longest_text`` finds out.

    Returns:
        for each crop its reading and its direction.
    """
    readings = recognize(list(crops))
    settled = settle_orientation(crops, readings, recognize, orientation, on_end)
    against = _against_their_line(settled, lines) if lines is not None else []
    again = recognize([np.rot90(crops[index], turns) for index, turns in against]) if against else []
    for (index, turns), reading in zip(against, again):
        settled[index] = Oriented(reading, turns)
    flat = [index for index, item in enumerate(settled) if not item.stacked]
    upright = [np.rot90(crops[index], settled[index].turns) for index in flat]
    whole = read_long_words(upright, [settled[index].reading for index in flat], recognize, max_length)
    for index, reading in zip(flat, whole):
        settled[index] = replace(settled[index], reading=reading)
    return settled


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
