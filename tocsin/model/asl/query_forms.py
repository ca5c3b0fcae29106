"""Rearranging queries: dropping constants, normal forms, and one canonical order for comparing expressions."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tocsin.model.asl.query_expr import ALL, NONE, AllOf, And, Equal, In, KeyQuery, NoneOf, Not, Or, Query

_FIRST_KEYS = ("name", "nf.app", "nf.stack", "nf.cluster", "nf.asg", "nf.region", "nf.zone", "nf.node")
_LAST_KEYS = ("statistic",)
_MAX_CLAUSES = 4_096


def simplify(query: Query, *, ignore: bool = False) -> Query:
    """Drop `:true` and `:false`. With `ignore` a negated `:true` is a term to be left out, not one that never holds."""
    new = _simplify_once(query, ignore=ignore)
    return new if new == query else simplify(new, ignore=ignore)


def _simplify_once(query: Query, *, ignore: bool) -> Query:
    again = functools.partial(simplify, ignore=ignore)
    if isinstance(query, And):
        left, right = query.left, query.right
        if isinstance(left, AllOf):
            return again(right)
        if isinstance(right, AllOf):
            return again(left)
        if isinstance(left, NoneOf) or isinstance(right, NoneOf):
            return NONE
        return And(again(left), again(right))
    if isinstance(query, Or):
        left, right = query.left, query.right
        if isinstance(left, AllOf) or isinstance(right, AllOf):
            return ALL
        if isinstance(left, NoneOf):
            return again(right)
        if isinstance(right, NoneOf):
            return again(left)
        return Or(again(left), again(right))
    if isinstance(query, Not):
        if isinstance(query.query, AllOf):
            return ALL if ignore else NONE
        return ALL if isinstance(query.query, NoneOf) else Not(again(query.query))
    return query


def strip_keys(query: Query, keys: frozenset[str]) -> Query:
    """The query without its conditions on some keys."""

    def without(part: Query) -> Query:
        if isinstance(part, And):
            return And(without(part.left), without(part.right))
        if isinstance(part, Or):
            return Or(without(part.left), without(part.right))
        if isinstance(part, Not):
            return Not(without(part.query))
        return ALL if isinstance(part, KeyQuery) and part.key in keys else part

    return simplify(without(query), ignore=True)


def keep_keys(query: Query, keys: frozenset[str]) -> Query:
    """The query with only its conditions on some keys."""
    kept = query.rewrite(lambda part: ALL if isinstance(part, KeyQuery) and part.key not in keys else None)
    assert isinstance(kept, Query)  # noqa: S101 - a rewrite of a query by queries
    return simplify(kept, ignore=True)


def conjunctions(query: Query) -> list[Query]:
    """Disjunctive normal form: the alternatives, each free of `:or`."""
    return _normal(query, joins=Or, crosses=And)


def clauses(query: Query) -> list[Query]:
    """Conjunctive normal form: the parts that all must hold."""
    return _normal(query, joins=And, crosses=Or)


def _normal(query: Query, *, joins: type[And | Or], crosses: type[And | Or]) -> list[Query]:
    if isinstance(query, joins):
        return _normal(query.left, joins=joins, crosses=crosses) + _normal(query.right, joins=joins, crosses=crosses)
    if isinstance(query, crosses):
        left = _normal(query.left, joins=joins, crosses=crosses)
        right = _normal(query.right, joins=joins, crosses=crosses)
        if len(left) * len(right) > _MAX_CLAUSES:
            return [query]
        return [crosses(a, b) for a in left for b in right]
    if isinstance(query, Not):
        inner = query.query
        if isinstance(inner, Not):
            return [inner.query]
        if isinstance(inner, crosses):
            return _normal(Not(inner.left), joins=joins, crosses=crosses) + _normal(
                Not(inner.right), joins=joins, crosses=crosses
            )
        if isinstance(inner, joins):
            return _normal(crosses(Not(inner.left), Not(inner.right)), joins=joins, crosses=crosses)
    return [query]


def canonical(query: Query) -> Query:
    """One form for queries that mean the same by order and repetition of their conditions."""
    alternatives: list[list[Query]] = []
    for part in conjunctions(simplify(query)):
        unique = list(dict.fromkeys(_plain_in(q) for q in clauses(part)))
        unique.sort(key=functools.cmp_to_key(_compare))
        if unique not in alternatives:
            alternatives.append(unique)
    kept = _without_redundant(alternatives)
    joined = sorted((functools.reduce(And, qs) for qs in kept), key=str)
    return functools.reduce(Or, joined)


def _plain_in(query: Query) -> Query:
    if not isinstance(query, In):
        return query
    values = sorted(set(query.values))
    return Equal(query.key, values[0]) if len(values) == 1 else In(query.key, tuple(values))


def _without_redundant(alternatives: Sequence[list[Query]]) -> Sequence[list[Query]]:
    if len(alternatives) < 2:
        return alternatives
    sets = [frozenset(qs) for qs in alternatives]
    return [qs for qs, mine in zip(alternatives, sets, strict=True) if not all(s <= mine for s in sets)]


def _key_of(query: Query) -> str:
    while not isinstance(query, KeyQuery):
        if isinstance(query, And | Or):
            query = query.left
        elif isinstance(query, Not):
            query = query.query
        else:
            return ""
    return query.key


def _compare(a: Query, b: Query) -> int:
    def rank(query: Query) -> tuple[int, int]:
        key = _key_of(query)
        if key in _FIRST_KEYS:
            return 0, _FIRST_KEYS.index(key)
        return (2, _LAST_KEYS.index(key)) if key in _LAST_KEYS else (1, 0)

    left, right = (rank(a), str(a)), (rank(b), str(b))
    return (left > right) - (left < right)
