"""What a word is, and the register of all of them.

A word-group file makes `Word` entries, each with its signature, its meaning and examples that the documentation shows
and the tests run; `words/__init__.py` puts the groups together. One name may have several entries: the first that fits
the stack runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import Expr
from tocsin.model.asl.math_leaves import Constant
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.series_expr import AggregateExpr, DataExpr, SeriesExpr
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.text import parse_double, parse_int, tokenize, unescape
from tocsin.model.asl.times import parse_duration

if TYPE_CHECKING:
    from tocsin.model.asl.stack import Machine

Value = Union[str, Expr, "list[Value]"]
MISS = object()


@dataclass(frozen=True)
class Kind:
    """A type on the stack: `take` turns a value into what a word wants, or gives MISS."""

    name: str
    take: Callable[[Value], Any]

    def __call__(self, value: Value) -> Any:
        """The value as this kind, or MISS."""
        return self.take(value)


def _number(value: Value, parse: Callable[[str], float | None], cast: Callable[[float], Any]) -> Any:
    if isinstance(value, Constant):
        try:
            return cast(value.value)
        except (OverflowError, ValueError):
            return MISS
    parsed = parse(value) if isinstance(value, str) else None
    return MISS if parsed is None else parsed


def _series(value: Value) -> Any:
    if isinstance(value, SeriesExpr):
        return value
    if isinstance(value, Query):
        return AggregateExpr(value, "sum")
    number = parse_double(value) if isinstance(value, str) else None
    return MISS if number is None else Constant(number)


def _styled(value: Value) -> Any:
    if isinstance(value, StyleExpr):
        return value
    series = _series(value)
    return MISS if series is MISS else StyleExpr(series)


def _duration(value: Value) -> Any:
    if not isinstance(value, str):
        return MISS
    try:
        return parse_duration(value)
    except AslError:
        return MISS


def _strings(value: Value) -> Any:
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(unescape(str(v)) for v in value)
    return MISS


def _doubles(value: Value) -> Any:
    if not isinstance(value, list):
        return MISS
    numbers = [DOUBLE(v) for v in value]
    return MISS if any(n is MISS for n in numbers) else tuple(float(n) for n in numbers)


def _aggregate(value: Value) -> Any:
    if isinstance(value, Query):
        return AggregateExpr(value, "sum")
    return value if isinstance(value, AggregateExpr) else MISS


def _data(value: Value) -> Any:
    if isinstance(value, Query):
        return AggregateExpr(value, "sum")
    return value if isinstance(value, DataExpr) else MISS


ANY = Kind("Any", lambda v: v)
STRING = Kind("String", lambda v: str(v) if isinstance(v, str) else MISS)
INT = Kind("Int", lambda v: _number(v, parse_int, int))
DOUBLE = Kind("Double", lambda v: _number(v, parse_double, float))
LIST = Kind("List", lambda v: v if isinstance(v, list) else MISS)
STRINGS = Kind("StringList", _strings)
DOUBLES = Kind("DoubleList", _doubles)
DURATION = Kind("Duration", _duration)
QUERY = Kind("Query", lambda v: v if isinstance(v, Query) else MISS)
AGGREGATE = Kind("AggregateFunction", _aggregate)
DATA = Kind("DataExpr", _data)
SERIES = Kind("TimeSeriesExpr", _series)
STYLED = Kind("StyleExpr", _styled)
CONSOLIDATION = Kind("ConsolidationFunction", lambda v: v if v in ("avg", "sum", "min", "max") else MISS)


@dataclass(frozen=True)
class Param:
    """One parameter: its name (may be empty) and kind, deepest on the stack first."""

    name: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.name}:{self.kind.name}" if self.name else self.kind.name


Effect = Callable[["Machine", Sequence[Any]], None]
Fits = Callable[[Sequence[Value]], bool]


def _any_stack(_stack: Sequence[Value]) -> bool:
    return True


@dataclass(frozen=True)
class Word:
    """One entry of the vocabulary.

    `effect` gets the machine, whose stack has lost the parameters, and their values. With `keeps_style` a styled
    expression is taken where lines are wanted, and the result gets its settings if exactly one was given. With `raw`
    the values are handed over as they stood on the stack (macros).
    """

    name: str
    group: str
    params: tuple[Param, ...]
    outputs: str
    doc: str
    effect: Effect
    examples: tuple[str, ...] = ()
    keeps_style: bool = False
    raw: bool = False
    fits: Fits = field(default=_any_stack)
    deprecated: str | None = None

    @property
    def signature(self) -> str:
        """`TimeSeriesExpr n:Int -- TimeSeriesExpr`"""
        return f"{' '.join(map(str, self.params))} -- {self.outputs}"

    def matches(self, stack: Sequence[Value]) -> bool:
        """Whether the word fits the stack (top last)."""
        if len(stack) < len(self.params) or not self.fits(stack):
            return False
        values = stack[len(stack) - len(self.params) :]
        return all(self._take(p, v) is not MISS for p, v in zip(self.params, values, strict=True))

    def _take(self, param: Param, value: Value) -> Any:
        styled = isinstance(value, StyleExpr) and param.kind is SERIES
        if styled and (self.keeps_style or self.raw):
            return value.expr  # type: ignore[union-attr]
        return param.kind(value)

    def run(self, machine: Machine) -> None:
        """Take the parameters off the stack and have the effect."""
        cut = len(machine.stack) - len(self.params)
        values = machine.stack[cut:]
        taken = values if self.raw else [self._take(p, v) for p, v in zip(self.params, values, strict=True)]
        del machine.stack[cut:]
        self.effect(machine, taken)
        if self.keeps_style:
            self._restyle(machine, values)

    def _restyle(self, machine: Machine, values: Sequence[Value]) -> None:
        styles = [v for p, v in zip(self.params, values, strict=True) if p.kind is SERIES and isinstance(v, StyleExpr)]
        if len(styles) == 1 and machine.stack and isinstance(machine.stack[-1], SeriesExpr):
            machine.stack[-1] = styles[0].with_expr(machine.stack[-1])


class Vocabulary:
    """Words in order, by name."""

    def __init__(self, words: Iterable[Word]) -> None:
        self.words = tuple(words)
        self._by_name: dict[str, list[Word]] = {}
        for word in self.words:
            self._by_name.setdefault(word.name, []).append(word)
        self.names = frozenset(self._by_name)

    def named(self, name: str) -> Sequence[Word]:
        """The overloads of a name, in the order in which they are tried."""
        return self._by_name.get(name, ())

    def groups(self, *names: str) -> Vocabulary:
        """Only the words of some groups."""
        return Vocabulary(w for w in self.words if w.group in names)

    def extended(self, words: Iterable[Word]) -> Vocabulary:
        """With more words after these."""
        return Vocabulary((*self.words, *words))


def pure(make: Callable[..., Value]) -> Effect:
    """An effect that pushes one value made from the parameters."""

    def effect(machine: Machine, values: Sequence[Any]) -> None:
        machine.stack.append(make(*values))

    return effect


def macro(name: str, group: str, body: str, params: tuple[Param, ...], outputs: str, doc: str, *examples: str) -> Word:
    """A word that stands for a program, run on the parameters as they are."""
    program = [str(t) for t in tokenize(body)]

    def effect(machine: Machine, values: Sequence[Any]) -> None:
        machine.stack.extend(values)
        machine.run(program)

    return Word(name, group, params, outputs, doc, effect, examples, raw=True)
