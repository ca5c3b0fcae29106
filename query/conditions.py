"""Queries on tags as SQL conditions on columns, values bound.

A family of series has tags that are the same for all of its lines (its name) and tags that are columns. Conditions on
the former are decided here; what is left is about columns, where the empty text stands for "no such tag".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.model.asl.query_expr import (
    ALL,
    NONE,
    AllOf,
    And,
    Equal,
    Greater,
    GreaterEqual,
    HasKey,
    In,
    KeyQuery,
    Less,
    LessEqual,
    NoneOf,
    Not,
    Or,
    Query,
    Regex,
    RegexIgnoreCase,
)
from tocsin.model.asl.query_forms import simplify

_SIGNS = {Equal: "=", Less: "<", LessEqual: "<=", Greater: ">", GreaterEqual: ">="}


def decide(query: Query, fixed: Mapping[str, str], columns: frozenset[str]) -> Query:
    """What is left of a query for series with these fixed tags: conditions on columns only. A key that is neither is
    absent, so a condition on it does not hold."""

    def known(part: Query) -> Query | None:
        if not isinstance(part, KeyQuery):
            return None
        if part.key in fixed:
            return ALL if part.matches(fixed) else NONE
        return None if part.key in columns else NONE

    return simplify(_replace(query, known))


def without_patterns(query: Query, values_of: Callable[[str], Sequence[str]]) -> Query:
    """The query with every pattern replaced by the values that it matches: patterns are Python's, not the store's."""

    def listed(part: Query) -> Query | None:
        if not isinstance(part, Regex | RegexIgnoreCase):
            return None
        return In(part.key, tuple(v for v in values_of(part.key) if v and part.check(v)))

    return simplify(_replace(query, listed))


def _replace(query: Query, change: Callable[[Query], Query | None]) -> Query:
    result = query.rewrite(lambda node: change(node) if isinstance(node, Query) else None)
    assert isinstance(result, Query)  # noqa: S101 - queries are rewritten by queries
    return result


@dataclass
class Bound:
    """A condition under construction with its parameters; `column` gives the SQL of a key."""

    columns: Mapping[str, str]
    parameters: dict[str, object] = field(default_factory=dict)

    def bind(self, value: object, kind: str = "String") -> str:
        """A placeholder for a value."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"

    def sql(self, query: Query) -> str:
        """The condition of a query that `decide` has left."""
        if isinstance(query, AllOf):
            return "1"
        if isinstance(query, NoneOf):
            return "0"
        if isinstance(query, And | Or):
            joined = " AND " if isinstance(query, And) else " OR "
            return f"({self.sql(query.left)}{joined}{self.sql(query.right)})"
        if isinstance(query, Not):
            return f"NOT {self.sql(query.query)}"
        assert isinstance(query, KeyQuery)  # noqa: S101 - there is no other kind
        return self._of_key(query, self.columns[query.key])

    def _of_key(self, query: KeyQuery, column: str) -> str:
        if isinstance(query, HasKey):
            return f"({column} != '')"
        if isinstance(query, In):
            return f"({column} IN {self.bind(list(query.values), 'Array(String)')} AND {column} != '')"
        for kind, sign in _SIGNS.items():
            if isinstance(query, kind):
                return f"({column} {sign} {self.bind(query.value)} AND {column} != '')"
        raise TypeError(f"no SQL for a condition of kind {type(query).__name__}")
