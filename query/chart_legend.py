"""The legend of a chart: a row a line with its statistics, below the plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from query.chart_style import Theme, rgba
from query.heatmap import Heatmap, heatmap, shade_text
from query.params import Look
from tocsin.model.asl.graph import Graph, GraphLine
from tocsin.model.asl.units import decimal_text

_ROW_PX = 15
_HEAD_PX = 16
_MARGIN_PX = 8
_SWATCH_PX = 10
_SWATCH_CHARS = 5
_FONT = 7.0
_CHAR_PX = 5.9
_MAX_ROWS = 60
_COLUMNS = (("max", "min", "avg", "last", "total", "count"), ("max", "min", "avg", "last"), ("avg", "last"))
_STAT_CHARS = 8
_LABEL_CHARS_MIN = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its swatches, each with what it stands for, the text of the row, and the statistics as text."""

    colours: tuple[str, ...]
    label: str
    stats: str
    meanings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LegendLayout:
    """Rows and the height that they take."""

    head: str
    rows: tuple[Row, ...]
    height_px: int


def layout(graph: Graph, look: Look) -> LegendLayout:
    """Rows for all lines up to a limit, for remarks, and for what is not complete."""
    width = int((look.width - 2 * _MARGIN_PX - _SWATCH_PX - 8) / _CHAR_PX)
    columns = _columns(width) if look.legend_stats else ()
    label_width = max(_LABEL_CHARS_MIN, width - _STAT_CHARS * len(columns))
    lines = [line for line in graph.lines if line.line_style != "heatmap"]
    rows = [
        Row((line.colour,), shortened(line.label, label_width), "".join(_stat(line, name) for name in columns))
        for line in lines[:_MAX_ROWS]
    ]
    if len(lines) > _MAX_ROWS:
        rows.append(Row((), f"… {len(lines) - _MAX_ROWS} more lines", ""))
    heats = (heatmap(plot, look.axes[plot.axis], look.height) for plot in graph.plots)
    rows.extend(_shades(heat, width) for heat in heats if heat is not None)
    messages = [m for plot in graph.plots for m in plot.messages]
    rows.extend(Row((), shortened(text, width), "") for text in (*messages, *graph.notices))
    head = "".join(name.capitalize().rjust(_STAT_CHARS) for name in columns) if lines else ""
    height = _MARGIN_PX + (_HEAD_PX if head else 0) + _ROW_PX * len(rows)
    return LegendLayout(head, tuple(rows), height)


def shortened(text: str, width: int) -> str:
    """A text in at most `width` characters, cut in its middle, where long names differ least."""
    if len(text) <= width:
        return text
    keep = width - 1
    return text[: keep - keep // 2] + "…" + text[len(text) - keep // 2 :]


def _shades(heat: Heatmap, width: int) -> Row:
    """What the shades of a heat map stand for; only the ends where there is no room for all."""
    meanings = [shade_text(low, high) for low, high in zip(heat.bounds, heat.bounds[1:], strict=False)]
    if sum(len(text) + _SWATCH_CHARS for text in meanings) > width:
        meanings = [meanings[0], *[""] * (len(meanings) - 2), meanings[-1]] if len(meanings) > 1 else meanings
    return Row(heat.shades, heat.label, "", tuple(meanings))


def _columns(width: int) -> tuple[str, ...]:
    """The statistics that leave room for a label."""
    return next((names for names in _COLUMNS if width - _STAT_CHARS * len(names) >= _LABEL_CHARS_MIN), ())


def _stat(line: GraphLine, name: str) -> str:
    text = str(line.stats.count) if name == "count" else decimal_text(line.stats.sort_key(name))
    return text.rjust(_STAT_CHARS)


def write(figure: Figure, legend: LegendLayout, theme: Theme, width: int, height: float) -> None:
    """Put the rows at the bottom of the picture."""
    y = legend.height_px - _MARGIN_PX
    right = 1 - _MARGIN_PX / width
    style: dict[str, Any] = {"fontsize": _FONT, "family": "DejaVu Sans Mono", "va": "center"}
    if legend.head:
        y -= _HEAD_PX // 2
        figure.text(right, y / height, legend.head, color=theme.faint, ha="right", **style)
        y -= _HEAD_PX // 2
    for row in legend.rows:
        y -= _ROW_PX // 2
        left: float = _MARGIN_PX
        for colour, meaning in zip(row.colours, row.meanings or ("",) * len(row.colours), strict=True):
            _swatch(figure, theme, colour, (left / width, (y - _SWATCH_PX / 2) / height), (width, height))
            left += _SWATCH_PX + (6 if meaning or not row.meanings else 2)
            figure.text(left / width, y / height, meaning, color=theme.text, ha="left", **style)
            left += len(meaning) * _CHAR_PX + (10 if meaning else 0)
        figure.text(left / width, y / height, row.label, color=theme.text, ha="left", **style)
        if row.stats:
            figure.text(right, y / height, row.stats, color=theme.text, ha="right", **style)
        y -= _ROW_PX - _ROW_PX // 2


def _swatch(figure: Figure, theme: Theme, colour: str, at: tuple[float, float], size: tuple[float, float]) -> None:
    box = Rectangle(
        at,
        _SWATCH_PX / size[0],
        _SWATCH_PX / size[1],
        facecolor=rgba(colour),
        edgecolor=theme.faint,
        linewidth=0.4,
        transform=figure.transFigure,
    )
    figure.add_artist(box)
