"""Evaluation of expressions over a source: each distinct data expression is read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from tocsin.model.asl.lines import Lines
from tocsin.model.asl.series_expr import DataExpr, EvalContext, SeriesExpr
from tocsin.model.asl.source import Limits, SeriesSource


@dataclass(frozen=True, slots=True)
class Loaded:
    """A context with the data of some expressions, remarks of the source, and from when on points are incomplete."""

    context: EvalContext
    notices: tuple[str, ...]
    incomplete_from_ms: int | None


def load(exprs: Iterable[SeriesExpr], context: EvalContext, source: SeriesSource, limits: Limits) -> Loaded:
    """Read what some expressions need over a context's grid."""
    data: dict[DataExpr, Lines] = {}
    notices: dict[str, None] = {}
    incomplete: list[int] = []
    for leaf in dict.fromkeys(leaf for expr in exprs for leaf in expr.data_exprs):
        fetched = source.fetch(leaf.request(context, limits))
        data[leaf] = leaf.from_source(fetched.lines, context)
        notices.update(dict.fromkeys(fetched.notices))
        if fetched.incomplete_from_ms is not None:
            incomplete.append(fetched.incomplete_from_ms + leaf.offset)
    return Loaded(dataclasses.replace(context, data=data), tuple(notices), min(incomplete, default=None))


def evaluate(
    exprs: Iterable[SeriesExpr], context: EvalContext, source: SeriesSource, limits: Limits | None = None
) -> list[Lines]:
    """The lines of each expression over a context's grid."""
    wanted = list(exprs)
    loaded = load(wanted, context, source, limits or Limits())
    return [expr.eval(loaded.context) for expr in wanted]
