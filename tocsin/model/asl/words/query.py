"""Words that say which series are meant, by conditions on their tags."""

from __future__ import annotations

from collections.abc import Callable

from tocsin.model.asl.expr import Expr
from tocsin.model.asl.query_expr import (
    ALL,
    NONE,
    Equal,
    Greater,
    GreaterEqual,
    HasKey,
    In,
    Less,
    LessEqual,
    Query,
    Regex,
    RegexIgnoreCase,
    contains_pattern,
)
from tocsin.model.asl.vocabulary import ANY, QUERY, STRING, STRINGS, Param, Value, Word, pure

GROUP = "query"
_K, _V = Param("k", STRING), Param("v", STRING)
_Q1, _Q2 = Param("q1", QUERY), Param("q2", QUERY)


def common_query(value: Value, query: Query) -> Value:
    """AND a query into every query of an expression; anything else stays as it is."""
    if not isinstance(value, Expr):
        return value
    return value.rewrite(lambda node: node.and_(query) if isinstance(node, Query) else None)


def _one_of(key: str, values: tuple[str, ...]) -> Query:
    if not values:
        return NONE
    return Equal(key, values[0]) if len(values) == 1 else In(key, values)


def _pair(name: str, make: Callable[[str, str], Query], doc: str, *examples: str) -> Word:
    return Word(name, GROUP, (_K, _V), "Query", doc, pure(make), examples)


def _word(name: str, params: tuple[Param, ...], make: Callable[..., Value], doc: str, *examples: str) -> Word:
    return Word(name, GROUP, params, "Query", doc, pure(make), examples)


WORDS = (
    _word("true", (), lambda: ALL, "Takes every series.", ""),
    _word("false", (), lambda: NONE, "Takes no series.", ""),
    _word("has", (_K,), HasKey, "Takes series that have the key.", "title"),
    _pair(
        "eq",
        Equal,
        "Takes series whose key has exactly this value; the key stays in the tags of the result.",
        "name,qoe.sps",
    ),
    _pair("lt", Less, "Takes series whose value comes before this one by character code.", "status,400"),
    _pair("le", LessEqual, "Takes series whose value is this one or comes before it by character code.", "status,399"),
    _pair("gt", Greater, "Takes series whose value comes after this one by character code.", "status,399"),
    _pair(
        "ge", GreaterEqual, "Takes series whose value is this one or comes after it by character code.", "status,400"
    ),
    _pair("re", Regex, "Takes series whose value matches a pattern from its start.", "cdn,(a|b)$"),
    _pair(
        "reic",
        RegexIgnoreCase,
        "Takes series whose value matches a pattern from its start, in upper or lower case.",
        "device,TV",
    ),
    _pair(
        "contains",
        lambda k, v: Regex(k, contains_pattern(v, start=".*")),
        "Takes series whose value has this text in it.",
        "title,t1",
    ),
    _pair(
        "starts",
        lambda k, v: Regex(k, contains_pattern(v)),
        "Takes series whose value starts with this text.",
        "name,qoe.",
    ),
    _pair(
        "ends",
        lambda k, v: Regex(k, contains_pattern(v, start=".*", end="$")),
        "Takes series whose value ends with this text.",
        "name,.ms",
    ),
    _word(
        "in",
        (_K, Param("vs", STRINGS)),
        _one_of,
        "Takes series whose value is one of a list.",
        "device,(,tv,web,)",
        "device,(,)",
    ),
    _word(
        "and", (_Q1, _Q2), lambda a, b: a.and_(b), "Takes series that both conditions take.", "cdn,a,:eq,device,tv,:eq"
    ),
    _word("or", (_Q1, _Q2), lambda a, b: a.or_(b), "Takes series that either condition takes.", "cdn,a,:eq,cdn,b,:eq"),
    _word(
        "not", (Param("q", QUERY),), lambda q: q.not_(), "Takes series that the condition does not take.", "cdn,a,:eq"
    ),
    Word(
        "cq",
        GROUP,
        (Param("expr", ANY), Param("q", QUERY)),
        "Any",
        "Add a condition to every query of an expression. What is no expression stays as it is.",
        pure(common_query),
        ("name,qoe.sps,:eq,:sum,cdn,b,:eq", "42,cdn,b,:eq"),
    ),
)
