"""Upright letters one below the other, laid side by side so that they can be read as a word."""

import numpy as np

__all__ = ["unstack"]

# Letters are between so many times the width of the stack high ...
_LOWEST, _HIGHEST = 0.45, 1.6
# ... and this is how much a cut costs that goes through a letter, against one that is off the common pitch.
_INK = 6.0
_MOST_LETTERS = 30


def unstack(column: np.ndarray) -> np.ndarray | None:
    """Cut a column of letters between them and put them side by side.

    The number of letters is the one whose evenly spaced cuts, each moved to the emptiest row nearby, meet the least
    ink.

    Args:
        column: uint8 (h, w, 3) or (h, w), taller than wide

    Returns:
        uint8 (h', w', ...), the letters from left to right, or None if there is no place to cut
    """
    height, width = column.shape[:2]
    ink = _ink(column)
    fewest, most = max(2, round(height / (_HIGHEST * width))), min(_MOST_LETTERS, int(height / (_LOWEST * width)))
    best, cuts = np.inf, None
    for count in range(fewest, most + 1):
        pitch = height / count
        if pitch < 3:
            break
        reach = int(pitch / 4)
        rows = np.rint(np.arange(1, count) * pitch).astype(int)
        near = rows[:, None] + np.arange(-reach, reach + 1)
        near = near.clip(0, height - 1)
        cost = _INK * ink[near] + np.abs(near - rows[:, None]) / pitch
        chosen = near[np.arange(count - 1), cost.argmin(axis=1)]
        # Fewer cuts are easier to place: letters as high as wide are likeliest.
        total = cost.min(axis=1).mean() + 0.3 * abs(np.log(pitch / width))
        if total < best:
            best, cuts = total, chosen
    if cuts is None:
        return None
    letters = np.split(column, cuts)
    tallest = max(len(letter) for letter in letters)
    padded = []
    for letter in letters:
        above = (tallest - len(letter)) // 2
        margins = [(above, tallest - len(letter) - above)] + [(0, 0)] * (column.ndim - 1)
        padded.append(np.pad(letter, margins, mode="edge"))
    return np.ascontiguousarray(np.concatenate(padded, axis=1))


def _ink(column: np.ndarray) -> np.ndarray:
    """How much each row differs along itself, from 0 for an even row to 1 for the busiest, (h,)."""
    grey = column.astype(np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=2)
    busy = np.ptp(grey, axis=1)
    low, high = np.quantile(busy, 0.02), busy.max()
    return (busy - low) / max(float(high - low), 1.0)
