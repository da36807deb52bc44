"""Gutters: the white stripes between columns of prose, but not those between the columns of a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clip4str_plugin.geometry.level import LevelWords

__all__ = ["Gutter", "find_gutters"]

# All lengths are in heights of the text around.
# The narrowest stripe.
_NARROWEST = 0.45
# A blank wider than this parts two cells, whatever is above and below. Narrower stripes may be chance: they must go
# past this many lines whose starts or ends agree; past more if they are narrower than so many common blanks.
_CELL, _LINES, _AGREEING = 1.6, 4, 0.7
_ABOVE_BLANK, _MANY_LINES = 1.5, 8
# Blanks up to so many times as wide as the middle one of at least so many of their line are like its others. They are
# no part of a stripe that was wider by this factor.
_USUAL, _FEW_BLANKS, _MUCH_NARROWER = 1.25, 3, 0.7
# A cell stands behind another if their middles are less than this far apart.
_BEHIND = 0.8
# Prose has this many words a line, most lines fill this share of the column, and few words are numbers. In lines of
# many words a smaller share will do.
_WORDS, _FILLED, _NUMBERS = 2.5, 0.68, 0.4
_MANY, _FILLED_BY_MANY = 4.0, 0.5
# Of two columns of which only one is prose, the prose has at least this many lines.
_FLOW = 4
# Lines beside each other have their middles less than the first apart, and are level with less than the second. Columns
# are no table where fewer than this share of the lines that have others beside them are level with one: chance alone
# makes nearly half of them so.
_OVERLAPPING, _LEVEL, _ALIGNED = 0.9, 0.3, 0.7
# Notes beside prose are set in type smaller by this factor.
_SMALL_TYPE = 0.9
# Lines of a paragraph follow each other at this blank at most.
_PARAGRAPH = 0.9
# Gutters that go on from each other are less than this beside each other.
_STEP = 1.0


@dataclass(frozen=True)
class Gutter:
    """A white stripe that parts two columns, in the frame of ``LevelWords``."""

    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Pieces of lines, (N,) each; see `LevelWords`."""

    left: np.ndarray
    right: np.ndarray
    middle: np.ndarray
    height: np.ndarray
    count: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, pieces: Sequence[Sequence[int]], words: LevelWords) -> _Pieces:
        return cls(
            left=np.array([words.left[piece].min() for piece in pieces]),
            right=np.array([words.right[piece].max() for piece in pieces]),
            middle=np.array([words.middle[piece].mean() for piece in pieces]),
            height=np.array([np.median(words.height[piece]) for piece in pieces]),
            count=np.array([len(piece) for piece in pieces]),
            numbers=np.array([words.number[piece].sum() for piece in pieces]),
        )


def find_gutters(words: LevelWords, chains: Sequence[Sequence[int]]) -> tuple[list[Gutter], list[list[int]]]:
    """Find the gutters of a page, and cut its lines at gutters and at wide blanks.

    Args:
        words: of the page.
        chains: lines of the indices of words.

    Returns:
        the gutters, and the pieces of the lines.
    """
    chains = [sorted(chain, key=lambda index: words.left[index] + words.right[index]) for chain in chains]
    stripes = _stripes(words, chains)
    pieces = [piece for chain in chains for piece in _cut(chain, words, stripes)]
    cells = _Pieces.of(pieces, words)
    gutters = [gutter for stripe in stripes for gutter in _judge(stripe, cells)]
    # What is none after all cuts no line.
    return _joined(gutters, words), [piece for chain in chains for piece in _cut(chain, words, gutters)]


def _joined(gutters: list[Gutter], words: LevelWords) -> list[Gutter]:
    """Gutters, those in one that go on from each other: between columns that lean or wave there is no straight one."""
    joined: list[Gutter] = []
    near = _STEP * float(np.median(words.height)) if gutters else 0.0
    for gutter in sorted(gutters, key=lambda gutter: gutter.top):
        for index, other in enumerate(joined):
            inner, outer = max(gutter.left, other.left), min(gutter.right, other.right)
            common = (words.middle >= gutter.top) & (words.middle <= min(gutter.bottom, other.bottom))
            between = common & (words.right > outer) & (words.left < inner)
            if gutter.top <= other.bottom and inner - outer < near and not between.any():
                left, right = min(gutter.left, other.left), max(gutter.right, other.right)
                joined[index] = Gutter(left, right, other.top, max(gutter.bottom, other.bottom))
                break
        else:
            joined.append(gutter)
    return joined


