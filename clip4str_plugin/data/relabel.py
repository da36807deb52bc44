"""Complete labels that lack case or punctuation with the results of a recognizer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.data.tools import new_set
from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_36
from clip4str_plugin.reading.recognizer import TALL

if TYPE_CHECKING:
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["relabel"]


def relabel(source: str | Path, target: str | Path, recognizer: Recognizer) -> dict[str, int]:
    """Copy a set with case and punctuation added to its labels, and vertical words turned.

    Labels of many research sets lack punctuation or case, and teach a model to leave them out. Where a recognizer reads
    the same letters and digits as the label, case ignored, its reading replaces the label; else the label stays.

    A word in a crop at least 1.5 times as high as wide is tried in both directions and turned the way in which it is
    read as its label. One that is read in no way is left out: which way it runs is not known.

    Args:
        source: folder with ``labels.tsv``, or with LMDB sets at any depth.
        target: new folder, with ``labels.tsv`` and images as PNG.
        recognizer: with ``turn_tall=False``.

    Returns:
        how many samples were ``written``, of these how many have a ``changed`` label and how many were ``turned``, and
        how many were ``left_out``, damaged images among them.

    Raises:
        DatasetError: the source cannot be opened, or the target exists.
    """
    same = CharsetFilter(CHARSET_36)
    dataset = open_dataset(source)
    counts = dict.fromkeys(("written", "changed", "turned"), 0)
    pending: deque[tuple[np.ndarray, str, tuple[int, ...]]] = deque()  # filled by the recognizer's background thread

    def views() -> Iterator[np.ndarray]:
        for index in range(len(dataset)):
            try:
                crop, label = dataset[index]
            except ImageError:
                continue
            on_end = len(label) > 1 and crop.shape[0] >= TALL * crop.shape[1]
            pending.append((crop, label, (0, 1, 3) if on_end else (0,)))
            yield from (np.rot90(crop, turns) for turns in pending[-1][2])

    readings = recognizer.stream(views())
    with new_set(target) as add:
        for first in readings:
            crop, label, ways = pending.popleft()
            own = [(0, first), *((turns, next(readings)) for turns in ways[1:])]
            # A word on end that is read squashed, too, is still on end: turned ways come first.
            wanted = same(label)
            agreeing = [
                (turns > 0, r.confidence, turns, r.text) for turns, r in own if wanted and same(r.text) == wanted
            ]
            if not agreeing and len(own) > 1:
                continue
            *_, turns, text = max(agreeing, default=(False, 0.0, 0, label))
            counts["written"] += 1
            counts["changed"] += text != label
            counts["turned"] += turns > 0
            add(np.rot90(crop, turns), text)
    return {**counts, "left_out": len(dataset) - counts["written"]}
