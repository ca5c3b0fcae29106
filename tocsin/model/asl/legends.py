"""Short legends: where no legend is set, what tells the lines apart: the keys of the grouping, else the name, else the
values in the query that differ between the expressions of a graph."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from tocsin.model.asl.expr import Expr
from tocsin.model.asl.math_expr import SetTag
from tocsin.model.asl.named import NamedRewrite
from tocsin.model.asl.query_expr import And, Compare, Equal, KeyValueQuery, Not, Query, Regex
from tocsin.model.asl.series_expr import AggregateExpr, GroupedData
from tocsin.model.asl.style_expr import StyleExpr

Pairs = frozenset[tuple[str, str]]
_PREFIX = re.compile(r"^((?:[^\\.^$|?*+()\[\]{}]|\\[^\w])+)$")
_CONTAINS = re.compile(r"^\.\*((?:[^\\.^$|?*+()\[\]{}]|\\[^\w])+)$")


def with_legends(exprs: Sequence[StyleExpr]) -> list[StyleExpr]:
    """The expressions of a graph with a legend each, where one can be told."""
    pairs = [_pairs_of(e) for e in exprs]
    known = [p for p in pairs if p]
    if not known:
        return list(exprs)
    common: Pairs = functools.reduce(frozenset.intersection, known)
    out = []
    for expr, own in zip(exprs, pairs, strict=True):
        different = own - common
        told = different or (common if own else frozenset())
        out.append(_set_legend(expr, dict(told)) if told and expr.get("legend") is None else expr)
    return out


def _set_legend(expr: StyleExpr, values: dict[str, str]) -> StyleExpr:
    if expr.expr.is_grouped:
        text = " ".join(f"$({key})" for key in expr.expr.grouping)
    else:
        text = values.get("name") or " ".join(values[key] for key in sorted(values))
    if expr.offset_ms > 0:
        text += " (offset=$(atlas.offset))"
    return expr.with_("legend", text)


def _pairs_of(expr: StyleExpr) -> Pairs:
    plain = expr.rewrite(_without_macro)
    assert isinstance(plain, StyleExpr)  # noqa: S101 - only what is below it was rewritten
    leaves = plain.expr.data_exprs
    if not leaves:
        return frozenset()
    return functools.reduce(frozenset.intersection, (frozenset(_values(e.source_query).items()) for e in leaves))


def _without_macro(node: Expr) -> Expr | None:
    if not isinstance(node, NamedRewrite):
        return None
    if not isinstance(node.shown, Query):
        return node.shown
    query = node.shown
    if isinstance(node.full, SetTag):
        query = query.and_(Equal(node.full.key, node.full.value))
    aggregate = AggregateExpr(query, "sum")
    return GroupedData(aggregate, node.full.grouping) if node.full.is_grouped else aggregate


def _values(query: Query) -> dict[str, str]:
    if isinstance(query, And):
        return {**_values(query.left), **_values(query.right)}
    if isinstance(query, Regex):
        return {query.key: _readable(query.value)}
    if isinstance(query, Compare):
        return {query.key: query.value}
    if isinstance(query, Not) and isinstance(query.query, KeyValueQuery):
        return {key: f"!{value}" for key, value in _values(query.query).items()}
    return {}


def _readable(pattern: str) -> str:
    found = _PREFIX.match(pattern) or _CONTAINS.match(pattern)
    return re.sub(r"\\(.)", r"\1", found.group(1)) if found else pattern
