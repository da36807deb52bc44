"""Other views of what was read with doubt: read together in one batch, and kept where they read clearly better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Reading", "View", "certainty", "read_views"]


class Reading(Protocol):
    """What a recognizer gives for a crop."""

    @property
    def text(self) -> str:
        """The characters."""

    @property
    def confidence(self) -> float:
        """From 0 to 1."""


R = TypeVar("R", bound=Reading)
S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class View(Generic[S]):
    """One more way to look at something that was read already.

    Attributes:
        owner: the index of what it is a view of.
        shown: what is read, a crop say.
        margin: by how much it must be more certain than what was read first, see `certainty`.
        tag: whatever its maker needs to know it again.
    """

    owner: int
    shown: S
    margin: float
    tag: Any = None


def read_views(
    readings: Sequence[R], views: Sequence[View[S]], read: Callable[[list[S]], Sequence[R]]
) -> list[tuple[R, View[S] | None]]:
    """Read views, all in one call, and keep the likeliest reading of each owner.

    Args:
        readings: what was read first.
        views: of any of these, in any order; none: nothing is read.
        read: reads what the views show; a `Recognizer`, say.

    Returns:
        for each of `readings` the one to keep and the view it comes from, None for the first reading

    Raises:
        ValueError: `read` gives more or fewer readings than it got views.
    """
    kept: list[tuple[R, View[S] | None]] = [(reading, None) for reading in readings]
    if not views:
        return kept
    again = read([view.shown for view in views])
    if len(again) != len(views):
        raise ValueError(f"the recognizer gave {len(again)} readings for {len(views)} crops")
    best = [certainty(reading) for reading in readings]
    for view, reading in zip(views, again):
        if reading.text and certainty(reading) - view.margin > best[view.owner]:
            best[view.owner] = certainty(reading) - view.margin
            kept[view.owner] = reading, view
    return kept


def certainty(reading: Reading) -> float:
    """Mean probability of the characters where a reading tells them, else its confidence; 0.0 for empty text."""
    characters = getattr(reading, "char_confidences", None)
    if not reading.text:
        return 0.0
    return float(sum(characters) / len(characters)) if characters else float(reading.confidence)
