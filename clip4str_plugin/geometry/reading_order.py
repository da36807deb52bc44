"""The order in which a person reads the words of a page, at any angle: columns of prose down, rows of tables across.

The page is turned and flattened until its lines are level. Then its gutters are sought: white stripes that part columns
of prose. They are the walls of a recursive XY-cut (Nagy and Seth, "Hierarchical representation of optically scanned
documents", ICPR 1984): what lies above a wall is read before it, what lies left of it before what lies right of it.
Everything that no wall parts is read row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clip4str_plugin.geometry.grouping import Runs, group_lines
from clip4str_plugin.geometry.gutters import Gutter, find_gutters
from clip4str_plugin.geometry.level import LevelWords, level_words

__all__ = ["reading_order"]

# All lengths are in heights of the text around.
# Cells of one row: their middles are this far apart at most, and the taller one is at most so many times as high.
_SAME_ROW, _SAME_HEIGHT = 0.5, 2.5
# Rows of a block: the blank between them at most, and the factor between their heights.
_PARAGRAPH, _SAME_SIZE = 0.9, 1.5

Blocks = list[list[list[int]]]
"""Blocks of lines of the indices of words."""


def reading_order(
    polygons: Sequence[Any], lines: Sequence[int] | None = None, texts: Sequence[str] | None = None
) -> Blocks:
    """Put the words of a page in the order in which they are read.

    Columns of prose are read down, one after the other; rows of tables, forms and receipts are read across. Headings
    come before the columns under them. The way the text runs is that of most of the words: the page may stand on its
    head or lie on its side.

    Args:
        polygons: one per word, (K, 2) pixels each, clockwise from the text's own top left corner.
        lines: for each word the number of the line it was cut from, if a detector found lines.
        texts: what the words say; numbers help to tell tables from prose.

    Returns:
        blocks of lines of the indices of words, all in reading order.

    >>> def box(x, y):
    ...     return [[x, y], [x + 50, y], [x + 50, y + 20], [x, y + 20]]
    >>> reading_order([box(60, 2), box(0, 0), box(0, 30)])
    [[[1, 0], [2]]]
    """
    if not len(polygons):
        return []
    runs = Runs.of(polygons)
    return _order(runs, group_lines(runs, lines), texts or [""] * len(polygons))


def _order(runs: Runs, chains: list[list[int]], texts: Sequence[str]) -> Blocks:
    """The order of words that are in lines already."""
    words = level_words(runs, chains, texts)
    level = [chain for chain in chains if words.runs_level(chain)]
    others = [chain for chain in chains if not words.runs_level(chain)]
    if not level:  # arcs and rings: each is a line as it is
        return [
            block for region in _cut([_Atom.of([[chain]], words) for chain in chains], []) for block in _blocks(region)
        ]
    gutters, pieces = find_gutters(words, level)
    atoms = [_Atom.of([[piece]], words) for piece in pieces]
    for group in _neighbourhoods(others, words):
        members = sorted(index for chain in group for index in chain)
        places = {index: place for place, index in enumerate(members)}
        inner = _order(
            runs.take(members),
            [[places[index] for index in chain] for chain in group],
            [texts[index] for index in members],
        )
        atoms.append(_Atom.of([[[members[i] for i in line] for line in block] for block in inner], words))
    return [block for region in _cut(atoms, gutters) for block in _blocks(region)]


@dataclass(frozen=True, eq=False)
class _Atom:
    """What is never torn: a piece of a line, or all the lines of a region that runs another way."""

    blocks: Blocks
    left: float
    right: float
    top: float
    bottom: float
    height: float

    @classmethod
    def of(cls, blocks: Blocks, words: LevelWords) -> _Atom:
        members = [index for block in blocks for line in block for index in line]
        single = len(blocks) == 1 and len(blocks[0]) == 1 and bool(words.level[members].any())
        height = float(np.median(words.height[members]))
        if single:  # level words are as high as they are, not as the box around them
            # A narrow stroke, alone in its line, has no width left without its margins.
            widths = np.maximum(words.right[members] - words.left[members], 1e-3)
            middle = float(np.average(words.middle[members], weights=widths))
            top, bottom = middle - height / 2, middle + height / 2
        else:
            top, bottom = float(words.top[members].min()), float(words.bottom[members].max())
        return cls(blocks, float(words.left[members].min()), float(words.right[members].max()), top, bottom, height)

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


Row = list[_Atom]


def _cut(atoms: list[_Atom], gutters: list[Gutter]) -> Iterator[list[Row]]:
    """Cut a region along its gutters; each part is given as its rows, in reading order."""
    if not atoms:
        return
    gutters = [gutter for gutter in gutters if _parts(gutter, atoms)]
    if not gutters:
        yield _rows(atoms)
        return
    # The highest gutter goes first; what it does not reach lies above or below it.
    wall = max(gutters, key=lambda gutter: gutter.bottom - gutter.top)
    above = [atom for atom in atoms if atom.middle < wall.top]
    below = [atom for atom in atoms if atom.middle > wall.bottom]
    beside = [atom for atom in atoms if wall.top <= atom.middle <= wall.bottom]
    yield from _cut(above, [replace(g, bottom=min(g.bottom, wall.top)) for g in gutters if g.top < wall.top])
    others = [
        replace(g, top=max(g.top, wall.top), bottom=min(g.bottom, wall.bottom))
        for g in gutters
        if g is not wall and g.top < wall.bottom and g.bottom > wall.top
    ]
    middle = (wall.left + wall.right) / 2
    yield from _cut([a for a in beside if (a.left + a.right) / 2 < middle], [g for g in others if g.right <= middle])
    yield from _cut([a for a in beside if (a.left + a.right) / 2 >= middle], [g for g in others if g.left >= middle])
    yield from _cut(below, [replace(g, top=max(g.top, wall.bottom)) for g in gutters if g.bottom > wall.bottom])


def _parts(gutter: Gutter, atoms: list[_Atom]) -> bool:
    """Whether atoms lie on both sides of a gutter."""
    middle = (gutter.left + gutter.right) / 2
    sides = {(a.left + a.right) / 2 < middle for a in atoms if gutter.top <= a.middle <= gutter.bottom}
    return len(sides) == 2


def _rows(atoms: list[_Atom]) -> list[Row]:
    """Atoms put together into rows, from top to bottom, those of a row from left to right."""
    rows: list[Row] = []
    for atom in sorted(atoms, key=lambda atom: atom.middle):
        for row in reversed(rows[-4:]):
            if all(_side_by_side(atom, other) for other in row):
                row.append(atom)
                break
        else:
            rows.append([atom])
    rows.sort(key=lambda row: float(np.mean([atom.middle for atom in row])))
    return [sorted(row, key=lambda atom: atom.left) for row in rows]


def _side_by_side(one: _Atom, other: _Atom) -> bool:
    low, high = sorted([one.height, other.height])
    apart = min(abs(one.middle - other.middle), abs(one.bottom - other.bottom))
    shared = min(one.right, other.right) - max(one.left, other.left)
    single = max(one.bottom - one.top, other.bottom - other.top) < 1.5 * high
    return single and high < _SAME_HEIGHT * low and apart < _SAME_ROW * low and shared < 0.5 * low


def _blocks(rows: list[Row]) -> Blocks:
    """Rows put together into blocks: paragraphs, tables, signs."""
    blocks: Blocks = []
    before: Row | None = None
    for row in rows:
        if len(row) == 1 and (len(row[0].blocks) > 1 or len(row[0].blocks[0]) > 1):
            blocks += row[0].blocks
            before = None
            continue
        line = [index for atom in row for block in atom.blocks for part in block for index in part]
        if before is not None and _belong_together(before, row):
            blocks[-1].append(line)
        else:
            blocks.append([line])
        before = row
    return blocks


def _belong_together(upper: Row, lower: Row) -> bool:
    heights = sorted(float(np.median([atom.height for atom in row])) for row in (upper, lower))
    blank = min(atom.top for atom in lower) - max(atom.bottom for atom in upper)
    shared = min(upper[-1].right, lower[-1].right) - max(upper[0].left, lower[0].left)
    return heights[1] < _SAME_SIZE * heights[0] and blank < _PARAGRAPH * heights[0] and shared > 0


def _neighbourhoods(chains: list[list[int]], words: LevelWords) -> list[list[list[int]]]:
    """Lines that run another way than the page, put together where they are near each other."""
    groups: list[tuple[np.ndarray, list[list[int]]]] = []
    for chain in chains:
        reach = float(words.height[chain].max())
        box = np.array(
            [
                words.left[chain].min() - reach,
                words.top[chain].min() - reach,
                words.right[chain].max() + reach,
                words.bottom[chain].max() + reach,
            ]
        )
        lines = [chain]
        apart = []
        for other, members in groups:
            if (box[:2] < other[2:]).all() and (other[:2] < box[2:]).all():
                box = np.concatenate([np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])])
                lines = members + lines
            else:
                apart.append((other, members))
        groups = [*apart, (box, lines)]
    return [lines for _, lines in groups]
