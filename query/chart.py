"""Charts as PNG: one picture of a graph, drawn by matplotlib without a display.

The picture has the asked width and the plot area the asked height, in pixels; title, time and legend come on top of
it, but where the layout fixes the height of the picture: there is no legend then. A point's value holds for the step
before it, so lines are drawn as steps. Lines of an earlier time are dashed, with a band around them where asked for;
spans (`:vspan`) are shaded, and so are points that are not complete yet.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import threading
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from query import chart_legend
from query.chart_axes import dress_axis, twin_axes
from query.chart_lines import Drawn, draw_band, draw_heatmap, draw_lines
from query.chart_style import THEMES, Theme
from query.chart_times import dress_time, name_zones
from query.heatmap import drawable, heatmap
from query.params import Look
from tocsin.model.asl.graph import Graph, GraphRequest
from tocsin.model.asl.text import substitute

DPI = 100
_TITLE_PX = 26
_TIME_LABELS_PX = 34
_ZONE_PX = 34
_EDGE_PX = 10
_AXIS_PX = 58
_EXTRA_AXIS_PX = 46
_MIN_PLOT_PX = 40
_SIDE_SHARE = 0.3
# Text rendering of the library is not safe to use from several threads at once.
DRAWING = threading.Lock()
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "path.simplify": True,
    "agg.path.chunksize": 20_000,
}


def draw_chart(graph: Graph, request: GraphRequest, look: Look) -> bytes:
    """The graph as PNG; `zoom` 2 gives twice the pixels for the same picture."""
    with DRAWING, mpl.rc_context(_STYLE):
        figure = _figure(graph, request, look)
        out = io.BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(out, format="png", dpi=DPI * look.zoom)
    return out.getvalue()


def _figure(graph: Graph, request: GraphRequest, look: Look) -> Figure:
    theme = THEMES[request.theme]
    fixed = look.layout in ("image", "ih")
    legend = chart_legend.layout(graph, look) if look.legend and not (look.only_graph or fixed) else None
    title = _title(graph, look)
    top = _EDGE_PX + (_TITLE_PX if title else 0)
    times = _TIME_LABELS_PX + _ZONE_PX * (len(request.zones) - 1)
    bottom = (times if not look.only_graph else _EDGE_PX) + (legend.height_px if legend else 0)
    height = max(look.height, top + bottom + _MIN_PLOT_PX) if fixed else look.height + top + bottom
    figure = Figure(figsize=(look.width / DPI, height / DPI), dpi=DPI, facecolor=theme.background)
    plots = graph.plots or ()
    right: float = _EDGE_PX + (_AXIS_PX - _EDGE_PX if len(plots) > 1 else 10) + _EXTRA_AXIS_PX * max(0, len(plots) - 2)
    left = min(_AXIS_PX, look.width * _SIDE_SHARE) if not look.only_graph else min(_EDGE_PX, look.width * _SIDE_SHARE)
    right = min(right, look.width * _SIDE_SHARE)
    box = (left / look.width, bottom / height, 1 - (left + right) / look.width, 1 - (top + bottom) / height)
    axes = figure.add_axes(box)
    _draw(axes, graph, look, theme)
    if len(request.zones) > 1 and not look.only_graph:
        name_zones(axes, request.zones, graph.grid.end_ms, theme, _ZONE_PX / DPI * 72)
    if title:
        figure.text(
            0.5, 1 - (top - 8) / height, title, color=theme.text, fontsize=9, weight="bold", ha="center", va="bottom"
        )
    if legend:
        chart_legend.write(figure, legend, theme, look.width, height)
    return figure


def _title(graph: Graph, look: Look) -> str | None:
    if look.title is None or look.only_graph:
        return None
    shared = set(graph.lines[0].tags.items()) if graph.lines else set()
    for line in graph.lines[1:]:
        shared &= set(line.tags.items())
    return substitute(look.title, dict(shared))


def _draw(first: Axes, graph: Graph, look: Look, theme: Theme) -> None:
    grid = graph.grid
    times = np.arange(grid.first_ms, grid.end_ms + 1, grid.step_ms) / 1000.0
    days = times / 86_400.0
    start, end = grid.start_ms / 86_400_000.0, grid.end_ms / 86_400_000.0
    step = grid.step_ms / 86_400_000.0
    all_axes = twin_axes(first, len(graph.plots), _EXTRA_AXIS_PX / DPI * 72)
    for i, (axes, plot) in enumerate(zip(all_axes, graph.plots, strict=False)):
        own = look.axes[plot.axis]
        colour = plot.lines[0].colour if len(graph.plots) > 1 and plot.lines else None
        lines = [dataclasses.replace(line, values=drawable(line.values)) for line in plot.lines]
        filled = draw_lines(axes, lines, days, step)
        band = draw_band(axes, lines, days, look.band, theme) if look.band is not None else ()
        heat = heatmap(plot, own, look.height)
        if heat is not None:
            draw_heatmap(axes, heat, days, step)
        reach = () if heat is None else (heat.edges[0], heat.edges[-1])
        dress_axis(axes, own, plot, theme, colour, Drawn(filled, band, reach), main=i == 0)
    if graph.incomplete_from_ms is not None:
        _shade_incomplete(first, graph.incomplete_from_ms / 86_400_000.0 - step, end, theme)
    if (graph.lines and all(np.isnan(line.values).all() for line in graph.lines)) or not graph.lines:
        first.text(0.5, 0.5, "no data", transform=first.transAxes, ha="center", va="center", color=theme.faint)
    _dress_time(first, start, end, grid.zone, look, theme)


def _shade_incomplete(axes: Axes, start: float, end: float, theme: Theme) -> None:
    axes.axvspan(start, end, facecolor=theme.incomplete, alpha=0.35, zorder=0, linewidth=0)
    axes.axvspan(start, end, facecolor="none", edgecolor=theme.faint, hatch="////", alpha=0.35, linewidth=0, zorder=0)


def _dress_time(axes: Axes, start: float, end: float, zone: dt.tzinfo, look: Look, theme: Theme) -> None:
    axes.set_xlim(start, end)
    axes.set_facecolor(theme.canvas)
    if look.only_graph:
        axes.axis("off")
        return
    dress_time(axes.xaxis, zone, look.width, theme)
    axes.grid(visible=True, axis="x", color=theme.grid, linewidth=0.5)
