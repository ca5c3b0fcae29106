"""Lines of charts: lines, areas, stacks, spans, heat maps, and the band around earlier weeks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from query.chart_style import Theme, rgba
from query.heatmap import Heatmap
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.graph import GraphLine
from tocsin.model.asl.lines import Floats
from tocsin.model.asl.text import parse_double

_DASHES = (4, 2)


def _steps(days: Floats, values: Floats, step: float) -> tuple[Floats, Floats]:
    """Points of a staircase: each value holds from one step before its time up to it."""
    edges = np.concatenate([[days[0] - step], days])
    return edges, np.concatenate([values[:1], values])


@dataclass(frozen=True, slots=True)
class Drawn:
    """What bounds must allow for: whether any line is filled, lowest and highest value of a band and of a heat map."""

    filled: bool
    band: tuple[float, ...] = ()
    heat: tuple[float, ...] = ()


def draw_lines(axes: Axes, lines: Sequence[GraphLine], days: Floats, step: float) -> bool:
    """Draw all lines of an axis; tells whether any is filled."""
    above = np.zeros(len(days))
    filled = False
    for line in lines:
        if line.line_style == "vspan":
            _span(axes, line, days, step)
        elif line.line_style in ("area", "stack"):
            filled = True
            top = np.nan_to_num(line.values) + (above if line.line_style == "stack" else 0.0)
            bottom = above if line.line_style == "stack" else np.zeros(len(days))
            _fill(axes, line, days, step, bottom, top)
            above = top if line.line_style == "stack" else above
        elif line.line_style == "line":
            x, y = _steps(days, line.values, step)
            style = (0, _DASHES) if line.offset_ms else "-"
            width = line.style.line_width + (0.2 if not line.offset_ms else 0.0)
            axes.plot(x, y, drawstyle="steps-pre", color=rgba(line.colour), linewidth=width, linestyle=style)
            _lone_points(axes, line, days)
    return filled


def _lone_points(axes: Axes, line: GraphLine, days: Floats) -> None:
    """Mark values with no neighbour, which a line alone would not show."""
    there = np.concatenate([[False], ~np.isnan(line.values), [False]])
    lone = there[1:-1] & ~there[:-2] & ~there[2:]
    if lone.any():
        axes.plot(days[lone], line.values[lone], ".", color=rgba(line.colour), markersize=3)


def _fill(axes: Axes, line: GraphLine, days: Floats, step: float, bottom: Floats, top: Floats) -> None:
    x, upper = _steps(days, np.where(np.isnan(line.values), np.nan, top), step)
    _, lower = _steps(days, bottom, step)
    axes.fill_between(x, lower, upper, step="pre", color=rgba(line.colour), linewidth=0)


def _span(axes: Axes, line: GraphLine, days: Floats, step: float) -> None:
    """Shade each run of values that are not 0."""
    on = np.concatenate([[False], ~np.isnan(line.values) & (np.abs(line.values) >= 1e-12), [False]])
    starts = np.flatnonzero(~on[:-1] & on[1:])
    ends = np.flatnonzero(on[:-1] & ~on[1:])
    red, green, blue, alpha = rgba(line.colour)
    for first, last in zip(starts, ends, strict=True):
        axes.axvspan(
            days[first] - step, days[last - 1], color=(red, green, blue), alpha=min(alpha, 0.45), linewidth=0, zorder=1
        )


def draw_heatmap(axes: Axes, heat: Heatmap, days: Floats, step: float) -> None:
    """Shade each cell of time and height by its count."""
    colours = np.array([rgba(shade) for shade in heat.shades])
    cells = colours[heat.shade_of(heat.counts)]
    cells[heat.counts == 0, 3] = 0.0
    edges = np.concatenate([[days[0] - step], days])
    axes.pcolormesh(edges, heat.edges, cells.transpose(1, 0, 2), shading="flat", zorder=1, linewidth=0)


def draw_band(axes: Axes, lines: Sequence[GraphLine], days: Floats, band: str, theme: Theme) -> tuple[float, ...]:
    """Shade around lines of an earlier time: `minmax` between the lowest and the highest of them, or a share (0.2 is
    20 %) around their mean. Gives its lowest and highest value."""
    shifted = np.array([line.values for line in lines if line.offset_ms and line.line_style == "line"])
    share = parse_double(band)
    if band != "minmax" and (share is None or not 0 < share <= 1):
        raise AslError(f"band must be minmax or a share above 0 and up to 1, not '{band}'")
    if not len(shifted) or np.isnan(shifted).all():
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        if share is None:
            low, high = np.nanmin(shifted, axis=0), np.nanmax(shifted, axis=0)
        else:
            mean = np.nanmean(shifted, axis=0)
            low, high = mean - np.abs(mean) * share, mean + np.abs(mean) * share
    step = days[1] - days[0] if len(days) > 1 else 1.0
    x, lower = _steps(days, low, step)
    _, upper = _steps(days, high, step)
    axes.fill_between(x, lower, upper, step="pre", color=theme.band, alpha=0.22, linewidth=0, zorder=1.5)
    return float(np.nanmin(low)), float(np.nanmax(high))
