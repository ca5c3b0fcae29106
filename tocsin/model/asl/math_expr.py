"""Arithmetic on lines: each value by itself, and two sets of lines joined by their groups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import Word, words
from tocsin.model.asl.lines import Floats, Head, Lines, Tags, add_nan, truth
from tocsin.model.asl.series_expr import DataExpr, EvalContext, SeriesExpr, Wrapping
from tocsin.model.asl.times import SECOND

Unary = Callable[[Floats], Floats]
Binary = Callable[[Floats, Floats], Floats]

UNARY: Mapping[str, Unary] = {
    "abs": np.abs,
    "neg": np.negative,
    "sin": np.sin,
    "sqrt": np.sqrt,
}


def _divide(a: Floats, b: Floats) -> Floats:
    """x/0 is no value; 0/0 is 0, for nothing happening out of nothing is the normal case of a quiet counter."""
    return np.where(b == 0, np.where(a == 0, 0.0, np.nan), a / np.where(b == 0, 1.0, b))


def _power(a: Floats, b: Floats) -> Floats:
    """As Java: anything to the power of NaN is NaN, and so is 1 to an infinite power."""
    result = np.power(a, b)
    undefined = np.isnan(b) | ((np.abs(a) == 1) & np.isinf(b))
    return np.where(undefined, np.nan, result)


RATIO = "ratio"
"""No word: a share of a catalogue metric, which has no value where its denominator is 0."""

BINARY: Mapping[str, Binary] = {
    "add": add_nan,
    "sub": lambda a, b: add_nan(a, -b),
    "mul": np.multiply,
    "div": _divide,
    "pow": _power,
    "gt": lambda a, b: (a > b).astype(np.float64),
    "ge": lambda a, b: (a >= b).astype(np.float64),
    "lt": lambda a, b: (a < b).astype(np.float64),
    "le": lambda a, b: (a <= b).astype(np.float64),
    "fadd": np.add,
    "fsub": np.subtract,
    "fmul": np.multiply,
    "fdiv": np.divide,
    "and": lambda a, b: (truth(a) & truth(b)).astype(np.float64),
    "or": lambda a, b: (truth(a) | truth(b)).astype(np.float64),
    RATIO: lambda a, b: np.where(b == 0, np.nan, a / np.where(b == 0, 1.0, b)),
}


@dataclass(frozen=True)
class UnaryMath(Wrapping):
    """`expr,:abs` and its like"""

    name: str

    def __str__(self) -> str:
        return words(self.expr, Word(f":{self.name}"))

    def apply(self, values: Floats) -> Floats:
        """The operation on values."""
        with np.errstate(all="ignore"):
            return UNARY[self.name](values)

    def eval(self, context: EvalContext) -> Lines:
        return self.expr.eval(context).map(UNARY[self.name])


@dataclass(frozen=True)
class PerStep(Wrapping):
    """`expr,:per-step`: a rate per second as an amount per step"""

    def __str__(self) -> str:
        return words(self.expr, Word(":per-step"))

    def eval(self, context: EvalContext) -> Lines:
        seconds = context.step_ms / SECOND
        return self.expr.eval(context).map(lambda v: v * seconds)


@dataclass(frozen=True)
class Clamp(Wrapping):
    """`expr,0,:clamp-min` and `expr,100,:clamp-max`"""

    bound: float
    name: str

    def __str__(self) -> str:
        return words(self.expr, self.bound, Word(f":{self.name}"))

    def eval(self, context: EvalContext) -> Lines:
        bound = self.bound
        if self.name == "clamp-min":
            return self.expr.eval(context).map(lambda v: np.where(v < bound, bound, v))
        return self.expr.eval(context).map(lambda v: np.where(v > bound, bound, v))


@dataclass(frozen=True)
class RenameKey(Wrapping):
    """`expr,key,new,:as`: another name for a key of the tags"""

    original: str
    replacement: str

    def __str__(self) -> str:
        return words(self.expr, self.original, self.replacement, Word(":as"))

    @property
    def grouping(self) -> tuple[str, ...]:
        return tuple(self.replacement if k == self.original else k for k in self.expr.grouping)

    def group_of(self, tags: Tags) -> str | None:
        return SeriesExpr.group_of(self, tags)

    def eval(self, context: EvalContext) -> Lines:
        lines = self.expr.eval(context)
        heads = []
        for head in lines.heads:
            tags = dict(head.tags)
            if self.original in tags:
                tags[self.replacement] = tags.pop(self.original)
            heads.append(Head(tags, head.label, head.gauge))
        return Lines(tuple(heads), lines.values)


@dataclass(frozen=True)
class SetTag(Wrapping):
    """A tag given to every line; how a catalogue metric that is made of parts bears its own name."""

    key: str
    value: str

    def __str__(self) -> str:
        return str(self.expr)

    def eval(self, context: EvalContext) -> Lines:
        lines = self.expr.eval(context)
        heads = tuple(Head({**h.tags, self.key: self.value}, h.label, h.gauge) for h in lines.heads)
        return Lines(heads, lines.values, lines.messages)


@dataclass(frozen=True)
class BinaryMath(SeriesExpr):
    """`a,b,:div` and its like: an inner join over groups; one side's keys must contain the other's."""

    left: SeriesExpr
    right: SeriesExpr
    name: str

    def __post_init__(self) -> None:
        ours, theirs = set(self.left.grouping), set(self.right.grouping)
        grouped = self.left.is_grouped and self.right.is_grouped
        if grouped and not (ours <= theirs or theirs <= ours):
            raise AslError(
                "both sides of a binary operation must have the same grouping, or one must contain the other: "
                f"(,{','.join(self.left.grouping)},) and (,{','.join(self.right.grouping)},)"
            )

    @functools.cached_property
    def _left_is_finer(self) -> bool:
        return set(self.right.grouping) <= set(self.left.grouping)

    def __str__(self) -> str:
        return words(self.left, self.right, Word(f":{self.name}"))

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return self.left.data_exprs + self.right.data_exprs

    @property
    def is_grouped(self) -> bool:
        return self.left.is_grouped or self.right.is_grouped

    @property
    def grouping(self) -> tuple[str, ...]:
        return self.left.grouping if self._left_is_finer else self.right.grouping

    def group_of(self, tags: Tags) -> str | None:
        return (self.left if self._left_is_finer else self.right).group_of(tags)

    def apply(self, a: Floats, b: Floats) -> Floats:
        """The operation on values."""
        with np.errstate(all="ignore"):
            return np.asarray(BINARY[self.name](a, b), dtype=np.float64)

    def eval(self, context: EvalContext) -> Lines:
        ours, theirs = self.left.eval(context), self.right.eval(context)
        if self._left_is_finer:
            rows, partners = join(ours, theirs, self.right)
            heads = [Head(ours.heads[i].tags, None, ours.heads[i].gauge) for i in rows]
            return Lines(tuple(heads), self.apply(ours.values[rows], theirs.values[partners]))
        rows, partners = join(theirs, ours, self.left)
        heads = [Head(theirs.heads[i].tags, None, ours.heads[j].gauge) for i, j in zip(rows, partners, strict=True)]
        return Lines(tuple(heads), self.apply(ours.values[partners], theirs.values[rows]))


def join(finer: Lines, coarser: Lines, by: SeriesExpr) -> tuple[list[int], list[int]]:
    """Rows of the finer side and, for each, the row of the coarser side in the same group; others are left out."""
    index: dict[str | None, int] = {}
    twice: set[str | None] = set()
    for i, head in enumerate(coarser.heads):
        key = by.group_of(head.tags)
        if key in index:
            twice.add(key)
        index[key] = i
    rows, partners = [], []
    for i, head in enumerate(finer.heads):
        key = by.group_of(head.tags)
        if key in twice:
            raise AslError(f"too many values for key {key or '(not grouped)'} on one side of a binary operation")
        if key in index:
            rows.append(i)
            partners.append(index[key])
    return rows, partners
