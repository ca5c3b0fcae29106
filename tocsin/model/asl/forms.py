"""Other forms of an expression: canonical, stripped of conditions and filters, free of older spellings."""

from __future__ import annotations

from collections.abc import Iterable

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import Expr
from tocsin.model.asl.filter_expr import Extreme, Filter, Stat, StatOfFiltered
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.query_forms import canonical, strip_keys
from tocsin.model.asl.series_expr import SeriesExpr
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.text import substitute
from tocsin.model.asl.times import format_duration


def normalized(styled: StyleExpr) -> str:
    """The program of an expression so that equal meanings give equal texts as far as order and spelling go."""
    legend = styled.get("legend")
    if legend is not None:
        styled = styled.with_("legend", substitute(legend, lambda key: f"$({key})"))
    plain = styled.rewrite(_short_statistics)
    ordered = plain.rewrite(lambda node: canonical(node) if isinstance(node, Query) else None)
    return str(ordered).replace(",:const", "").replace(",:line", "")


def _short_statistics(node: Expr) -> Expr | None:
    if not isinstance(node, Filter):
        return None
    inner = node.expr

    def shorten(part: Expr) -> Expr | None:
        if isinstance(part, Stat) and part.short is None and part.expr == inner:
            return StatOfFiltered(part.stat)
        return None

    condition = node.condition.rewrite(shorten)
    assert isinstance(condition, SeriesExpr)  # noqa: S101 - a statistic for a statistic
    return Filter(inner, condition)


def stripped(styled: StyleExpr, keys: frozenset[str], groups: Iterable[str]) -> Expr:
    """An expression without its conditions on some keys, and without `filter` or `style` words where asked for."""
    result: Expr = styled.rewrite(lambda node: strip_keys(node, keys) if isinstance(node, Query) else None)
    for group in groups:
        if group == "filter":
            result = result.rewrite(lambda node: node.expr if isinstance(node, Stat | Filter | Extreme) else None)
        elif group == "style":
            result = result.expr if isinstance(result, StyleExpr) else result
        else:
            raise AslError(f"vocabulary '{group}' not supported: filter and style can be stripped")
    return result


def without_style_offsets(styled: StyleExpr, number: int) -> str:
    """The program with `(,0h,1w,),:offset` written as one expression for each shift; `number` names a variable."""
    offsets = styled.style_offsets()
    plain = styled.without("offset")
    if not offsets:
        return str(styled)
    if len(offsets) == 1:
        return str(plain) if offsets[0] == 0 else f"{plain},{format_duration(offsets[0])},:offset"
    name = f"Query{number}"
    shifted = (f"{name},:get" + (f",{format_duration(ms)},:offset" if ms else "") for ms in offsets)
    return f"{name},{plain},:set,{','.join(shifted)}"
