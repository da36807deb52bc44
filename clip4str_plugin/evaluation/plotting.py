"""Line charts as SVG text, drawn by matplotlib (extra ``plots``): lines with a legend, pale bars behind them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from clip4str_plugin.plugins import import_host

__all__ = ["Axis", "Series", "line_chart"]

# Told apart by most colour-blind readers (M. Okabe and K. Ito, 2008), the yellow left out: it is too pale for lines.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


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


def line_chart(
    title: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    bars: Sequence[tuple[float, float, float]] = (),
    diagonal: bool = False,
) -> str:
    """Return a chart as an SVG document, the same for the same data. What lies outside the axes is cut off.

    Args:
        title: above it.
        x: the horizontal axis.
        y: the vertical axis.
        series: the lines, each in a colour of its own; colours come again after seven.
        bars: (x from, x to, height) of pale bars that stand on the horizontal axis, behind the lines.
        diagonal: draw a dashed line from the low corner to the high one.

    Raises:
        HostError: matplotlib is not installed.
    """
    matplotlib = import_host("matplotlib", "plots")
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.add_subplot(
        title=title,
        xlabel=x.label,
        ylabel=y.label,
        xscale="log" if x.log else "linear",
        yscale="log" if y.log else "linear",
        prop_cycle=matplotlib.cycler(color=_COLORS),
    )
    for begin, end, height in bars:
        axes.bar(begin, height, 0.97 * (end - begin), align="edge", color="#dddddd")
    if diagonal:
        axes.plot([x.low, x.high], [y.low, y.high], "--", color="#888888", linewidth=1)
    for one in series:
        axes.plot(*zip(*one.points), marker="o" if one.marks else None, markersize=4, label=one.name)
    axes.set(xlim=(x.low, x.high), ylim=(y.low, y.high))
    axes.grid(axis="y", color="#e8e8e8")
    axes.set_axisbelow(True)
    for axis, drawn in ((x, axes.xaxis), (y, axes.yaxis)):
        if axis.high >= 1000:
            drawn.set_major_formatter(EngFormatter(sep=""))  # 20k, 1.5M
    figure.legend(loc="outside lower left", frameon=False)
    picture = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clip4str"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()
