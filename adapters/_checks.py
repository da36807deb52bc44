"""One check for the numbers that detectors take as options: what is wrong with one would else show page by page."""

from __future__ import annotations

from typing import Any

from clip4str_plugin.errors import DetectorError

__all__ = ["check_number"]


def check_number(name: str, value: Any, least: float, most: float, *, whole: bool = False) -> None:
    """Check an option.

    Args:
        name: of the option.
        value: of any type.
        least: the smallest value it may have.
        most: the largest one.
        whole: whether it counts something.

    Raises:
        DetectorError: it is no such number.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:  # nan as well
        kind = "whole number" if whole else "number"
        raise DetectorError(f"the option {name} is {value!r}; it must be a {kind} from {least:g} to {most:g}")
