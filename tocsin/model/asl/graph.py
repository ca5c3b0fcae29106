"""A graph: expressions, a range and a step, to lines with legends, statistics, colours and an order.

The range is (start, end]: the first point shown covers the step after the start. Evaluation takes one point more
before it, which words that look back see.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.evaluate import load
from tocsin.model.asl.legends import with_legends
from tocsin.model.asl.lines import Floats, Head, Lines, Stats, Tags, summarize
from tocsin.model.asl.palettes import Palettes
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.series_expr import EvalContext
from tocsin.model.asl.source import Limits, SeriesSource
from tocsin.model.asl.stack import Interpreter, value_text
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.times import format_duration, parse_duration, parse_range, parse_zone, round_step, step_for_width
from tocsin.model.asl.units import binary_text, decimal_text
from tocsin.model.asl.vocabulary import MISS, STYLED
from tocsin.model.asl.words.query import common_query

MAX_AXES = 5
MAX_POINTS_OF_A_LINE = 1_440
SORT_MODES = ("legend", "min", "max", "avg", "count", "total", "last")
OFFSET_TAG = "atlas.offset"


@dataclass(frozen=True, slots=True)
class AxisSettings:
    """What a request says of one value axis."""

    palette: str | None = None
    stack: bool = False
    sort: str | None = None
    descending: bool = False
    binary_units: bool = False
    heatmap_palette: str | None = None


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """A graph as it is asked for; times are texts in the grammar of `times.py`."""

    q: str
    start: str = "e-3h"
    end: str = "now"
    step: str | None = None
    zones: tuple[str, ...] = ("UTC",)
    width: int = 700
    theme: str = "light"
    palette: str | None = None
    cq: str | None = None
    axes: Mapping[int, AxisSettings] = field(default_factory=dict)

    def axis(self, number: int) -> AxisSettings:
        """The settings of an axis; refused where there is no such axis."""
        if not 0 <= number < MAX_AXES:
            raise AslError(f"invalid axis: {number}; axes are 0 to {MAX_AXES - 1}")
        return self.axes.get(number, AxisSettings())


@dataclass(frozen=True, slots=True)
class Grid:
    """Range and step after rounding: points are shown at start_ms + step_ms, … end_ms."""

    start_ms: int
    end_ms: int
    step_ms: int
    zone: dt.tzinfo

    @property
    def first_ms(self) -> int:
        """The first point shown."""
        return self.start_ms + self.step_ms


def make_grid(request: GraphRequest, primary_step_ms: int, now_ms: int, *, cap_width: bool = True) -> Grid:
    """Round range and step of a request; with `cap_width` a line has at most as many points as pixels."""
    zones = [parse_zone(z) for z in request.zones]
    start, end = parse_range(request.start, request.end, zones[0], now_ms)
    step = primary_step_ms
    if request.step is not None:
        step = round_step(primary_step_ms, parse_duration(request.step))
    if cap_width:
        step = step_for_width(step, min(MAX_POINTS_OF_A_LINE, request.width), start, end, primary_step_ms)
    first, last = start // step * step, end // step * step
    return Grid(first - step if first == last else first, last, step, zones[0])


def parse_exprs(request: GraphRequest, interpreter: Interpreter) -> list[StyleExpr]:
    """Run the program of a request and give its expressions, oldest first, with legends."""
    common = None if request.cq is None else _parse_query(request.cq, interpreter)
    exprs: list[StyleExpr] = []
    for value in interpreter.run(request.q, {"tz": request.zones[0]}):
        restricted = value if common is None else common_query(value, common)
        styled = STYLED(restricted)
        if styled is MISS:
            kind = "String" if isinstance(value, str) else type(value).__name__
            raise AslError(f"expecting time series expr, found {kind} '{value_text(value)}'")
        exprs.extend(styled.per_offset())
    return with_legends(exprs)


def _parse_query(text: str, interpreter: Interpreter) -> Query:
    words = interpreter.vocabulary.groups("std", "query")
    stack = Interpreter(words).run(text)
    if len(stack) == 1 and isinstance(stack[0], Query):
        return stack[0]
    raise AslError(f"invalid cq parameter: {text}; it must be one query")


@dataclass(frozen=True, slots=True)
class LineStats:
    """Statistics of one line over the points shown."""

    count: int
    avg: float
    total: float
    max: float
    min: float
    last: float

    def sort_key(self, mode: str) -> float:
        """The value that a sort mode compares."""
        return float(getattr(self, mode))


@dataclass(frozen=True, slots=True)
class GraphLine:
    """One line as shown: `values` are the points shown, `tags` those of the output, `colour` is ARGB in hex."""

    label: str
    tags: Tags
    values: Floats
    stats: LineStats
    style: StyleExpr
    line_style: str
    colour: str
    offset_ms: int

    @property
    def query(self) -> str:
        """The program of the line's expression."""
        return str(self.style)


