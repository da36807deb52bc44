"""Words that two detectors found in one place: the better read one stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.reading.views import certainty

if TYPE_CHECKING:
    from clip4str_plugin.options import Confidence
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["keep_best", "per_character"]

# Words of which one lies in the other by more than this share of the smaller one's area are in one place ...
_SHARED = 0.5
# ... and are the same word if they read alike and share this much of the larger one's.
_SAME = 0.4


def keep_best(polygons: Sequence[np.ndarray], texts: Sequence[str], certainties: Sequence[float]) -> list[int]:
    """Choose words so that no two are in one place.

    Args:
        polygons: one (K, 2) a word, pixels; those of the detector with the tighter outlines first.
        texts: what was read.
        certainties: how well each word was read; the best of those in one place stays, the first where they are equal.
            Where the same word was found with a tighter outline, that one stays in its stead.

    Returns:
        the indices of the words that stay, ascending.
    """
    from shapely import Polygon, STRtree

    shapes = [Polygon(polygon).buffer(0) for polygon in polygons]
    tree = STRtree(shapes)
    plain = ["".join(filter(str.isalnum, text.casefold())) for text in texts]
    kept: set[int] = set()
    stay: set[int] = set()
    for index in sorted(range(len(shapes)), key=lambda index: certainties[index], reverse=True):
        shape = shapes[index]
        near = tree.query(shape).tolist()
        shares = {i: shape.intersection(shapes[i]).area for i in near}
        if all(shares[i] <= _SHARED * min(shape.area, shapes[i].area) for i in kept.intersection(near)):
            kept.add(index)
            same = [i for i in near if plain[i] == plain[index] and shares[i] > _SAME * max(shape.area, shapes[i].area)]
            stay.add(min([*same, index]))
    return sorted(stay)


def per_character(reading: Recognition, kind: Confidence) -> float:
    """How well a word was read, comparable between words of different length, from 0 to 1.

    Args:
        reading: of a word.
        kind: of its confidence. A product holds the probability of the end, too, which is low where a word is cut.
    """
    return float(reading.confidence ** (1 / max(1, len(reading.text)))) if kind == "product" else certainty(reading)
