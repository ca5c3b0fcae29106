"""Averages over a denominator that another metric gives, as Netflix configures them: per node, per node that is up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tocsin.model.asl.expr import Expr
from tocsin.model.asl.math_expr import BinaryMath
from tocsin.model.asl.named import NamedRewrite
from tocsin.model.asl.query_expr import Equal, Query
from tocsin.model.asl.query_forms import keep_keys
from tocsin.model.asl.series_expr import AggregateExpr, GroupedData, SeriesExpr
from tocsin.model.asl.vocabulary import QUERY, Param, Word

if TYPE_CHECKING:
    from tocsin.model.asl.stack import Machine

GROUP = "custom"
_NODE_KEYS = ("account", "app", "ami", "asg", "cluster", "stack", "zone", "region", "node", "ns", "vmtype")


def custom_average(name: str, base: Query, keys: Sequence[str], doc: str) -> Word:
    """A word for sum / sum(base), restricted and grouped alike as far as the base has the keys."""
    known = frozenset(keys)

    def parts(query: Query) -> tuple[AggregateExpr, AggregateExpr]:
        return AggregateExpr(query, "sum"), AggregateExpr(base.and_(keep_keys(query, known)), "sum")

    def regroup(shown: Expr, by: tuple[str, ...]) -> SeriesExpr:
        assert isinstance(shown, Query)  # noqa: S101 - the word takes a query only
        top, bottom = parts(shown)
        shared = tuple(k for k in by if k in known)
        return BinaryMath(GroupedData(top, by), GroupedData(bottom, shared) if shared else bottom, "div")

    def effect(machine: Machine, values: Sequence[Any]) -> None:
        query = values[0]
        full = BinaryMath(*parts(query), "div")
        machine.stack.append(NamedRewrite(name, query, (), full, machine.interpreter, regroup))

    return Word(name, GROUP, (Param("", QUERY),), "TimeSeriesExpr", doc, effect, ("name,requests,:eq",))


_KEYS = tuple(f"nf.{k}" for k in _NODE_KEYS)
WORDS = (
    custom_average("node-avg", Equal("name", "poller.asg.instance"), _KEYS, "Sum per instance of a group."),
    custom_average(
        "eureka-avg",
        Equal("name", "discovery.status").and_(Equal("state", "UP")),
        _KEYS,
        "Sum per instance that is up.",
    ),
)
