"""What of an analyst's SQL may run: one SELECT over the documented tables, with allowed functions and bound parameters.

The text that runs is never the text that came. A parser reads it into a tree, and the tree is written again: without
comments, every name in quotes. This second text is what is checked, and what runs: it must read as one SELECT, its tree
must read only what is allowed (tables, common table expressions, parameters), and each of its words that is not in
quotes must be one of `sql_words`. So whatever the parser makes of an odd text, what reaches the store was looked at
whole.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Iterator

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import ErrorLevel, SqlglotError

from query.sql_words import FUNCTIONS, KEYWORDS, TABLE_FUNCTIONS, TYPES, is_callable
from tocsin.model.errors import InputError
from tocsin.model.tables import QUARANTINE, TABLES

QUERY_CHARACTERS_MAX = 20_000
_DIALECT = "clickhouse"
_TABLES = frozenset(table.name for table in TABLES if table is not QUARANTINE)
"""Quarantine holds bytes as they came, with whatever a sender put there."""
_NAME = re.compile(r"[^\x00-\x1f\\\"'`{}]{1,128}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SIGNS = frozenset("( ) [ ] { } , . : :: + - * / % = <> < <= > >= || ->".split())  # noqa: SIM905
_LITERALS = (TokenType.STRING, TokenType.NUMBER)
_UNREADABLE = (RecursionError, LookupError, ValueError, TypeError, AttributeError)
"""What the parser raises, beside its own errors, where a text is nested too deeply or unlike any SQL."""
logging.getLogger("sqlglot").setLevel(logging.ERROR)  # its warnings quote what somebody asked


def checked(sql: str, parameters: Iterable[str]) -> str:
    """The statement to run for `sql`, whose placeholders are exactly `parameters`; raises `InputError` with the rule
    that it breaks."""
    if len(sql) > QUERY_CHARACTERS_MAX:
        raise InputError(f"reading the query: {len(sql)} characters, at most {QUERY_CHARACTERS_MAX} are read")
    text = _written(_parsed(sql))
    tree = _parsed(text)
    for table in _read(tree):
        _check_table(table)
    _check_parameters({node.name for node in tree.find_all(exp.Placeholder)}, set(parameters))
    _check_words(sqlglot.tokenize(text, dialect=_DIALECT))
    return text


def _written(tree: exp.Query) -> str:
    for node in tree.find_all(exp.Identifier):
        if not _NAME.fullmatch(node.name):
            raise InputError(f"checking the query: the name {node.name[:40]!r} holds quotes, braces or backslashes")
    try:
        return tree.sql(
            dialect=_DIALECT, identify=True, comments=False, normalize_functions=False,
            unsupported_level=ErrorLevel.RAISE,
        )  # fmt: skip
    except (SqlglotError, *_UNREADABLE) as error:
        raise InputError("checking the query: it is nested too deeply, or cannot be written for the store") from error


def _parsed(sql: str) -> exp.Query:
    try:
        statements = [tree for tree in sqlglot.parse(sql, dialect=_DIALECT) if tree is not None]
    except _UNREADABLE as error:
        raise InputError("reading the query: it is nested too deeply, or no SQL") from error
    except SqlglotError as error:
        details = getattr(error, "errors", None) or [{}]
        place = f" at line {details[0]['line']}, column {details[0]['col']}" if details[0].get("line") else ""
        what = details[0].get("description") or "it is no SQL"
        raise InputError(
            f"reading the query{place}: {what}; names that are keywords, such as cube, stand in double quotes"
        ) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select | exp.SetOperation):
        raise InputError("checking the query: it must be one SELECT (WITH and UNION included), and nothing else")
    return statements[0]


def _read(tree: exp.Query) -> Iterator[exp.Expr]:
    """Every node that the store may take for a table: those of FROM and JOIN, and a bare name after IN."""
    yield from tree.find_all(exp.Table)
    for node in tree.find_all(exp.In):
        choices = [node.args["field"]] if node.args.get("field") is not None else node.expressions
        if len(choices) == 1:
            chosen = choices[0].unnest()
            if isinstance(chosen, exp.Column | exp.Identifier | exp.Alias | exp.Dot | exp.Table):
                yield chosen


def _check_table(node: exp.Expr) -> None:
    named = node.this if isinstance(node, exp.Table | exp.Column) else node
    if isinstance(node, exp.Table) and isinstance(named, exp.Anonymous) and named.name in TABLE_FUNCTIONS:
        return
    qualified = isinstance(node, exp.Table | exp.Column) and len(node.parts) > 1
    if isinstance(named, exp.Identifier) and not qualified:
        if named.name in _TABLES or named.name in set(_common_tables(node)):
            return
        near = difflib.get_close_matches(named.name, _TABLES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(_TABLES))}"
        raise InputError(f"checking the query: no table {named.name!r} can be read here; {hint}")
    shown = node.sql(dialect=_DIALECT)[:60]
    raise InputError(f"checking the query: {shown!r} cannot be read from; tables are named without a database, and the "
                     f"only table function is {', '.join(TABLE_FUNCTIONS)}")  # fmt: skip


def _common_tables(node: exp.Expr) -> Iterator[str]:
    """Names of the common table expressions in sight of a node: of each query around it, those written before it."""
    inside: exp.Expr = node
    above = node.parent
    while above is not None:
        if isinstance(above, exp.With):
            listed = above.expressions
            yield from _names_of(listed[: next(at for at, cte in enumerate(listed) if cte is inside)])
        elif (clause := above.args.get("with_")) is not None and clause is not inside:
            yield from _names_of(clause.expressions)
        inside, above = above, above.parent


def _names_of(expressions: Iterable[exp.Expr]) -> Iterator[str]:
    """`WITH 1 AS name` names a value, not a table."""
    return (cte.alias for cte in expressions if isinstance(cte.this, exp.Query))


def _check_parameters(wanted: set[str], given: set[str]) -> None:
    for name in sorted(wanted ^ given):
        if name in wanted:
            raise InputError(f"checking the query: no value for the parameter {name!r}; give it in `params`")
        raise InputError(f"checking the query: the parameter {name!r} is not used; write it as {{{name}:Type}}")


def _check_words(tokens: list[Token]) -> None:
    for at, token in enumerate(tokens):
        kind, text = token.token_type, token.text
        before = tokens[at - 1].token_type if at else None
        after = tokens[at + 1].token_type if at + 1 < len(tokens) else None
        called = after == TokenType.L_PAREN
        if kind == TokenType.IDENTIFIER:
            if called:
                raise InputError(f"checking the query: {text!r} is called as a function: write its name without quotes")
        elif kind in _LITERALS or text in _SIGNS:
            continue
        elif before == TokenType.L_BRACE and after == TokenType.COLON:
            if not _PARAMETER.fullmatch(text):
                raise InputError(f"checking the query: {text!r} is no name of a parameter: use letters, digits and _")
        elif called and len(text.split()) == 1:
            if not is_callable(text):
                near = difflib.get_close_matches(text, FUNCTIONS, 1, 0.75)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InputError(f"checking the query: the function {text!r} is not allowed{hint}")
        elif not all(word in KEYWORDS or word in TYPES for word in text.lower().split()):
            raise InputError(f"checking the query: {text!r} is not allowed")
