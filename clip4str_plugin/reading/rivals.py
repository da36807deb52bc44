"""Words that two detectors found in one place: the better read one stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.reading.lexicon import unknown_characters
from clip4str_plugin.reading.views import certainty

if TYPE_CHECKING:
    from clip4str_plugin.options import Confidence
    from clip4str_plugin.reading.recognizer import Recognition

__all__ = ["keep_best", "per_character"]

# Words of which one lies in the other by more than this share of the smaller one's area are in one place ...
_SHARED = 0.5
# ... and are the same word if they read alike and share this much of the larger one's.
_SAME = 0.4
# A word that the lists know wins over what was read better by less than this. From 0.03 to 0.1 scenes of ICDAR 2015 and
# SVT come out alike.
_KNOWN = 0.05


def keep_best(polygons: Sequence[np.ndarray], texts: Sequence[str], certainties: Sequence[float]) -> dict[int, bool]:
    """Choose words so that no two are in one place.

    Args:
        polygons: one (K, 2) a word, pixels; those of the detector with the tighter outlines first.
        texts: what was read.
        certainties: how well each word was read; the best of those in one place stays, the first where they are equal.
            Known words are preferred, and not torn. Where the same word was found with a tighter outline, that one
            stays in its stead.

    Returns:
        the indices of the words that stay, ascending, each with whether another word was found in its place.
    """
    from shapely import Polygon, STRtree

    shapes = [Polygon(polygon).buffer(0) for polygon in polygons]
    areas = [shape.area for shape in shapes]
    tree = STRtree(shapes)
    shares = [{i: shape.intersection(shapes[i]).area for i in tree.query(shape).tolist()} for shape in shapes]
    rivals = [
        [i for i, share in near.items() if i != index and share > _SHARED * min(areas[index], areas[i])]
        for index, near in enumerate(shares)
    ]
    plain = ["".join(filter(str.isalnum, text.casefold())) for text in texts]
    # The lists are large, and often nothing is disputed.
    disputed = [index for index, others in enumerate(rivals) if any(plain[i] != plain[index] for i in others)]
    asked = {i for index in disputed for i in (index, *rivals[index])}
    known = {index for index in asked if unknown_characters(texts[index]) == 0}
    torn: set[int] = set()
    for index in known:
        parts = [i for i in rivals[index] if plain[i] != plain[index] and areas[i] < areas[index]]
        along = polygons[index][len(polygons[index]) // 2 - 1] - polygons[index][0]
        parts.sort(key=lambda i: float(polygons[i].mean(axis=0) @ along))
        if "".join(plain[i] for i in parts) == plain[index] and not known.issuperset(parts):
            torn.update(parts)
    trust = [certainty + _KNOWN * (index in known) for index, certainty in enumerate(certainties)]
    kept: set[int] = set()
    stay: dict[int, bool] = {}
    for index in sorted(set(range(len(shapes))) - torn, key=lambda index: trust[index], reverse=True):
        if kept.isdisjoint(rivals[index]):
            kept.add(index)
            same = [
                i
                for i, share in shares[index].items()
                if plain[i] == plain[index] and share > _SAME * max(areas[i], areas[index])
            ]
            stay[min([*same, index])] = bool(rivals[index])
    return dict(sorted(stay.items()))


def per_character(reading: Recognition, kind: Confidence) -> float:
    """How well a word was read, comparable between words of different length, from 0 to 1.

    Args:
        reading: of a word.
        kind: of its confidence. A product holds the probability of the end, too, which is low where a word is cut.
    """
    return float(reading.confidence ** (1 / max(1, len(reading.text)))) if kind == "product" else certainty(reading)
