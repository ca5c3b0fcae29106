"""`:cg`: more keys for every grouping that an expression has."""

from __future__ import annotations

import dataclasses

from tocsin.model.asl.expr import Expr
from tocsin.model.asl.group_math import AggregateLines, GroupLines
from tocsin.model.asl.named import NamedRewrite
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.series_expr import AggregateExpr, GroupedData, SeriesExpr


def merge_keys(keys: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Keys with those of another list that are not there yet."""
    return (*keys, *(k for k in more if k not in keys))


def add_keys(expr: SeriesExpr, keys: tuple[str, ...]) -> SeriesExpr:
    """Group aggregates by the keys, and add them where something is grouped already."""

    def change(node: Expr) -> Expr | None:
        if isinstance(node, NamedRewrite) and isinstance(node.shown, Query):
            if node.full.is_grouped:
                return dataclasses.replace(node, full=add_keys(node.full, keys))
            return node.group_by(keys)
        if isinstance(node, AggregateExpr):
            return GroupedData(node, keys)
        if isinstance(node, AggregateLines):
            return GroupLines(node.with_expr(add_keys(node.expr, keys)), keys)
        if isinstance(node, GroupedData):
            return dataclasses.replace(node, keys=merge_keys(node.keys, keys))
        if isinstance(node, GroupLines):
            inner = node.aggregate.with_expr(add_keys(node.aggregate.expr, keys))
            return GroupLines(inner, merge_keys(node.keys, keys))
        return None

    result = expr.rewrite(change)
    assert isinstance(result, SeriesExpr)  # noqa: S101 - grouping keeps the kind
    return result
