"""Aggregation of lines that an expression gave: over all of them, or in coarser groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tocsin.model.asl.collect import group_key
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import Word, words
from tocsin.model.asl.lines import Floats, Head, Lines, Tags, no_data, tag_label
from tocsin.model.asl.query_expr import exact_keys
from tocsin.model.asl.series_expr import DataExpr, EvalContext, SeriesExpr, common_exact_keys


def combine_rows(values: Floats, how: str) -> Floats:
    """Rows to one row by `sum`, `count`, `min`, `max` or `avg`; a missing value does not take part."""
    there = ~np.isnan(values)
    count = there.sum(axis=0).astype(np.float64)
    none = count == 0
    if how == "count":
        return np.where(none, np.nan, count)
    if how in ("sum", "avg"):
        total = np.where(there, values, 0.0).sum(axis=0)
        with np.errstate(all="ignore"):
            return np.where(none, np.nan, total if how == "sum" else total / count)
    pick = np.fmin if how == "min" else np.fmax
    return np.asarray(pick.reduce(values, axis=0))


@dataclass(frozen=True)
class AggregateLines(SeriesExpr):
    """`expr,:max` over lines that are there already"""

    expr: SeriesExpr
    kind: str

    def __str__(self) -> str:
        return words(self.expr, Word(f":{self.kind}"))

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return self.expr.data_exprs

    def with_expr(self, expr: SeriesExpr) -> AggregateLines:
        """The same over other lines."""
        return dataclasses.replace(self, expr=expr)

    def _kept(self, tags: Tags) -> dict[str, str]:
        leaves = self.data_exprs
        if not leaves:
            return dict(tags)
        keys = exact_keys(leaves[0].source_query)
        return {k: v for k, v in tags.items() if k in keys}

    def eval(self, context: EvalContext) -> Lines:
        lines = self.expr.eval(context)
        if not len(lines):
            return no_data(context.points)
        first = lines.heads[0]
        tags = self._kept(first.tags)
        head = Head(tags, f"{self.kind}({tag_label(tags)})", first.gauge)
        return Lines((head,), combine_rows(lines.values, self.kind)[None, :])


@dataclass(frozen=True)
class GroupLines(SeriesExpr):
    """`expr,(,device,),:by` over lines that are grouped more finely already"""

    aggregate: AggregateLines
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        inner = self.aggregate.expr
        if not inner.is_grouped:
            raise AslError("a second :by needs an input that is grouped already")
        missing = [k for k in self.keys if k not in inner.grouping]
        if missing:
            raise AslError(
                f"(,{','.join(self.keys)},) is not a subset of (,{','.join(inner.grouping)},): "
                f"the first grouping has lost {', '.join(missing)}"
            )

    def __str__(self) -> str:
        return words(self.aggregate, self.keys, Word(":by"))

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return self.aggregate.data_exprs

    @property
    def is_grouped(self) -> bool:
        return True

    @property
    def grouping(self) -> tuple[str, ...]:
        return self.keys

    def eval(self, context: EvalContext) -> Lines:
        lines = self.aggregate.expr.eval(context)
        kept = common_exact_keys(self.data_exprs) | frozenset(self.keys)
        groups: dict[str, list[int]] = {}
        for i, head in enumerate(lines.heads):
            key = group_key(self.keys, head.tags)
            if key is not None:
                groups.setdefault(key, []).append(i)
        return _grouped(lines, groups, self.aggregate.kind, kept, context.points)


def _grouped(lines: Lines, groups: dict[str, list[int]], kind: str, kept: frozenset[str], points: int) -> Lines:
    ordered = sorted(groups)
    heads = []
    values = np.empty((len(ordered), points))
    for row, key in enumerate(ordered):
        members: Sequence[int] = groups[key]
        first = lines.heads[members[0]]
        heads.append(Head({k: v for k, v in first.tags.items() if k in kept}, key, first.gauge))
        values[row] = combine_rows(lines.values[members], kind)
    return Lines(tuple(heads), values)