def _stripes(words: LevelWords, chains: Sequence[Sequence[int]]) -> list[Gutter]:
    """White stripes past more than one line, as tall as they can be."""
    index = np.array([word for chain in chains for word in chain])
    order = index[np.argsort(words.middle[index])]
    blanks = [
        (words.left[after] - words.right[before]) / min(words.height[before], words.height[after])
        for chain in chains
        for before, after in itertools.pairwise(chain)
    ]
    common = _ABOVE_BLANK * float(np.median(blanks)) if blanks else 0.0
    each = _Pieces.of([[word] for word in order], words)
    usual = _usual_blanks(words, chains)
    stripes: list[Gutter] = []
    for left, right, middle, height in sorted(_seeds(words, chains, order, usual), key=lambda seed: seed[1] - seed[0]):
        need = _NARROWEST * height
        if right - left < need or any(
            s.top < middle < s.bottom and min(right, s.right) - max(left, s.left) >= 0.9 * min(need, s.right - s.left)
            for s in stripes
        ):
            continue
        stripe = _extend(left, right, middle, need, words, order, usual)
        if stripe.bottom - stripe.top > 2.2 * height and _is_no_chance(stripe, common, each):
            stripes.append(stripe)
    return stripes


def _usual_blanks(words: LevelWords, chains: Sequence[Sequence[int]]) -> np.ndarray:
    """For each word how wide blanks like the others of its line are, in pixels; 0 where there are few."""
    usual = np.zeros(len(words.left))
    for chain in chains:
        if len(chain) > _FEW_BLANKS:
            usual[list(chain)] = _USUAL * np.median(words.left[list(chain[1:])] - words.right[list(chain[:-1])])
    return usual


def _seeds(
    words: LevelWords, chains: Sequence[Sequence[int]], order: np.ndarray, usual: np.ndarray
) -> Iterable[tuple[float, ...]]:
    """Blanks between words beside each other: left, right, middle, and height of the lower word."""
    middles = words.middle[order]
    for chain in chains:
        for before, after in itertools.pairwise(chain):
            height = min(words.height[before], words.height[after])
            if words.left[after] - words.right[before] > usual[before]:
                yield words.right[before], words.left[after], (words.middle[before] + words.middle[after]) / 2, height
        last = chain[-1]
        reach = 0.5 * words.height[last]
        near = order[np.searchsorted(middles, words.middle[last] - reach) :]
        near = near[: np.searchsorted(words.middle[near], words.middle[last] + reach)]
        near = near[words.left[near] > words.right[last] - 0.2 * words.height[last]]
        if len(near):
            after = near[words.left[near].argmin()]
            yield words.right[last], words.left[after], words.middle[last], min(words.height[last], words.height[after])


def _extend(
    left: float, right: float, middle: float, need: float, words: LevelWords, order: np.ndarray, usual: np.ndarray
) -> Gutter:
    """Extend a blank up and down until what is left of it would be too narrow, or a blank like others of its line."""
    reached, most = [middle, middle], _MUCH_NARROWER * (right - left)
    for side, step in ((0, -1), (1, 1)):
        start = int(np.searchsorted(words.middle[order], middle))
        beyond = order[:start][::-1] if step < 0 else order[start:]
        for word in beyond[(words.right[beyond] > left) & (words.left[beyond] < right)]:
            if words.left[word] >= right or words.right[word] <= left:
                continue
            before, behind = words.left[word] - left, right - words.right[word]
            if max(before, behind) < max(need, min(most, usual[word])):
                reached[side] = words.middle[word] - step * words.height[word] / 2
                break
            if before > behind:
                right = words.left[word]
            else:
                left = words.right[word]
        else:
            edge = words.middle[beyond[-1]] if len(beyond) else middle
            reached[side] = edge + step * need
    return Gutter(left, right, min(reached), max(reached))


