"""Words that choose lines, and consolidation of lines that are there."""

from __future__ import annotations

from tocsin.model.asl.expr import DurationMs, Expr, rewritten
from tocsin.model.asl.filter_expr import Consolidate, Extreme, Filter, Stat, StatOfFiltered
from tocsin.model.asl.lines import STATISTICS
from tocsin.model.asl.series_expr import SeriesExpr
from tocsin.model.asl.vocabulary import CONSOLIDATION, DURATION, INT, SERIES, STRING, Param, Word, macro, pure

GROUP = "filter"
_T = Param("", SERIES)
_GROUPED = "name,qoe.sps,:eq,:sum,(,device,),:by"


def filtered(series: SeriesExpr, condition: SeriesExpr) -> Filter:
    """A filter whose condition speaks of the filtered lines where it says `:stat-max` and the like."""

    def change(node: Expr) -> Expr | None:
        return Stat(series, node.stat, str(node)) if isinstance(node, StatOfFiltered) else None

    return Filter(series, rewritten(condition, change, SeriesExpr))


def _of_filtered(stat: str) -> Word:
    def make() -> StatOfFiltered:
        return StatOfFiltered(stat)

    doc = f"Within a filter's condition: the {stat} of the filtered line."
    return Word(f"stat-{stat}", GROUP, (), "TimeSeriesExpr", doc, pure(make), ("", _GROUPED))


def _older(stat: str) -> Word:
    doc = f"The {stat} of a line, as `{stat},:stat`."
    return macro(f"stat-{stat}-mf", GROUP, f"{stat},:stat", (_T,), "TimeSeriesExpr", doc, "42")


def _extreme(name: str, doc: str) -> Word:
    def make(series: SeriesExpr, stat: str, k: int) -> Extreme:
        return Extreme(series, stat, k, name)

    params = (_T, Param("stat", STRING), Param("k", INT))
    return Word(name, GROUP, params, "TimeSeriesExpr", doc, pure(make), (f"{_GROUPED},max,2",), keeps_style=True)


def _extremes(name: str, which: str) -> tuple[Word, ...]:
    doc = f"The k lines with the {which} value of a statistic."
    return (
        _extreme(name, doc),
        *(
            _extreme(f"{name}-others-{how}", f"{doc} The others become one line by their {how}.")
            for how in ("min", "max", "sum", "avg")
        ),
    )


WORDS = (
    Word(
        "consolidate",
        GROUP,
        (_T, Param("cf", CONSOLIDATION), Param("newStep", DURATION)),
        "TimeSeriesExpr",
        "Values of a longer step, shown at every point of it.",
        pure(lambda t, cf, ms: Consolidate(t, cf, DurationMs(ms))),
        (":random,avg,5m",),
        keeps_style=True,
    ),
    Word(
        "stat",
        GROUP,
        (_T, Param("stat", STRING)),
        "TimeSeriesExpr",
        "A flat line at the avg, max, min, last, total or count of the line.",
        pure(Stat),
        tuple(f"name,qoe.sps,:eq,:sum,{stat}" for stat in STATISTICS),
        keeps_style=True,
    ),
    *(_of_filtered(stat) for stat in STATISTICS),
    Word(
        "filter",
        GROUP,
        (Param("t1", SERIES), Param("t2", SERIES)),
        "TimeSeriesExpr",
        "Only lines for which the condition is not 0 at some point.",
        pure(filtered),
        (f"{_GROUPED},:stat-max,30,:gt",),
    ),
    *(_older(stat) for stat in ("min", "max", "avg")),
    *_extremes("bottomk", "smallest"),
    *_extremes("topk", "largest"),
)