@dataclass(frozen=True, slots=True)
class Plot:
    """The lines of one value axis."""

    axis: int
    lines: tuple[GraphLine, ...]
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph ready to be written in any format."""

    grid: Grid
    plots: tuple[Plot, ...]
    notices: tuple[str, ...]
    incomplete_from_ms: int | None

    @property
    def lines(self) -> list[GraphLine]:
        """All lines, axis by axis."""
        return [line for plot in self.plots for line in plot.lines]


def draw(
    request: GraphRequest, interpreter: Interpreter, source: SeriesSource, now_ms: int, limits: Limits | None = None
) -> Graph:
    """Evaluate a request into a graph."""
    exprs = parse_exprs(request, interpreter)
    grid = make_grid(request, source.primary_step_ms, now_ms)
    context = EvalContext(grid.start_ms, grid.end_ms + grid.step_ms, grid.step_ms, now_ms)
    by_axis: dict[int, list[StyleExpr]] = {}
    for styled in exprs:
        request.axis(styled.axis)
        by_axis.setdefault(styled.axis, []).append(styled)
    loaded = load([e.expr for e in exprs], context, source, limits or Limits())
    palettes = Palettes(request.theme, request.palette)
    warnings: list[str] = []
    plots = [
        _plot(axis, by_axis[axis], request.axis(axis), loaded.context, palettes, warnings) for axis in sorted(by_axis)
    ]
    notices = tuple(dict.fromkeys((*warnings, *loaded.notices)))
    return Graph(grid, tuple(plots), notices, loaded.incomplete_from_ms)


def _plot(
    axis: int,
    exprs: Sequence[StyleExpr],
    settings: AxisSettings,
    context: EvalContext,
    palettes: Palettes,
    warnings: list[str],
) -> Plot:
    default_style = "stack" if settings.stack else "line"
    base = palettes.of_axis(settings.palette)
    messages: tuple[str, ...] = ()
    lines: list[GraphLine] = []
    for styled in exprs:
        result = styled.expr.eval(context)
        messages = result.messages[:1] or messages
        choose = palettes.of_expr(styled, base)
        made = _lines_of(styled, result, settings, default_style)
        coloured = [palettes.coloured(axis, line, choose, settings.heatmap_palette) for line in made]
        ordered = _ordered(coloured, styled.get("sort"), styled.get("order") == "desc", warnings)
        lines.extend(ordered if styled.limit is None else ordered[: max(0, styled.limit)])
    lines = _ordered(lines, settings.sort, settings.descending, warnings)
    return Plot(axis, tuple(lines), tuple(f"... {m} ..." for m in messages))


def _lines_of(styled: StyleExpr, result: Lines, settings: AxisSettings, default_style: str) -> list[GraphLine]:
    shown = result.values[:, 1:]
    stats = summarize(shown)
    offset = format_duration(styled.offset_ms)
    style = (styled.get("ls") or default_style).lower()
    if style not in ("line", "area", "stack", "vspan", "heatmap"):
        raise AslError(f"unknown line style '{style}': it is line, area, stack, vspan or heatmap")
    lines = []
    for i, head in enumerate(result.heads):
        own = _stats_of(stats, i)
        tags = {**head.tags, OFFSET_TAG: offset}
        text = binary_text if settings.binary_units else decimal_text
        legend_tags = {**tags, **{f"atlas.{s}": text(own.sort_key(s)) for s in ("avg", "max", "min", "last", "total")}}
        label = styled.legend(_label_of(head), legend_tags) or head.text
        lines.append(GraphLine(label, tags, shown[i], own, styled, style, "", styled.offset_ms))
    return sorted(lines, key=lambda line: line.label)


def _label_of(head: Head) -> Callable[[], str]:
    return lambda: head.text


def _stats_of(stats: Stats, i: int) -> LineStats:
    return LineStats(
        int(stats.count[i]),
        float(stats.avg[i]),
        float(stats.total[i]),
        float(stats.maximum[i]),
        float(stats.minimum[i]),
        float(stats.last[i]),
    )


def _ordered(lines: Sequence[GraphLine], mode: str | None, descending: bool, warnings: list[str]) -> list[GraphLine]:
    """Sort lines; by default they stay. Lines without a value come last in either direction."""
    by = mode or ("legend" if descending else None)
    if by is None:
        return list(lines)
    if by not in SORT_MODES:
        warnings.append(f"Invalid sort mode '{by}'. Using default of 'legend'.")
        by = "legend"
    if by == "legend":
        return _descending(lines) if descending else sorted(lines, key=lambda line: line.label)
    sign = -1.0 if descending else 1.0
    keys = [line.stats.sort_key(by) for line in lines]
    order = sorted(range(len(lines)), key=lambda i: (np.isnan(keys[i]), 0.0 if np.isnan(keys[i]) else sign * keys[i]))
    return [lines[i] for i in order]


def _descending(lines: Sequence[GraphLine]) -> list[GraphLine]:
    return sorted(lines, key=lambda line: line.label, reverse=True)