def _cut(chain: Sequence[int], words: LevelWords, gutters: Sequence[Gutter]) -> list[list[int]]:
    """Cut a line at wide blanks and at gutters."""
    pieces = [[chain[0]]]
    for before, after in itertools.pairwise(chain):
        left, right = words.right[before], words.left[after]
        middle = (words.middle[before] + words.middle[after]) / 2
        wide = right - left > _CELL * max(words.height[before], words.height[after])
        slack = 0.1 * words.height[before]
        if wide or any(
            gutter.top < middle < gutter.bottom and left <= gutter.left + slack and right >= gutter.right - slack
            for gutter in gutters
        ):
            pieces.append([])
        pieces[-1].append(after)
    return pieces


def _is_no_chance(stripe: Gutter, common: float, words: _Pieces) -> bool:
    """Whether a stripe is too wide for a blank between words, or the lines beside it start or end at it."""
    left, right = _sides(stripe, words)
    if not len(left) or not len(right):
        return False
    height = float(np.median(words.height[np.concatenate([left, right])]))
    wide = stripe.right - stripe.left
    if wide >= _CELL * height:
        return True
    few, many = sorted([len(left), len(right)])
    if (few < 2 or many < _LINES) if wide >= common * height else few < _MANY_LINES:
        return False
    agreeing = max(_agreement(words.left[right], height), _agreement(words.right[left], height))
    return agreeing >= _AGREEING


def _sides(stripe: Gutter, cells: _Pieces) -> tuple[np.ndarray, np.ndarray]:
    """The columns next to a stripe on either side: their cells from top to bottom."""
    left, right = _nearest(stripe, cells)
    return _column(left, cells), _column(right, cells)


def _nearest(stripe: Gutter, cells: _Pieces) -> tuple[np.ndarray, np.ndarray]:
    """The cells next to a stripe on either side, from top to bottom, whatever column they are in."""
    inside = (cells.middle > stripe.top) & (cells.middle < stripe.bottom)
    slack = 0.2 * cells.height
    left = _beside(np.flatnonzero(inside & (cells.right <= stripe.left + slack)), cells, -1)
    return left, _beside(np.flatnonzero(inside & (cells.left >= stripe.right - slack)), cells, 1)


def _judge(stripe: Gutter, cells: _Pieces) -> list[Gutter]:
    """The parts of a stripe that lie between columns of prose."""
    left, right = _sides(stripe, cells)
    if not len(left) or not len(right):
        return []
    flows = _is_prose(left, cells), _is_prose(right, cells)
    apart = min(len(left), len(right)) >= 3 and _aligned(*_nearest(stripe, cells), cells) < _ALIGNED
    flow, other = (
        (left, right) if (flows[0], _extent(left, cells)) >= (flows[1], _extent(right, cells)) else (right, left)
    )
    beside_prose = any(flows) and len(flow) >= _FLOW and _is_text(other, cells)
    if not (all(flows) or apart or beside_prose):
        return []
    small = np.median(cells.height[other]) < _SMALL_TYPE * np.median(cells.height[flow])
    begins = cells.middle[other].min() - cells.middle[flow].min() < 1.5 * cells.height[flow[0]]
    if any(flows) and (small or not (all(flows) or begins)) and _extent(other, cells) < 0.6 * _extent(flow, cells):
        return _beside_notes(stripe, flow, other, cells)
    return [_between(stripe, np.concatenate([left, right]), cells)]


def _extent(lines: np.ndarray, cells: _Pieces) -> float:
    """How long lines are all together."""
    return float((cells.right[lines] - cells.left[lines]).sum())


def _between(stripe: Gutter, lines: np.ndarray, cells: _Pieces) -> Gutter:
    """The part of a stripe beside these lines."""
    tops, bottoms = cells.middle[lines] - cells.height[lines] / 2, cells.middle[lines] + cells.height[lines] / 2
    return Gutter(stripe.left, stripe.right, float(tops.min()), float(bottoms.max()))


