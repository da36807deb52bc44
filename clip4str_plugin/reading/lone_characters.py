"""Characters that stand alone in the row of a line: quantities, dashes, currencies, which detectors of lines miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.reading.views import certainty

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["LoneCharacters", "find_lone_characters", "is_sure"]

# Pages are made smaller so that most lines are not higher than this, in pixels.
_HEIGHT = 24
# All lengths are in heights of the line that the ink stands beside; the outlines of lines leave room around letters.
# Ink is darker than its surroundings, this far to both sides, by this share of the contrast of the page's lines.
_AROUND, _INK = 1.0, 0.3
# What hangs together is a part of a character if its longer side is within these limits; a rule is longer than that.
_SMALLEST, _LARGEST, _RULE = 0.08, 1.6, 3.0
# Its middle is this near to the middle of its row, and no farther beyond the last line of the row than that.
_OFF, _FAR = 0.3, 12.0
# Parts nearer than this are one word, as high and wide as these say ...
_JOINED = 0.5
_LOW, _HIGH, _WIDE = 0.33, 0.95, 2.2
# ... or a dash: as flat, as long, as near to the middle, and without another one this near in its row, which makes it a
# part of a rule.
_FLAT, _SHORT, _LONG, _CENTRAL, _APART = 0.25, 0.15, 0.9, 0.25, 3.0
# Shorter lines do not tell their direction: it is that of the longer ones, if it differs by less than this, a sine.
_TELLING, _TURNED = 4.0, 0.2
# The word is otherwise free of ink, but for this share and rules, and so is this much beside it and, of that, this
# share above and below.
_FREE, _BESIDE, _RING = 0.05, 0.3, 0.6
# Compared with the contrast of its line, its own is at least this, its ground differs by less, and is so even.
_CONTRAST, _SAME_GROUND, _EVEN = 0.5, 0.4, 0.2
# Words get this margin on both sides: a stroke alone tells a recognizer less than one with some ground beside it. What
# is at least so high is in the middle of its outline.
_MARGIN, _TALL = 0.25, 0.45
# Words are of so many characters at most, and read so surely.
_CHARACTERS, _SURE = 3, 0.85
# More small ink than this for each line is dirt, or the texture of a photo.
_DIRT = 40


@dataclass(frozen=True, eq=False)
class LoneCharacters:
    """Ink that may be a word of few characters.

    Attributes:
        polygon: (4, 2) float32 pixels of the page, clockwise from the top left corner of the text, as high as the line.
        line: the index of the line in whose row it stands.
    """

    polygon: np.ndarray
    line: int


@dataclass(frozen=True, eq=False)
class _Rows:
    """The frames of lines, (N, 2) or (N,) each, in pixels."""

    middle: np.ndarray
    along: np.ndarray  # unit vectors in reading direction
    width: np.ndarray
    height: np.ndarray

    @classmethod
    def of(cls, corners: np.ndarray) -> _Rows:
        along = (corners[:, 1] + corners[:, 2] - corners[:, 0] - corners[:, 3]) / 2
        down = (corners[:, 3] + corners[:, 2] - corners[:, 0] - corners[:, 1]) / 2
        width, height = np.hypot(*along.T), np.hypot(*down.T)
        along = along / np.maximum(width, 1e-9)[:, None]
        telling = width >= _TELLING * height
        if telling.any():
            usual = np.median(along[telling], axis=0)
            usual /= max(float(np.hypot(*usual)), 1e-9)
            away = np.abs(along[:, 0] * usual[1] - along[:, 1] * usual[0])
            # A narrow character looks like a line on end.
            on_end = ~telling & (away > 1 - _TURNED)
            width, height = np.where(on_end, height, width), np.where(on_end, width, height)
            along = np.where((on_end | ~telling & (away < _TURNED) & (along @ usual > 0))[:, None], usual, along)
        return cls(corners.mean(axis=1), along, width, height)

    def seen_from(self, points: np.ndarray, rows: int | slice) -> tuple[np.ndarray, np.ndarray]:
        """How far points are from the middle of lines, along and across them; shapes are broadcast."""
        away = points - self.middle[rows]
        along = self.along[rows]
        return (away * along).sum(axis=-1), away[..., 1] * along[..., 0] - away[..., 0] * along[..., 1]


def find_lone_characters(image: np.ndarray, lines: Sequence[np.ndarray]) -> list[LoneCharacters]:
    """Find ink in the rows of lines, beside and between them, that may be single characters or words of few.

    Args:
        image: the page, uint8 (H, W, 3) RGB.
        lines: (K, 2) pixels each, clockwise from the top left corner of the text, as in
            `clip4str_plugin.reading.detectors.Detections`.
    """
    if not len(lines):
        return []
    corners = np.stack([line[[0, len(line) // 2 - 1, len(line) // 2, -1]] for line in lines]).astype(float)
    # Detectors of others may give anything.
    corners = np.clip(np.nan_to_num(corners), -max(image.shape), 2 * max(image.shape))
    page = _Page.of(image, corners)
    if page is None:
        return []
    rows = _Rows.of(page.corners)
    return [
        LoneCharacters((outline / page.scale).astype(np.float32), row)
        for row, parts in _parts_by_row(page, rows).items()
        for outline in _words(page, rows, row, parts)
    ]


@dataclass(frozen=True, eq=False)
class _Page:
    """The ink of a page, which is made smaller where its lines are high.

    Attributes:
        grey: (h, w) uint8, ink darker than ground.
        covered: (h, w) bool, where lines are.
        labels: (h, w) uint16, what hangs together; 0 is the ground.
        shapes: (n, 5), left, top, width, height and area of each label.
        corners: (N, 4, 2), the lines.
        height: of most lines.
        scale: (2,), how much smaller the page is.
    """

    grey: np.ndarray
    covered: np.ndarray
    labels: np.ndarray
    shapes: np.ndarray
    corners: np.ndarray
    height: float
    scale: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, corners: np.ndarray) -> _Page | None:
        import cv2

        height = float(np.median(np.hypot(*(corners[:, 3] - corners[:, 0]).T)))
        shrunk = min(1.0, _HEIGHT / max(height, 1.0))
        size = max(1, round(image.shape[1] * shrunk)), max(1, round(image.shape[0] * shrunk))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if shrunk < 1:
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        scale = np.array([size[0] / image.shape[1], size[1] / image.shape[0]])
        corners, height = corners * scale, height * shrunk
        covered = np.zeros(grey.shape, np.uint8)
        for quad in corners:
            cv2.fillConvexPoly(covered, np.round(quad).astype(np.int32), 1)
        levels = np.bincount(grey[covered > 0], minlength=256).cumsum()
        if not levels[-1]:
            return None
        low, ground, high = np.searchsorted(levels, np.array([0.03, 0.6, 0.97]) * levels[-1]).tolist()
        if high - ground > ground - low:
            grey, low, ground = 255 - grey, 255 - high, 255 - ground
        side = 2 * max(1, round(_AROUND * height)) + 1
        around = cv2.boxFilter(grey, -1, (side, side))
        _, ink = cv2.threshold(cv2.subtract(around, grey), max(1.0, _INK * (ground - low)), 255, cv2.THRESH_BINARY)
        try:
            _, labels, shapes, _ = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_16U)
        except cv2.error:  # too many for 16 bits, which are much faster than 32: it is dirt
            return None
        return cls(grey, covered > 0, labels, shapes, corners, height, scale)

    @cached_property
    def is_rule(self) -> np.ndarray:
        """For each label whether it is a rule, or the ground, (n,) bool."""
        rule = self.shapes[:, 2:4].max(axis=1) > _RULE * self.height
        rule[0] = True
        return rule


def _parts_by_row(page: _Page, rows: _Rows) -> dict[int, list[int]]:
    """For each line the labels of the ink in its row that no line covers and no other line is nearer to."""
    left, top, width, height, _ = page.shapes.T
    longer = np.maximum(width, height)
    fits = (longer >= _SMALLEST * page.height) & (longer <= _LARGEST * page.height)
    fits &= (left > 0) & (top > 0) & (left + width < page.grey.shape[1]) & (top + height < page.grey.shape[0])
    fits[page.labels[page.covered]] = False
    fits[0] = False
    labels = np.flatnonzero(fits)
    if not 0 < len(labels) <= _DIRT * len(rows.height):
        return {}
    middle = np.stack([left + width / 2, top + height / 2], axis=1)[labels]
    along, across = rows.seen_from(middle[:, None], slice(None))
    inside = np.abs(across) < _OFF * rows.height
    before, behind = (inside & (side * along > 0) for side in (-1, 1))
    beyond = np.where(inside, np.abs(along) - rows.width / 2, np.inf)
    nearest = beyond.argmin(axis=1)
    between = before.any(axis=1) & behind.any(axis=1)
    near = beyond.min(axis=1) < np.where(between, np.inf, _FAR * rows.height[nearest])
    found: dict[int, list[int]] = {}
    for label, row in zip(labels[near].tolist(), nearest[near].tolist()):
        found.setdefault(row, []).append(label)
    return found


def _words(page: _Page, rows: _Rows, row: int, parts: Sequence[int]) -> Iterator[np.ndarray]:
    """The outlines of what may be words among the ink of a row, (4, 2) pixels of the smaller page each."""
    left, top, width, height, _ = page.shapes[parts].T
    boxes = np.stack([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])
    along, across = rows.seen_from(boxes.transpose(2, 0, 1), row)
    high = rows.height[row]
    ends = np.stack([along.min(axis=1), along.max(axis=1), across.min(axis=1), across.max(axis=1)], axis=1) / high
    groups: list[list[int]] = []
    last = -np.inf
    for index in np.argsort(ends[:, 0]).tolist():
        if ends[index, 0] - last >= _JOINED:
            groups.append([])
        groups[-1].append(index)
        last = max(last, ends[index, 1])
    spans = [(*ends[group, ::2].min(axis=0), *ends[group, 1::2].max(axis=0)) for group in groups]
    for group, (begin, upper, end, lower) in zip(groups, spans):
        wide, tall = end - begin, lower - upper
        if tall < _FLAT:
            others = [span for span in spans if span[0] > end or span[2] < begin]
            if not (_SHORT <= wide <= _LONG and abs(upper + lower) / 2 < _CENTRAL) or any(
                max(span[0] - end, begin - span[2]) < _APART and span[3] - span[1] < _FLAT for span in others
            ):
                continue
        elif not (_LOW <= tall <= _HIGH and wide <= _WIDE):
            continue
        middle = (upper + lower) / 2 if tall >= _TALL else 0.0
        x = np.array([begin - _MARGIN, end + _MARGIN, end + _MARGIN, begin - _MARGIN]) * high
        y = (middle + np.array([-0.5, -0.5, 0.5, 0.5])) * high
        unit = rows.along[row]
        outline = rows.middle[row] + x[:, None] * unit + y[:, None] * np.array([-unit[1], unit[0]])
        # What is flat may be a part of a rule or leader that goes on.
        beside = (_JOINED if tall < _FLAT else _BESIDE) * high
        if _stands_alone(page, row, outline, [parts[index] for index in group], unit, beside):
            yield outline


def _stands_alone(
    page: _Page, row: int, outline: np.ndarray, parts: Sequence[int], along: np.ndarray, reach: float
) -> bool:
    """Whether ink is as dark as its line, on the same ground, with little else around it, and that far beside it."""
    import cv2

    window = _window(outline, np.abs(along) * reach + np.abs(along[::-1]) * _RING * reach, page.grey.shape)
    labels, grey, covered = page.labels[window], page.grey[window], page.covered[window]
    own = np.isin(labels, parts)
    other = ~own & ~page.is_rule[labels]
    across = np.flatnonzero(own.any(axis=int(abs(along[0]) > abs(along[1]))))
    beside = np.take(other, np.arange(across[0], across[-1] + 1), axis=int(abs(along[0]) < abs(along[1])))
    if (other & ~covered).mean() > _FREE or beside.mean() > _FREE:
        return False
    ground = (cv2.dilate((labels > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0) & ~covered
    if not ground.any():
        return False
    line = _window(page.corners[row], np.zeros(2), page.grey.shape)
    inked = page.labels[line] > 0
    if not 0 < inked.sum() < inked.size:
        return False
    of_line, ink_of_line = np.median(page.grey[line][~inked]), np.percentile(page.grey[line][inked], 30)
    contrast = max(1.0, of_line - ink_of_line)
    here = np.median(grey[ground])
    return bool(
        here - np.percentile(grey[own], 30) > _CONTRAST * contrast
        and abs(here - of_line) < _SAME_GROUND * contrast
        and grey[ground].std() < _EVEN * contrast
    )


def _window(outline: np.ndarray, margin: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of a page around an outline."""
    far = np.array(shape[1::-1])
    left, top = np.clip(np.floor(outline.min(axis=0) - margin), 0, far - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(outline.max(axis=0) + margin), 1, far).astype(int).tolist()
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def is_sure(reading: Recognition) -> bool:
    """Whether lone characters were read so surely that they are some; one or two points are dirt or end a leader."""
    few = 0 < len(reading.text) <= _CHARACTERS and reading.text not in (".", "..")
    return few and certainty(reading) >= _SURE
