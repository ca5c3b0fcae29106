"""Words on events: which columns to show of those that match, or how to sample them. They are read, not graphed."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.model.asl import expr
from tocsin.model.asl.expr import Expr
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.vocabulary import QUERY, STRINGS, Param, Word, pure

GROUP = "event"
_Q = Param("q", QUERY)


@dataclass(frozen=True)
class EventTable(Expr):
    """`query,(,columns,),:table`"""

    query: Query
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return expr.words(self.query, self.columns, expr.Word(":table"))


@dataclass(frozen=True)
class EventSample(Expr):
    """`query,(,keys,),(,columns,),:sample`"""

    query: Query
    keys: tuple[str, ...]
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return expr.words(self.query, self.keys, self.columns, expr.Word(":sample"))


WORDS = (
    Word(
        "table",
        GROUP,
        (_Q, Param("columns", STRINGS)),
        "EventExpr",
        "Matching events as rows of the columns.",
        pure(EventTable),
        ("level,error,:eq,(,message,)",),
    ),
    Word(
        "sample",
        GROUP,
        (_Q, Param("sampleBy", STRINGS), Param("columns", STRINGS)),
        "EventExpr",
        "Matching events counted by keys, with some of each as samples.",
        pure(EventSample),
        ("level,error,:eq,(,fingerprint,),(,message,)",),
    ),
)
