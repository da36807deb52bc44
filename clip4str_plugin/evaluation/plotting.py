"""Line charts as SVG text, with no plotting library: axes, ticks, lines with a legend, pale bars behind them."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "Series", "line_chart"]

# Told apart by most colour-blind readers (M. Okabe and K. Ito, 2008), the yellow left out: it is too pale for lines.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 44, 56
_LEGEND_ROW = 20


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: in the legend.
        points: (x, y), x ascending.
        marks: draw a dot at each point.
    """

    name: str
    points: Sequence[tuple[float, float]]
    marks: bool = False


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Attributes:
        label: what is measured, with its unit.
        low: where it begins.
        high: where it ends.
        log: logarithmic; ``low`` is then above 0.
    """

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the begin and 1 at the end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return round values within, at least about four."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        else:
            rough = (self.high - self.low) / 5
            unit = 10.0 ** math.floor(math.log10(rough))
            step = next(unit * digit for digit in (1, 2, 5, 10) if unit * digit >= rough * 0.99)
            values = [
                step * i for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
            ]
        return [v for v in values if self.low * (1 - 1e-9) - 1e-12 <= v <= self.high * (1 + 1e-9)]


def line_chart(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    bars: Sequence[tuple[float, float, float]] = (),
    diagonal: bool = False,
) -> str:
    """Return a chart as an SVG document. What lies outside the axes is cut off.

    Args:
        title: above it.
        x: the horizontal axis.
        y: the vertical axis.
        series: the lines, each in a colour of its own; colours come again after seven.
        bars: (x from, x to, height) of pale bars that stand on the horizontal axis, behind the lines.
        diagonal: draw a dashed line from the low corner to the high one.

    >>> line_chart("t", Axis("a", 0, 1), Axis("b", 0, 1), [Series("s", [(0, 0), (1, 1)])]).startswith("<svg")
    True
    """
    height = _HEIGHT + 8 + _LEGEND_ROW * len(series)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def across(value: float) -> float:
        return _LEFT + x.place(value) * (right - _LEFT)

    def up(value: float) -> float:
        return bottom - y.place(value) * (bottom - _TOP)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="13" fill="#222">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<clipPath id="inside"><path d="M{_LEFT} {_TOP}H{right}V{bottom}H{_LEFT}Z"/></clipPath>',
        _text(_WIDTH / 2, 24, title, 'font-size="15" text-anchor="middle"'),
        *_grid(x, y, across, up, right, bottom),
    ]
    out += [
        f'<rect x="{across(a):.1f}" y="{up(top):.1f}" width="{across(b) - across(a) - 1:.1f}" '
        f'height="{bottom - up(top):.1f}" fill="#dddddd" clip-path="url(#inside)"/>'
        for a, b, top in bars
    ]
    if diagonal:
        out.append(f'<path d="M{_LEFT} {bottom}L{right} {_TOP}" stroke="#888" stroke-dasharray="5 4"/>')
    for number, one in enumerate(series):
        color = _COLORS[number % len(_COLORS)]
        places = [(across(a), up(b)) for a, b in one.points if not x.log or a > 0]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        out.append(
            f'<g clip-path="url(#inside)"><polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>'
        )
        if one.marks:
            out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{color}"/>' for a, b in places]
        row = _HEIGHT + 2 + _LEGEND_ROW * number
        out.append(f'</g><path d="M{_LEFT} {row - 4}h24" stroke="{color}" stroke-width="3"/>')
        out.append(_text(_LEFT + 32, row, one.name))
    return "\n".join([*out, "</svg>"]) + "\n"


def _grid(
    x: Axis, y: Axis, across: Callable[[float], float], up: Callable[[float], float], right: int, bottom: int
) -> list[str]:
    """Draw frame, ticks, and labels of both axes."""
    out = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#222"/>']
    for value in x.ticks():
        out.append(f'<path d="M{across(value):.1f} {bottom}v5" stroke="#222"/>')
        out.append(_text(across(value), bottom + 19, _number(value), 'text-anchor="middle"'))
    for value in y.ticks():
        out.append(f'<path d="M{_LEFT} {up(value):.1f}H{right}" stroke="#e8e8e8"/>')
        out.append(_text(_LEFT - 8, up(value) + 4, _number(value), 'text-anchor="end"'))
    middle = (_TOP + bottom) / 2
    out.append(_text((_LEFT + right) / 2, bottom + 38, x.label, 'text-anchor="middle"'))
    out.append(_text(18, middle, y.label, f'text-anchor="middle" transform="rotate(-90 18 {middle})"'))
    return out


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{html.escape(text)}</text>'


def _number(value: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (abs(value) >= unit and letter == "M"):
            return f"{value / unit:g}{letter}"
    return f"{value:.10g}"
