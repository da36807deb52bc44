"""Words that two detectors found in one place: the better read one stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["keep_best"]

# Words of which one lies in the other by more than this share of the smaller one's area are in one place.
_SHARED = 0.5


def keep_best(polygons: Sequence[np.ndarray], certainties: Sequence[float]) -> list[int]:
    """Choose words so that no two are in one place.

    Args:
        polygons: one (K, 2) a word, pixels.
        certainties: how well each word was read; the best of those in one place stays, the first where they are equal.

    Returns:
        the indices of the words that stay, ascending.
    """
    from shapely import Polygon, STRtree

    shapes = [Polygon(polygon).buffer(0) for polygon in polygons]
    tree = STRtree(shapes)
    kept: set[int] = set()
    for index in sorted(range(len(shapes)), key=lambda index: certainties[index], reverse=True):
        shape = shapes[index]
        near = kept.intersection(tree.query(shape).tolist())
        if all(shape.intersection(shapes[i]).area <= _SHARED * min(shape.area, shapes[i].area) for i in near):
            kept.add(index)
    return sorted(kept)