def _beside(near: np.ndarray, cells: _Pieces, side: int) -> np.ndarray:
    """Of the cells on one side of a stripe those next to it, from top to bottom; side -1 is the left."""
    near = near[np.argsort(cells.middle[near])]
    if not len(near):
        return near
    apart = np.abs(cells.middle[near][:, None] - cells.middle[near][None])
    level = apart < _BEHIND * np.minimum(cells.height[near][:, None], cells.height[near][None])
    inner, outer = (cells.left, cells.right) if side < 0 else (-cells.right, -cells.left)
    between = inner[near][None] >= outer[near][:, None] - 0.3 * cells.height[near][None]
    return near[~(level & between).any(axis=1)]


def _column(near: np.ndarray, cells: _Pieces) -> np.ndarray:
    """Of the cells next to a stripe those of the column next to it.

    Where that has ended, the one after it is not its neighbour.
    """
    if not len(near):
        return near
    first, last = np.median(cells.left[near]), np.median(cells.right[near])
    return near[(cells.right[near] > first) & (cells.left[near] < last)]


def _agreement(edges: np.ndarray, height: float) -> float:
    """The share of edges that agree; of many lines some may be indented."""
    agree = np.abs(edges[:, None] - edges[None]) < 0.25 * height
    most = agree[agree.sum(axis=1).argmax()]
    share = float(most.mean())
    if len(edges) >= _MANY_LINES and not most.all():
        share += max(0.0, float(agree[~most].sum(axis=1).max()) / len(edges) - 0.1)
    return share


def _is_prose(lines: np.ndarray, cells: _Pieces) -> bool:
    """Whether lines fill a column as prose does."""
    if len(lines) < 3 or cells.numbers[lines].sum() > _NUMBERS * cells.count[lines].sum():
        return False
    width = np.percentile(cells.right[lines], 90) - np.percentile(cells.left[lines], 10)
    filled = float(np.median(cells.right[lines] - cells.left[lines]) / max(width, 1e-9))
    count = float(cells.count[lines].mean())
    return (count >= _WORDS and filled >= _FILLED) or (count >= _MANY and filled >= _FILLED_BY_MANY)


def _is_text(lines: np.ndarray, cells: _Pieces) -> bool:
    """Whether lines beside prose are text of their own, not its numbers, bullets, or labels."""
    return bool(cells.numbers[lines].sum() <= _NUMBERS * cells.count[lines].sum() and cells.count[lines].mean() >= 1.5)


def _aligned(left: np.ndarray, right: np.ndarray, cells: _Pieces) -> float:
    """Of the lines of the shorter side that have others beside them the share that is level with one."""
    few, many = sorted([left, right], key=len)
    apart = np.abs(cells.middle[few][:, None] - cells.middle[many][None])
    height = np.minimum(cells.height[few][:, None], cells.height[many][None])
    beside = (apart < _OVERLAPPING * height).any(axis=1)
    level = (apart < _LEVEL * height).any(axis=1)
    return float(level.sum() / beside.sum()) if beside.sum() >= 2 else 1.0


def _beside_notes(stripe: Gutter, flow: np.ndarray, notes: np.ndarray, cells: _Pieces) -> list[Gutter]:
    """The parts of a stripe between notes and the paragraphs they stand beside: they are read after these."""
    paragraphs = [_between(stripe, paragraph, cells) for paragraph in _paragraphs(flow, cells)]
    gutters: list[Gutter] = []
    for note in _paragraphs(notes, cells):
        span = _between(stripe, note, cells)
        spans = [span, *(p for p in paragraphs if p.top < span.bottom and p.bottom > span.top)]
        if gutters and gutters[-1].bottom > min(span.top for span in spans):
            spans.append(gutters.pop())
        top, bottom = min(span.top for span in spans), max(span.bottom for span in spans)
        gutters.append(replace(stripe, top=top, bottom=bottom))
    return gutters


def _paragraphs(lines: np.ndarray, cells: _Pieces) -> list[np.ndarray]:
    blanks = np.diff(cells.middle[lines]) - (cells.height[lines][1:] + cells.height[lines][:-1]) / 2
    return np.split(lines, np.flatnonzero(blanks > _PARAGRAPH * cells.height[lines][1:]) + 1)
