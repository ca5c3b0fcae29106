"""Value axes of charts: scales, bounds, ticks with unit prefixes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    MultipleLocator,
    NullFormatter,
)

from query.chart_lines import Drawn
from query.chart_style import Theme, readable
from query.heatmap import DRAWN_MAX
from query.params import AxisLook
from query.value_ticks import value_ticks
from tocsin.model.asl.graph import GraphLine, Plot
from tocsin.model.asl.lines import Floats
from tocsin.model.asl.text import parse_double, substitute
from tocsin.model.asl.units import prefix

_MARGIN = 0.05
_NOTHING = 1e-12
_TICKS = 6
_DECADES_APART = 100.0
_DURATION_STEPS_S = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600.0 * hours for hours in (1, 2, 3, 6, 12, 24, 48, 168, 720)),
)


def twin_axes(first: Axes, count: int, gap_points: float) -> list[Axes]:
    """The value axes: the first on the left, the others on the right, each further out."""
    axes = [first]
    for i in range(1, count):
        other = first.twinx()
        if i > 1:
            other.spines["right"].set_position(("outward", gap_points * (i - 1)))
        axes.append(other)
    return axes


def dress_axis(
    axes: Axes, look: AxisLook, plot: Plot, theme: Theme, colour: str | None, drawn: Drawn, *, main: bool
) -> None:
    """Scale, bounds, ticks and label of one value axis."""
    ink = readable(colour, theme) if colour else theme.text
    _set_scale(axes, look.scale)
    _set_bounds(axes, look, plot.lines, drawn)
    for side, spine in axes.spines.items():
        spine.set_visible(side in (("left", "bottom") if main else ("right",)))
        spine.set_color(theme.faint if main else ink)
    axes.tick_params(axis="y", colors=ink, labelsize=7, length=3)
    if main:
        axes.grid(visible=True, axis="y", color=theme.grid, linewidth=0.5)
        axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(_locator(axes, look))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if look.tick_labels == "off" or not any(line.stats.count for line in plot.lines):
        axes.set_yticklabels([])
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(float(value), look.tick_labels)))
    if look.label:
        shared = dict(plot.lines[0].tags) if plot.lines else {}
        axes.set_ylabel(substitute(look.label, shared), color=ink, fontsize=8)


def _locator(axes: Axes, look: AxisLook) -> Locator:
    """Ticks at round values of the scale and of the unit."""
    low, high = axes.get_ylim()
    span = high - low
    if look.scale == "log" and high > low * _DECADES_APART:
        return LogLocator(subs=(1.0, 2.0, 5.0) if high < low * _DECADES_APART**2 else (1.0,), numticks=12)
    if look.scale == "log-linear":
        ticks = [value for value, _ in value_ticks(low, high, _TICKS, look.scale)]
        return FixedLocator(ticks[:: max(1, -(-len(ticks) // (2 * _TICKS)))])
    if look.tick_labels == "duration" and _DURATION_STEPS_S[0] < span <= _DURATION_STEPS_S[-1] * _TICKS:
        return MultipleLocator(next(step for step in _DURATION_STEPS_S if span / step <= _TICKS))
    if look.tick_labels == "binary" and span > _TICKS:
        return MultipleLocator(2.0 ** math.ceil(math.log2(span / _TICKS)))
    return MaxNLocator(nbins=_TICKS, steps=[1, 2, 2.5, 5, 10])


def tick_text(value: float, mode: str) -> str:
    """A tick: three figures and a prefix, or a duration."""
    if mode == "duration":
        return duration_text(value)
    factor, symbol = prefix(value, binary=mode == "binary")
    return f"{value / factor:.4g}{symbol}" if abs(value) >= _NOTHING else "0"


def duration_text(seconds: float) -> str:
    """`1.5h`, `20.0ms`"""
    units = ((604_800.0, "w"), (86_400.0, "d"), (3_600.0, "h"), (60.0, "m"), (1.0, "s"), (1e-3, "ms"), (1e-6, "μs"))
    for size, name in units:
        if abs(seconds) >= size:
            return f"{seconds / size:.1f}{name}"
    return "0s" if seconds == 0 else f"{seconds / 1e-9:.1f}ns"


def _set_scale(axes: Axes, scale: str) -> None:
    if scale == "log":
        axes.set_yscale("log", nonpositive="clip")
    elif scale == "log-linear":
        axes.set_yscale("symlog", linthresh=1.0)
    elif scale == "sqrt":
        axes.set_yscale("function", functions=(_root, _square))
    elif scale == "pow2":
        axes.set_yscale("function", functions=(_square, _root))


def _root(values: Floats) -> Floats:
    """The square root, of negative values mirrored."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values: Floats) -> Floats:
    return np.sign(values) * np.square(values)


def _set_bounds(axes: Axes, look: AxisLook, lines: Sequence[GraphLine], drawn: Drawn) -> None:
    """Explicit bounds as given; `auto-style` includes 0 under filled lines; a flat line is not at the edge."""
    low, high = axes.get_ylim()
    plain = [line for line in lines if line.line_style not in ("vspan", "heatmap")]
    values = [v for line in plain for v in (line.stats.min, line.stats.max)]
    known = [v for v in (*values, *drawn.band, *drawn.heat) if abs(v) < DRAWN_MAX]
    filled = drawn.filled
    if known and not filled:
        low, high = min(known), max(known)
    if look.scale == "linear" and known:
        span = (high - low) or abs(high) or 1.0
        nothing_below = min(known) >= 0
        low, high = low - span * _MARGIN, high + span * _MARGIN
        if nothing_below and (filled or low < 0) and look.lower == "auto-style":
            low = 0.0
    explicit_low, explicit_high = parse_double(look.lower), parse_double(look.upper)
    if look.scale == "log" and low <= 0:
        positive = [v for v in known if v > 0]
        low = min(positive, default=1.0) / 2
        high = max(high, 2 * low)
    low = low if explicit_low is None else explicit_low
    high = high if explicit_high is None else explicit_high
    if low < high and (low > 0 or look.scale != "log"):
        axes.set_ylim(low, high)
