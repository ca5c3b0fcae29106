"""The legend of a chart: a row a line with its statistics, below the plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from query.chart_style import Theme, rgba
from query.params import Look
from tocsin.model.asl.graph import Graph, GraphLine
from tocsin.model.asl.units import decimal_text

_ROW_PX = 15
_HEAD_PX = 16
_MARGIN_PX = 8
_SWATCH_PX = 10
_FONT = 7.0
_CHAR_PX = 5.9
_MAX_ROWS = 60
_STATS = ("max", "min", "avg", "last", "total")
_STAT_CHARS = 9
_COUNT_CHARS = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a swatch (None: none), its text, and the statistics as text."""

    colour: str | None
    label: str
    stats: str


@dataclass(frozen=True, slots=True)
class LegendLayout:
    """Rows and the height that they take."""

    head: str
    rows: tuple[Row, ...]
    height_px: int


def layout(graph: Graph, look: Look) -> LegendLayout:
    """Rows for all lines up to a limit, for remarks, and for what is not complete."""
    width = int((look.width - 2 * _MARGIN_PX - _SWATCH_PX - 8) / _CHAR_PX)
    stats_width = _STAT_CHARS * len(_STATS) + _COUNT_CHARS if look.legend_stats else 0
    label_width = max(10, width - stats_width)
    lines = graph.lines
    rows = [
        Row(line.colour, shortened(line.label, label_width), _stats(line) if look.legend_stats else "")
        for line in lines[:_MAX_ROWS]
    ]
    if len(lines) > _MAX_ROWS:
        rows.append(Row(None, f"… {len(lines) - _MAX_ROWS} more lines", ""))
    messages = [m for plot in graph.plots for m in plot.messages]
    rows.extend(Row(None, shortened(text, width), "") for text in (*messages, *graph.notices))
    head = ""
    if look.legend_stats and lines:
        head = "".join(name.capitalize().rjust(_STAT_CHARS) for name in _STATS) + "Count".rjust(_COUNT_CHARS)
    height = _MARGIN_PX + (_HEAD_PX if head else 0) + _ROW_PX * len(rows)
    return LegendLayout(head, tuple(rows), height)


def shortened(text: str, width: int) -> str:
    """A text in at most `width` characters, cut in its middle, where long names differ least."""
    if len(text) <= width:
        return text
    keep = width - 1
    return text[: keep - keep // 2] + "…" + text[len(text) - keep // 2 :]


def _stats(line: GraphLine) -> str:
    values = "".join(decimal_text(line.stats.sort_key(name)).rjust(_STAT_CHARS) for name in _STATS)
    return values + str(line.stats.count).rjust(_COUNT_CHARS)


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
        left = _MARGIN_PX
        if row.colour is not None:
            box = Rectangle(
                (left / width, (y - _SWATCH_PX / 2) / height),
                _SWATCH_PX / width,
                _SWATCH_PX / height,
                facecolor=rgba(row.colour),
                edgecolor=theme.faint,
                linewidth=0.4,
                transform=figure.transFigure,
            )
            figure.add_artist(box)
            left += _SWATCH_PX + 6
        figure.text(left / width, y / height, row.label.replace("$", r"\$"), color=theme.text, ha="left", **style)
        if row.stats:
            figure.text(right, y / height, row.stats, color=theme.text, ha="right", **style)
        y -= _ROW_PX - _ROW_PX // 2
