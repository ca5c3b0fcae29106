"""Words that read data: which aggregate of the matching series, in which groups, how far back, how consolidated."""

from __future__ import annotations

from tocsin.model.asl.expr import Expr, rewritten
from tocsin.model.asl.named import expand
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.series_expr import AggregateExpr, AllSeries, GroupedData, SeriesExpr
from tocsin.model.asl.source import Aggregate, Consolidation
from tocsin.model.asl.vocabulary import AGGREGATE, DURATION, QUERY, SERIES, STRINGS, Param, Word, pure

GROUP = "data"
_Q = Param("q", QUERY)
_EXAMPLE = "name,qoe.sps,:eq"


def _aggregate(kind: Aggregate, doc: str) -> Word:
    def make(query: Query) -> AggregateExpr:
        return AggregateExpr(query, kind)

    return Word(kind, GROUP, (_Q,), "DataExpr", doc, pure(make), (_EXAMPLE,))


def _consolidation(cf: Consolidation, what: str) -> Word:
    def make(series: SeriesExpr) -> SeriesExpr:
        def change(node: Expr) -> Expr | None:
            return node.with_cf(cf) if isinstance(node, AggregateExpr) else None

        return rewritten(expand(series), change, SeriesExpr)

    doc = f"With a longer step, make one point of several by their {what}."
    params = (Param("expr", SERIES),)
    return Word(f"cf-{cf}", GROUP, params, "DataExpr", doc, pure(make), (_EXAMPLE, f"{_EXAMPLE},:max"))


WORDS = (
    Word(
        "all",
        GROUP,
        (_Q,),
        "DataExpr",
        "Every matching series by itself, with all its tags.",
        pure(AllSeries),
        (_EXAMPLE,),
    ),
    _aggregate("sum", "Sum of the matching series; a missing value counts as 0 unless all are missing."),
    _aggregate("count", "How many of the matching series have a value."),
    _aggregate("min", "Smallest value of the matching series."),
    _aggregate("max", "Largest value of the matching series."),
    Word(
        "by",
        GROUP,
        (Param("af", AGGREGATE), Param("keys", STRINGS)),
        "DataExpr",
        "One line for each combination of the keys' values; series without one of the keys are left out.",
        pure(GroupedData),
        ("name,qoe.sps,:eq,(,device,)", "name,qoe.sps,:eq,:max,(,cdn,device,)"),
    ),
    Word(
        "offset",
        GROUP,
        (Param("", SERIES), Param("dur", DURATION)),
        "TimeSeriesExpr",
        "Read data of an earlier time and show them at this one: week over week is `:dup,1w,:offset`.",
        pure(lambda series, ms: series.with_offset(ms)),
        ("name,qoe.sps,:eq,(,device,),:by,1w", "name,qoe.sps,:eq,:max,PT1H"),
        keeps_style=True,
    ),
    _consolidation("avg", "average"),
    _consolidation("sum", "sum"),
    _consolidation("min", "minimum"),
    _consolidation("max", "maximum"),
)
