"""Polygons given by people or by a detector of one's own: the words in each, from the view that reads best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_plugin.errors import PolygonError
from clip4str_plugin.geometry.rectification import Straightened, other_views, straighten
from clip4str_plugin.reading.orientation import stands_on_end, turn_polygon
from clip4str_plugin.reading.views import View, certainty, read_views
from clip4str_plugin.reading.words import read_words

if TYPE_CHECKING:
    from clip4str_plugin.geometry.polygons import Start
    from clip4str_plugin.options import Orientation
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["PolygonReading", "read_polygons"]

# A polygon whose least certain word is surer than this is not looked at again; one whose crop cuts through letters or
# is stretched by more than so much must be surer.
_CERTAIN, _CERTAIN_ENOUGH = 0.9, 0.97
_CUT, _STRETCHED = 0.7, 2.5
# Crops less wide than this, in heights, hold one word.
_LONG = 1.5
# What the outline suggests is left for another view that is this much more certain, and so much for the same one read
# as a single word.
_MARGIN, _MARGIN_WHOLE = 0.03, 0.01


@dataclass(frozen=True, eq=False)
class PolygonReading:
    """What was read in one polygon.

    Attributes:
        words: in reading order, those that say something.
        polygons: for each its place on the page, (K, 2) float32, clockwise from the top left corner of the text.
        views: how many views of the polygon were read.
    """

    words: tuple[Recognition, ...] = ()
    polygons: tuple[np.ndarray, ...] = ()
    views: int = 1

    @property
    def text(self) -> str:
        """The words with one blank between them."""
        return " ".join(word.text for word in self.words)

    @property
    def char_confidences(self) -> tuple[float, ...]:
        """The probabilities of all characters but the blanks."""
        return tuple(value for word in self.words for value in word.char_confidences)

    @property
    def confidence(self) -> float:
        """The least of its words', 0.0 without any."""
        return min((word.confidence for word in self.words), default=0.0)


def read_polygons(
    image: np.ndarray,
    polygons: Iterable[Any],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    *,
    orientation: Orientation = "auto",
    other: bool = True,
    start: Start = "any",
) -> list[PolygonReading]:
    """Read the words within polygons of a page.

    All are straightened, cut at their blanks and read together. Those that were read with doubt are looked at in other
    ways (see `other_views`), again all together, and each keeps the view that reads best.

    Args:
        image: the page, uint8 (H, W, 3) RGB
        polygons: (K, 2) pixels each, K >= 3, as `clip4str_plugin.rectify` takes them
        recognize: reads crops; a `Recognizer`, say
        orientation: which words are tried in other directions, see `resolve_orientation`
        other: whether to look at doubtful polygons in other ways
        start: what the first point of a polygon means, see `clip4str_plugin.rectify`

    Returns:
        one reading a polygon, in their order

    Raises:
        PolygonError: a polygon is malformed or off the page; it is named by its index
        ImageError: the page is not a uint8 picture
    """
    first = []
    for index, polygon in enumerate(polygons):
        try:
            first.append(straighten(image, polygon, start=start))
        except PolygonError as error:
            raise PolygonError(f"polygon {index}: {error}") from error

    def read(pieces: Sequence[tuple[Straightened, bool]]) -> list[PolygonReading]:
        return _read(pieces, recognize, orientation)

    readings = read([(piece, False) for piece in first])
    if not other:
        return readings
    views = []
    for index, (piece, reading) in enumerate(zip(first, readings)):
        if _is_doubtful(piece, reading):
            if len(reading.words) != 1:
                views.append(View(index, (piece, True), _MARGIN_WHOLE))
            views += [View(index, (view, False), _MARGIN) for view in other_views(image, piece.strip)]
    looked = np.bincount([view.owner for view in views], minlength=len(readings))
    kept = [reading for reading, _ in read_views(readings, views, read)]
    return [PolygonReading(one.words, one.polygons, 1 + int(more)) for one, more in zip(kept, looked)]


def _is_doubtful(piece: Straightened, reading: PolygonReading) -> bool:
    least = min((certainty(word) for word in reading.words), default=0.0)
    if least < _CERTAIN:
        return True
    return least < _CERTAIN_ENOUGH and piece.strip.drawn and (piece.cut > _CUT or piece.stretch > _STRETCHED)


def _read(
    pieces: Sequence[tuple[Straightened, bool]],
    recognize: Callable[[list[np.ndarray]], Sequence[Recognition]],
    orientation: Orientation,
) -> list[PolygonReading]:
    """Cut crops at their blanks, but for those that are said to be one word, and read all words together."""
    from clip4str_plugin.reading.line_splitting import find_words_in

    cut = iter(find_words_in([piece.crop for piece, whole in pieces if not whole]) if pieces else [])
    spans = [[] if whole else next(cut) for _, whole in pieces]
    crops, places, lines = [], [], []
    for number, ((piece, _), found) in enumerate(zip(pieces, spans)):
        width = piece.crop.shape[1]
        if len(found) < 2 or width < _LONG * piece.crop.shape[0]:
            found = [(0.0, 1.0)]
        for left, right in found:
            start = min(int(left * width), width - 1)
            crops.append(piece.crop[:, start : max(start + 1, round(right * width))])
            places.append(piece.strip.polygon(left, right))
            lines.append(number)
    on_end = [orientation != "off" and stands_on_end(place) for place in places]
    settled = read_words(
        crops, recognize, orientation=orientation, on_end=on_end, lines=lines, pages=[0] * len(crops), other_views=False
    )
    words: list[list[tuple[Recognition, np.ndarray]]] = [[] for _ in pieces]
    turned = set()
    for number, place, item in zip(lines, places, settled):
        if item.turns == 2:
            turned.add(number)
        if item.reading.text:
            words[number].append((item.reading, turn_polygon(place, item.turns)))
    return [
        PolygonReading(*(tuple(zip(*(own[::-1] if number in turned else own))) or ((), ())))
        for number, own in enumerate(words)
    ]
