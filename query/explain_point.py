"""One point of a line of heartbeat metrics: what it shows, of which heartbeats, in which minutes.

A line can be explained where its value is a formula over sums of stored parts: a ratio word, a counter, a part. What is
computed on top of that (`:topk-others-sum`, `:des`, arithmetic) has no heartbeats of its own and is refused, naming the
lines that can be explained instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from query.conditions import decide
from query.families import FAMILIES
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.filter_expr import Filter
from tocsin.model.asl.graph import OFFSET_TAG, GraphLine, GraphRequest, draw
from tocsin.model.asl.lines import Tags
from tocsin.model.asl.math_expr import SetTag
from tocsin.model.asl.named import NamedRewrite
from tocsin.model.asl.query_expr import Equal, NoneOf, Query
from tocsin.model.asl.series_expr import AggregateExpr, GroupedData, SeriesExpr
from tocsin.model.asl.source import Limits, SeriesSource
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.times import parse_duration, parse_point, parse_zone, round_step
from tocsin.model.catalogue import MEASURES, METRICS, WORDS, Combination, Definition, Metric
from tocsin.model.tags import TAG_KEYS

LINES_NAMED_MAX = 10
_COLUMNS = frozenset(TAG_KEYS)
_NOW = "0w"


@dataclass(frozen=True, slots=True)
class Formula:
    """How a value is made from sums of parts. `definition` without a denominator is a rate: its sum by the second."""

    metric: Metric | None
    name: str
    unit: str
    doc: str
    choice: str
    definition: Definition

    @property
    def parts(self) -> tuple[str, ...]:
        """All parts, those of the numerator first."""
        of = self.definition
        return tuple(dict.fromkeys((*of.numerator, *of.denominator, *of.mean)))

    def value(self, sums: Mapping[str, float], seconds: float) -> float:
        """The value of these sums over so many seconds; NaN where the denominator is 0."""
        of = self.definition
        top = _total(of.numerator, sums)
        if not of.denominator:
            return of.scale * top / seconds
        bottom = _total(of.denominator, sums)
        if bottom == 0:
            return math.nan
        if of.form == "ratio":
            return of.scale * top / bottom
        return of.scale * math.sqrt(max(top / bottom - (_total(of.mean, sums) / bottom) ** 2, 0.0))


def _total(parts: Combination, sums: Mapping[str, float]) -> float:
    return sum(factor * sums[part] for part, factor in parts.items())


@dataclass(frozen=True, slots=True)
class Point:
    """A point to explain: `value` at `at_ms` is `formula` over the heartbeats that `query` takes by their tags, of the
    minutes from `start_ms` to `end_ms` (epoch ms, end excluded; earlier than the point where the line is offset)."""

    at_ms: int
    step_ms: int
    value: float
    program: str
    tags: Tags
    formula: Formula
    query: Query
    start_ms: int
    end_ms: int


def find_point(
    q: str,
    at: str,
    step: str | None,
    chosen: Mapping[str, str],
    interpreter: Interpreter,
    source: SeriesSource,
    now_ms: int,
    limits: Limits,
) -> Point:
    """The point of expression `q` whose step holds the time `at`, of the line that has the tags `chosen`.

    Raises `AslError` where the expression has several such lines or none, or one that is no formula over parts.
    """
    wanted = parse_point(at, parse_zone("UTC"), {}, now_ms)
    primary = source.primary_step_ms
    step_ms = primary if step is None else round_step(primary, parse_duration(step))
    at_ms = -(-wanted // step_ms) * step_ms
    request = GraphRequest(q, start=str(at_ms - step_ms), end=str(at_ms), step=f"{step_ms // 1000}s")
    line = _choose(draw(request, interpreter, source, now_ms, limits).lines, chosen, q)
    formula, query = _formula(line.style.expr, line.tags)
    end_ms = at_ms - -(-_offset_ms(line.style.expr) // step_ms) * step_ms
    return Point(
        at_ms,
        step_ms,
        float(line.values[-1]),
        str(line.style.expr),
        line.tags,
        formula,
        query,
        end_ms - step_ms,
        end_ms,
    )


def _choose(lines: Sequence[GraphLine], chosen: Mapping[str, str], q: str) -> GraphLine:
    found = [line for line in lines if all(line.tags.get(key) == value for key, value in chosen.items())]
    if OFFSET_TAG not in chosen and len(found) > 1:
        found = [line for line in found if line.tags[OFFSET_TAG] == _NOW] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise AslError(f"'{q}' has no line with {_text(chosen)} at this time; its lines: {_list(lines)}")
    raise AslError(f"'{q}' has {len(found)} lines at this time; choose one by tag=KEY=VALUE: {_list(found)}")


def _list(lines: Sequence[GraphLine]) -> str:
    """The tags by which lines differ, line by line."""
    shared = set.intersection(*(set(line.tags.items()) for line in lines)) if len(lines) > 1 else set()
    named = "; ".join(_text(dict(line.tags.items() - shared)) for line in lines[:LINES_NAMED_MAX])
    return f"{named}; …" if len(lines) > LINES_NAMED_MAX else named


def _text(tags: Tags) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def _offset_ms(expr: SeriesExpr) -> int:
    return max((leaf.offset for leaf in expr.data_exprs), default=0)


def _formula(expr: SeriesExpr, tags: Tags) -> tuple[Formula, Query]:
    """What a line shows and the query that takes its heartbeats."""
    while isinstance(expr, Filter | SetTag):
        expr = expr.expr
    grouped = [Equal(key, tags[key]) for key in expr.grouping]
    if isinstance(expr, NamedRewrite) and expr.name in WORDS and isinstance(expr.shown, Query):
        metric = WORDS[expr.name]
        choice = str(expr.parameters[0]) if expr.parameters else next(iter(metric.definitions))
        formula = Formula(metric, metric.name, metric.unit, metric.doc, choice, metric.definitions[choice])
        return formula, _all_of(expr.shown, grouped)
    aggregate = expr.aggregate if isinstance(expr, GroupedData) else expr
    if isinstance(aggregate, AggregateExpr) and aggregate.kind == "sum" and aggregate.consolidation == "avg":
        counter = _counter(_all_of(aggregate.query, grouped))
        if counter is not None:
            return counter
    lines = ", ".join(f"'{leaf}'" for leaf in expr.data_exprs) or "none"
    raise AslError(
        f"'{expr}' is neither a ratio of the catalogue nor the sum of one counter, so no heartbeats sum to it;"
        f" what it is computed from: {lines}; explain a ratio by its word, as ':true,:rebuffer-ratio'"
    )


def _all_of(query: Query, conditions: Sequence[Query]) -> Query:
    for condition in conditions:
        query = query.and_(condition)
    return query


def _counter(query: Query) -> tuple[Formula, Query] | None:
    """The formula of the one counter that a query takes, and its conditions on tags of heartbeats; None where it takes
    none, several, or a series of another kind."""
    taken = [(f, decide(query, f.fixed, _COLUMNS | {"percentile"} if f.histogram else _COLUMNS)) for f in FAMILIES]
    found = [(family, condition) for family, condition in taken if not isinstance(condition, NoneOf)]
    if len(found) != 1:
        return None
    family, condition = found[0]
    if family.is_max or family.histogram:
        return None
    metric = METRICS.get(family.name)
    if metric is not None and metric.kind == "counter":
        definition = Definition(metric.parts, {}, metric.scale)
        return Formula(metric, family.name, metric.unit, metric.doc, "", definition), condition
    measure = MEASURES.get(family.parts[0])
    unit, doc = (measure.unit, measure.doc) if measure else ("1", "of session-minutes, for the tests of alerting")
    definition = Definition(dict.fromkeys(family.parts, 1.0), {}, family.scale)
    return Formula(metric, family.name, f"{unit}/s", doc, "", definition), condition
