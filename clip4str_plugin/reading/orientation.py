"""The direction in which crops read: what their shape leaves open is decided by reading them again, turned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args

import numpy as np

from clip4str_plugin.geometry.stacked_letters import unstack
from clip4str_plugin.options import Orientation as Mode
from clip4str_plugin.reading.views import Reading, View, certainty, read_views

__all__ = ["Oriented", "oriented", "resolve_orientation", "stands_on_end", "turn_polygon"]

# Text at least this many times longer than high is not taken for a stack of upright letters.
_STACKABLE = 1.5
# A crop less wide than this, in heights, may hold a short word turned by a quarter.
_NEARLY_SQUARE = 1.4
# Readings this certain (mean of their characters) are left alone in mode "auto".
_CERTAIN = 0.9
# Another direction must be this much more certain than the one the shape speaks for: 6, 9, NO, 80 and [1999] read well
# upside down, too. Of 1,376 words of up to four characters in forms and photos, one was turned for nothing.
_MARGIN = 0.1
# A single letter is as good a letter, or another one, in nearly every direction: W and M, Z and N, C and n, I and -.
_LETTER_MARGIN = 0.6
# Where no more than a letter lies on end, the letter that stands there is believed although it is less certain, and
# still more where a mark lies there: a dash on end is an I.
_STANDING, _NO_DASH = -0.3, -0.6

R = TypeVar("R", bound=Reading)


@dataclass(frozen=True)
class Oriented(Generic[R]):
    """A reading and the direction it was read in.

    Attributes:
        reading: what the recognizer gave.
        turns: by how many quarter turns, anticlockwise, the crop had to be turned to stand upright.
        stacked: whether the crop holds upright letters one below the other; they were read side by side.
    """

    reading: R
    turns: int = 0
    stacked: bool = False


def resolve_orientation(
    crops: Sequence[np.ndarray],
    readings: Sequence[R],
    recognize: Callable[[list[np.ndarray]], Sequence[R]],
    mode: Mode = "auto",
    turned: Sequence[bool] | None = None,
) -> list[Oriented[R]]:
    """Read again, in one batch, the crops whose direction is doubtful, and keep the better reading of each.

    The shape of a polygon leaves open whether a word is upside down; for one that stands on end (`turned`) both
    directions are as likely, and upright letters below each other are possible, too. "auto" reads again what stands on
    end or was read with little confidence; "on" reads everything again; "off" nothing. The direction first assumed
    wins unless another one is clearly better, for single letters by far.

    Args:
        crops: uint8 (h, w, 3) or (h, w), as `rectify` gives them
        readings: what `recognize` gave for them
        recognize: reads crops; a `Recognizer`, say
        mode: "off", "auto" or "on"
        turned: for each crop whether it stood on end on the page and `rectify` laid it down, see `stands_on_end`;
            None: no crop did

    Returns:
        for each crop the reading kept and its direction

    Raises:
        ValueError: an unknown mode, or lengths that do not agree
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}; is {mode!r}")
    turned = [False] * len(crops) if turned is None else turned
    if not len(crops) == len(readings) == len(turned):
        raise ValueError(f"{len(crops)} crops, {len(readings)} readings and {len(turned)} turned must be as many")
    views = []
    for index, (crop, reading, on_end) in enumerate(zip(crops, readings, turned)):
        if mode == "off" or not crop.size:
            continue
        if mode == "on" or on_end or certainty(reading) < _CERTAIN:
            for turns, stacked in _other_directions(crop, on_end):
                view = unstack(np.rot90(crop, -1)) if stacked else np.rot90(crop, turns)
                if view is not None:
                    margin = _margin(reading, on_end, stands=on_end and turns == 3 and not stacked)
                    views.append(View(index, np.ascontiguousarray(view), margin, (turns, stacked)))
    return [
        oriented(reading) if view is None else oriented(reading, *view.tag)
        for reading, view in read_views(readings, views, recognize)
    ]


def oriented(reading: R, turns: int = 0, stacked: bool = False) -> Oriented[R]:
    """Note in which direction a crop was read that was turned and that the recognizer may have turned further."""
    further = 0 if stacked else getattr(reading, "turns", 0)
    return Oriented(reading, (turns + further) % 4, stacked)


def _margin(reading: Reading, on_end: bool, stands: bool) -> float:
    letters = sum(char.isalnum() for char in reading.text)
    # Nothing but the letters tells which way text on end runs, however short it is.
    if on_end:
        return (0.0 if letters > 1 else _STANDING if letters else _NO_DASH) if stands else 0.0
    if letters == 1 and len(reading.text) == 1:
        return _LETTER_MARGIN
    return _MARGIN


def _other_directions(crop: np.ndarray, on_end: bool) -> list[tuple[int, bool]]:
    """Directions besides the one assumed: quarter turns anticlockwise, and whether to read as a stack."""
    height, width = crop.shape[:2]
    directions = [(2, False)]
    if on_end:
        directions.append((3, False))
        if width >= _STACKABLE * height:
            directions.append((3, True))
    elif width < _NEARLY_SQUARE * height:
        directions += [(1, False), (3, False)]
    return directions


def stands_on_end(polygon: np.ndarray) -> bool:
    """Whether text within a polygon that starts at its top left corner, as `order_quad` sees it, runs up or down.

    Args:
        polygon: (K, 2) pixels, K >= 4, clockwise from the text's top left corner
    """
    from clip4str_plugin.geometry.text_strip import TextStrip

    if len(polygon) == 4:
        (x0, y0), (x1, y1) = (polygon[0] + polygon[3]) / 2, (polygon[1] + polygon[2]) / 2
    else:
        strip = TextStrip.of(polygon, "top-left")
        (x0, y0), (x1, y1) = strip.end(0)[0], strip.end(1)[0]
    return bool(abs(x1 - x0) < np.tan(np.radians(30)) * abs(y1 - y0))


def turn_polygon(polygon: np.ndarray, turns: int) -> np.ndarray:
    """Let a polygon start at the top left corner of the text after its crop was turned.

    Args:
        polygon: (K, 2), K even, clockwise from the corner that was taken for the top left one, half of the points
            above the text and half below
        turns: quarter turns anticlockwise that brought the crop upright, see `Oriented`

    Returns:
        the same points from another one on, (K, 2)

    >>> turn_polygon(np.array([[0, 0], [9, 0], [9, 3], [0, 3]]), 2).tolist()
    [[9, 3], [0, 3], [0, 0], [9, 0]]
    """
    half = len(polygon) // 2
    # The corners lie at the start, half way along and just before both.
    first = (0, half - 1, half, len(polygon) - 1)[turns % 4]
    return np.roll(polygon, -first, axis=0)
