"""Words that are made of others: averages, spread, trigonometry, and what a distribution holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tocsin.model.asl.buckets import LAST_BOUND, bucket_tag, index_of
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.named import NamedRewrite
from tocsin.model.asl.query_expr import And, GreaterEqual, LessEqual, Or, Query
from tocsin.model.asl.series_expr import AggregateExpr, AllSeries, DataExpr, GroupedData, SeriesExpr
from tocsin.model.asl.sketches import PERCENTILE, DistinctCount, Percentiles, as_sum
from tocsin.model.asl.vocabulary import DATA, DOUBLE, DOUBLES, MISS, QUERY, SERIES, Param, Value, Word, macro, pure

if TYPE_CHECKING:
    from tocsin.model.asl.stack import Machine

GROUP = "math"
_T = Param("", SERIES)
_Q = Param("q", QUERY)
_EXAMPLE = "name,qoe.sps,:eq"
_GROUPED = f"{_EXAMPLE},(,device,),:by"
_TIMER = "name,qoe.startup,:eq"


def _macro(name: str, body: str, doc: str, *examples: str, param: Param = _T) -> Word:
    return macro(name, GROUP, body, (param,), "TimeSeriesExpr", doc, *examples)


def _percentiles(expr: DataExpr, wanted: tuple[float, ...]) -> Percentiles:
    if isinstance(expr, AggregateExpr):
        return Percentiles(GroupedData(as_sum(expr), (PERCENTILE,)), wanted)
    if isinstance(expr, GroupedData):
        return Percentiles(GroupedData(as_sum(expr.aggregate), (PERCENTILE, *expr.keys)), wanted)
    raise AslError(":percentiles can only be used with :sum and :by")


def _not_all_series(stack: Sequence[Value]) -> bool:
    return not isinstance(stack[-2], AllSeries)


def _has_groupable_data(stack: Sequence[Value]) -> bool:
    series = SERIES(stack[-1])
    if series is MISS:
        return False
    return bool(series.data_exprs) and not any(isinstance(e, AllSeries) for e in series.data_exprs)


def _bucket_range(prefix: str, low: float, high: float) -> Query:
    first, last = (index_of(int(min(v, LAST_BOUND))) for v in (low, high))
    return And(GreaterEqual(PERCENTILE, bucket_tag(prefix, first)), LessEqual(PERCENTILE, bucket_tag(prefix, last)))


def _sample_count(machine: Machine, values: Sequence[Any]) -> None:
    query, low, high = values
    if not 0 <= low < high:
        raise AslError(f"range of :sample-count must satisfy 0 <= min < max, not min={low} max={high}")
    either = Or(_bucket_range("D", low, high), _bucket_range("T", low * 1e9, high * 1e9))
    full: SeriesExpr = AggregateExpr(query.and_(either), "sum")
    machine.stack.append(NamedRewrite("sample-count", query, (low, high), full, machine.interpreter))


_SKETCHES = (
    Word(
        "percentiles",
        GROUP,
        (Param("", DATA), Param("percentiles", DOUBLES)),
        "TimeSeriesExpr",
        "Percentiles of a distribution that was published as counts by bucket (the tag `percentile`).",
        pure(_percentiles),
        (f"{_TIMER},(,25,50,90,)", f"{_TIMER},(,device,),:by,(,99,)"),
        fits=_not_all_series,
    ),
    Word(
        "approx-distinct",
        GROUP,
        (_T,),
        "TimeSeriesExpr",
        "How many distinct values there were, estimated from a sketch (the tag `distinct`).",
        pure(DistinctCount),
        ("name,viewers,:eq", "name,viewers,:eq,(,region,),:by"),
        fits=_has_groupable_data,
    ),
    Word(
        "sample-count",
        GROUP,
        (_Q, Param("min", DOUBLE), Param("max", DOUBLE)),
        "TimeSeriesExpr",
        "How many samples of a distribution lie in a range (timers: seconds), by whole buckets.",
        _sample_count,
        (f"{_TIMER},0,2",),
    ),
    _macro(
        "sample-count",
        ":dup,0,Infinity,:sample-count,sample-count,:named-rewrite",
        "How many samples a distribution has.",
        _TIMER,
        param=_Q,
    ),
    _macro("median", "(,50,),:percentiles", "The 50th percentile of a distribution.", _TIMER),
)

# N·Σx² − (Σx)² over N² is the variance from sums, so that it adds over series.
_SPREAD = (
    ":dup,0,:fadd,:dup,:count,:over,:dup,:mul,:sum,:mul,:over,:sum,:dup,:mul,:sub,:swap,:count,:dup,:mul,:div,:sqrt,"
    "stddev,:named-rewrite"
)
_DIST_SPREAD = (
    ":dup,statistic,count,:eq,:sum,statistic,totalOfSquares,:eq,:sum,:mul,"
    "statistic,(,totalAmount,totalTime,),:in,:sum,:dup,:mul,:sub,"
    "statistic,count,:eq,:sum,:dup,:mul,:div,:sqrt,:swap,:cq,dist-stddev,:named-rewrite"
)
_DIST_AVG = (
    ":dup,statistic,(,totalTime,totalAmount,),:in,:sum,statistic,count,:eq,:sum,:div,:swap,:cq,dist-avg,:named-rewrite"
)
_MACROS = (
    _macro(
        "avg",
        ":dup,:dup,:sum,:swap,:count,:div,avg,:named-rewrite",
        "Sum of the series divided by how many have a value.",
        _GROUPED,
        f"{_EXAMPLE},1h,:offset",
    ),
    _macro("stddev", _SPREAD, "Standard deviation over the series.", _GROUPED),
    _macro(
        "pct", ":dup,:dup,:sum,:div,100,:mul,pct,:named-rewrite", "Each line as a percentage of their sum.", _GROUPED
    ),
    _macro("dist-avg", _DIST_AVG, "Mean of a timer or distribution summary: total / count.", _TIMER, param=_Q),
    _macro(
        "dist-max",
        ":dup,statistic,max,:eq,:max,:swap,:cq,dist-max,:named-rewrite",
        "Maximum of a timer or distribution summary.",
        _TIMER,
        param=_Q,
    ),
    _macro("dist-stddev", _DIST_SPREAD, "Standard deviation of a timer or distribution summary.", _TIMER, param=_Q),
    _macro("cos", ":pi,2,:div,:swap,:sub,:sin", "Cosine.", "0"),
    _macro("tan", ":dup,:sin,:swap,:cos,:div", "Tangent.", "0"),
    _macro("cot", ":dup,:cos,:swap,:sin,:div", "Cotangent.", "1"),
    _macro("sec", "1,:swap,:cos,:div", "Secant.", "0"),
    _macro("csc", "1,:swap,:sin,:div", "Cosecant.", "1"),
)

WORDS = (*_SKETCHES, *_MACROS)
