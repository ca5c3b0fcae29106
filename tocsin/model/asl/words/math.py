"""Words that compute: arithmetic, aggregation of lines, macros that keep their name."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tocsin.model.asl.expr import Expr
from tocsin.model.asl.group_math import AggregateLines, GroupLines
from tocsin.model.asl.lines import Floats
from tocsin.model.asl.math_expr import BINARY, RATIO, UNARY, BinaryMath, Clamp, PerStep, RenameKey, UnaryMath
from tocsin.model.asl.math_leaves import Constant, Noise, TimeField, TimeSpan
from tocsin.model.asl.named import NamedRewrite
from tocsin.model.asl.series_expr import AggregateExpr, GroupedData, SeriesExpr
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.times import parse_zone
from tocsin.model.asl.vocabulary import (
    ANY,
    DOUBLE,
    INT,
    MISS,
    SERIES,
    STRING,
    STRINGS,
    STYLED,
    Effect,
    Param,
    Value,
    Word,
    pure,
)
from tocsin.model.asl.words.grouping import add_keys

if TYPE_CHECKING:
    from tocsin.model.asl.stack import Machine

GROUP = "math"
_T = Param("", SERIES)
_T1, _T2 = Param("t1", SERIES), Param("t2", SERIES)
_KEYS = Param("keys", STRINGS)
_EXAMPLE = "name,qoe.sps,:eq"


def _word(name: str, params: tuple[Param, ...], effect: Effect, doc: str, *examples: str, style: bool = False) -> Word:
    return Word(name, GROUP, params, "TimeSeriesExpr", doc, effect, examples, keeps_style=style)


def _unary(name: str, doc: str) -> Word:
    def make(series: SeriesExpr) -> SeriesExpr:
        new = UnaryMath(series, name)
        if isinstance(series, Constant):
            return Constant(float(new.apply(_array(series.value))[0]))
        return new

    return _word(name, (_T,), pure(make), doc, "64", "-64", f"{_EXAMPLE},:sum", style=True)


def _array(value: float) -> Floats:
    return np.array([value])


def _binary(name: str, doc: str) -> Word:
    def make(left: SeriesExpr, right: SeriesExpr) -> SeriesExpr:
        new = BinaryMath(left, right, name)
        if isinstance(left, Constant) and isinstance(right, Constant):
            return Constant(float(new.apply(_array(left.value), _array(right.value))[0]))
        return new

    examples = (f"{_EXAMPLE},42", f"{_EXAMPLE},:sum,name,qoe.plays,:eq,:max,(,device,),:by")
    return _word(name, (_T1, _T2), pure(make), doc, *examples, style=True)


def _aggregate(kind: str, doc: str) -> Word:
    def make(series: SeriesExpr) -> SeriesExpr:
        if isinstance(series, AggregateExpr) and kind != "count":
            return series
        return AggregateLines(series, kind)

    return _word(kind, (_T,), pure(make), doc, f"{_EXAMPLE},:max,(,device,),:by", style=True)


def _by(series: SeriesExpr, keys: tuple[str, ...]) -> SeriesExpr:
    if isinstance(series, AggregateLines) and series.expr.is_grouped:
        return GroupLines(series, keys)
    if series.is_grouped:
        return GroupLines(AggregateLines(series, "sum"), keys)

    def change(node: Expr) -> Expr | None:
        if isinstance(node, NamedRewrite):
            return node.group_by(keys)
        if isinstance(node, AggregateExpr):
            return GroupedData(node, keys)
        if isinstance(node, AggregateLines) and node.expr.is_grouped:
            return GroupLines(node, keys)
        return None

    result = series.rewrite(change)
    assert isinstance(result, SeriesExpr)  # noqa: S101 - grouping keeps the kind
    return result


def _named_rewrite(machine: Machine, values: Sequence[Any]) -> None:
    """Shown expression, full expression, name: settings of the shown one are kept, those of the full one dropped."""
    shown, full, name = values
    full_series = full.expr if isinstance(full, StyleExpr) else SERIES(full)
    inner = shown.expr if isinstance(shown, StyleExpr) else shown
    if not isinstance(inner, Expr):
        inner = SERIES(inner)
    named = NamedRewrite(str(name), inner, (), full_series, machine.interpreter)
    machine.stack.append(shown.with_expr(named) if isinstance(shown, StyleExpr) else named)


def _fits_named_rewrite(stack: Sequence[Value]) -> bool:
    if len(stack) < 3 or not isinstance(stack[-1], str):
        return False
    full, shown = stack[-2], stack[-3]
    return STYLED(full) is not MISS and STYLED(shown) is not MISS


def _time_span(machine: Machine, values: Sequence[Any]) -> None:
    name = machine.variables.get("tz")
    zone: dt.tzinfo = parse_zone(name) if isinstance(name, str) else dt.UTC
    machine.stack.append(TimeSpan(values[0], values[1], zone))


def _common_group_by(value: Value, keys: tuple[str, ...]) -> Value:
    if isinstance(value, StyleExpr):
        return value.with_expr(add_keys(value.expr, keys))
    return add_keys(SERIES(value), keys)


_LEAVES = (
    _word("const", (Param("v", DOUBLE),), pure(Constant), "A flat line.", "42"),
    _word("pi", (), pure(lambda: Constant(math.pi)), "A flat line at π.", ""),
    _word("random", (), pure(Noise), "Noise from 0 to 1 that is the same for the same time.", ""),
    _word(
        "srandom",
        (Param("seed", INT),),
        pure(Noise),
        "Noise from 0 to 1 that is the same for the same time and seed.",
        "42",
    ),
    _word(
        "time",
        (Param("mode", STRING),),
        pure(TimeField),
        "The time as a number: hourOfDay, dayOfWeek, minuteOfDay, seconds, days, or a Java ChronoField; in UTC.",
        "hourOfDay",
        "DAY_OF_WEEK",
    ),
    _word(
        "time-span",
        (Param("s", STRING), Param("e", STRING)),
        _time_span,
        "1 within a range of time, 0 outside. `gs` and `ge` are the graph's start and end.",
        "e-30m,ge",
        "2026-02-20T13:00,s+30m",
    ),
)

_EACH_VALUE = (
    _unary("abs", "Absolute value."),
    _unary("neg", "Negated value."),
    _unary("sin", "Sine."),
    _unary("sqrt", "Square root."),
    _word("per-step", (_T,), pure(PerStep), "A rate per second as the amount per step.", _EXAMPLE, style=True),
    _word(
        "clamp-min",
        (_T, Param("min", DOUBLE)),
        pure(lambda t, v: Clamp(t, v, "clamp-min")),
        "Raise smaller values to a bound.",
        f"{_EXAMPLE},:sum,200e3",
        style=True,
    ),
    _word(
        "clamp-max",
        (_T, Param("max", DOUBLE)),
        pure(lambda t, v: Clamp(t, v, "clamp-max")),
        "Lower larger values to a bound.",
        f"{_EXAMPLE},:sum,200e3",
        style=True,
    ),
    _word(
        "as",
        (_T, Param("original", STRING), Param("replacement", STRING)),
        pure(RenameKey),
        "Give a key of the tags another name.",
        f"{_EXAMPLE},(,device,),:by,device,d",
    ),
)

_PAIRS = (
    _binary("add", "a + b, a missing value as 0 unless both are missing."),
    _binary("sub", "a - b, a missing value as 0 unless both are missing."),
    _binary("mul", "a × b."),
    _binary("div", "a / b; 0 where both are 0, no value where only b is 0."),
    _binary("pow", "a to the power of b."),
    _binary("gt", "1 where a > b, else 0."),
    _binary("ge", "1 where a >= b, else 0."),
    _binary("lt", "1 where a < b, else 0."),
    _binary("le", "1 where a <= b, else 0."),
    _binary("fadd", "a + b, no value where either is missing."),
    _binary("fsub", "a - b, no value where either is missing."),
    _binary("fmul", "a × b, as floating point has it."),
    _binary("fdiv", "a / b as floating point has it: x/0 is infinite, 0/0 no value."),
    _binary("and", "1 where a and b are there and not 0, else 0."),
    _binary("or", "1 where a or b is there and not 0, else 0."),
)

_LINES = (
    _aggregate("sum", "Sum of the lines of the expression before."),
    _aggregate("count", "How many lines of the expression before have a value."),
    _aggregate("min", "Smallest value of the lines of the expression before."),
    _aggregate("max", "Largest value of the lines of the expression before."),
    _word(
        "by",
        (_T, _KEYS),
        pure(_by),
        "Group every aggregate of the expression, or group its lines again by fewer keys.",
        f"{_EXAMPLE},:avg,(,device,)",
        f"{_EXAMPLE},:sum,(,device,cdn,),:by,:max,(,device,)",
    ),
    Word(
        "cg",
        GROUP,
        (Param("", STYLED), _KEYS),
        "Expr",
        "Add keys to every grouping of the expression.",
        lambda m, v: m.stack.append(_common_group_by(*v)),
        (f"{_EXAMPLE},(,region,)", f"{_EXAMPLE},(,device,),:by,(,region,)"),
        raw=False,
    ),
    Word(
        "named-rewrite",
        GROUP,
        (Param("original", ANY), Param("rewritten", ANY), Param("name", STRING)),
        "TimeSeriesExpr",
        "Used by macros: evaluate the second expression, show it as the first and a word.",
        _named_rewrite,
        (f"{_EXAMPLE},:dup,:sum,mine",),
        fits=_fits_named_rewrite,
    ),
)

_ORDER = ("abs", "neg", "sin", "sqrt")
assert set(_ORDER) == set(UNARY), "every unary operation has a word"  # noqa: S101
assert {w.name for w in _PAIRS} | {RATIO} == set(BINARY), "every binary operation has a word"  # noqa: S101

WORDS = (*_LEAVES, *_EACH_VALUE, *_PAIRS, *_LINES)
