"""Crops turned the wrong way, in which a model learns to read nothing."""

from __future__ import annotations

import numpy as np

from clip4str_plugin.training.stream import Sample

__all__ = ["turn"]

# Characters that are others, or the same, upside down or on end: a word of these may be read when turned, too.
_READ_TURNED = frozenset("0168925HINOSXZMWLVUTClosxzunpdbqmwvtihyec-=+|/\\()[]<>{}.,:;'`\"~_^*%#!&")
# A word with fewer other characters is not turned ...
_MIN_PLAIN = 2
# ... nor a shorter one.
_MIN_LENGTH = 4


def turn(sample: Sample, rng: np.random.Generator) -> Sample:
    """Turn a crop by a quarter to either side, or upside down, and take its label away.

    Args:
        sample: crop uint8 (H, W, 3) and label.
        rng: draws the direction.

    Returns:
        the turned crop and an empty label; the sample as it is where the label is short or might be read turned.
    """
    crop, label = sample
    if len(label) < _MIN_LENGTH or sum(c not in _READ_TURNED for c in label) < _MIN_PLAIN:
        return sample
    return np.ascontiguousarray(np.rot90(crop, int(rng.integers(1, 4)))), ""
