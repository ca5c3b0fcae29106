"""Macros that keep their name: evaluated in full, shown as the person wrote them.

`name,x,:eq,:avg` is a sum divided by a count, but reads back, groups, shifts and filters as `:avg`. After a rewrite of
the shown part the macro is run again on it, so that its full form follows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import Executor, Expr, Rewrite, Word, rewritten, show, words
from tocsin.model.asl.group_math import AggregateLines, GroupLines
from tocsin.model.asl.lines import Lines, Tags
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.series_expr import AggregateExpr, DataExpr, EvalContext, GroupedData, SeriesExpr
from tocsin.model.asl.times import format_duration

Regroup = Callable[[Expr, tuple[str, ...]], SeriesExpr]


def group_by(expr: Expr, keys: tuple[str, ...]) -> Expr:
    """Group every aggregate of an expression by the same keys."""

    def change(node: Expr) -> Expr | None:
        if isinstance(node, AggregateExpr):
            return GroupedData(node, keys)
        return GroupLines(node, keys) if isinstance(node, AggregateLines) else None

    return expr.rewrite(change)


@dataclass(frozen=True)
class NamedRewrite(SeriesExpr):
    """`shown` with the word `name` and its parameters stands for `full`.

    `regroup` makes the full form for another grouping where grouping every aggregate would be wrong.
    """

    name: str
    shown: Expr
    parameters: tuple[object, ...]
    full: SeriesExpr
    executor: Executor = field(compare=False, repr=False)
    regroup: Regroup | None = field(default=None, compare=False, repr=False)

    @property
    def _word(self) -> str:
        return ",".join([*(show(p) for p in self.parameters), f":{self.name}"])

    def __str__(self) -> str:
        return self._program(self.shown)

    def _program(self, shown: Expr) -> str:
        if isinstance(shown, Query):
            offset = self._offset(self.full)
            text = f"{shown},{self._word}"
            text += f",{format_duration(offset)},:offset" if offset else ""
            return self._with_grouping(text)
        if isinstance(shown, SeriesExpr) and self._shows_grouping:
            offset = self._offset(self.full)
            if offset and offset != (self._offset(shown) or 0):
                return f"{shown.with_offset(offset)},{self._word}"
            return f"{shown},{self._word}"
        return self._with_grouping(words(shown, Word(self._word)))

    def _with_grouping(self, text: str) -> str:
        keys = self.full.grouping
        return words(Word(text), keys, Word(":by")) if keys else text

    @property
    def _shows_grouping(self) -> bool:
        return isinstance(self.shown, SeriesExpr) and self.shown.grouping == self.full.grouping

    @staticmethod
    def _offset(expr: SeriesExpr) -> int | None:
        offsets = {e.offset for e in expr.data_exprs}
        found = offsets.pop() if len(offsets) == 1 else 0
        return found or None

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return self.full.data_exprs

    @property
    def is_grouped(self) -> bool:
        return self.full.is_grouped

    @property
    def grouping(self) -> tuple[str, ...]:
        return self.full.grouping

    def group_of(self, tags: Tags) -> str | None:
        return self.full.group_of(tags)

    def eval(self, context: EvalContext) -> Lines:
        return self.full.eval(context)

    def rewrite(self, change: Rewrite) -> Expr:
        new = change(self)
        if new is not None:
            return new
        shown = self.shown.rewrite(change)
        if shown is self.shown:
            return self
        stack = self.executor.run_to_stack(self._program(shown))
        if len(stack) == 1 and isinstance(stack[0], NamedRewrite):
            return stack[0]
        raise AslError(f"cannot rewrite :{self.name} to '{shown}'")

    def group_by(self, keys: tuple[str, ...]) -> NamedRewrite:
        """The same grouped by keys."""
        already = isinstance(self.shown, SeriesExpr) and self.shown.is_grouped
        shown = self.shown if already else group_by(self.shown, keys)
        full = self.regroup(self.shown, keys) if self.regroup else group_by(self.full, keys)
        assert isinstance(full, SeriesExpr)  # noqa: S101 - grouping keeps the kind
        full = full.with_offset(self._offset(self.full) or 0)
        return dataclasses.replace(self, shown=shown, full=full)

    def shifted(self, offset_ms: int) -> NamedRewrite:
        """The same over data of `offset_ms` earlier."""
        return dataclasses.replace(self, full=self.full.with_offset(offset_ms))


def expand(expr: SeriesExpr) -> SeriesExpr:
    """The full form of every macro of an expression."""
    return rewritten(
        expr,
        lambda node: node.full if isinstance(node, NamedRewrite) else None,
        SeriesExpr,
    )
