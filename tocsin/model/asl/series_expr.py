"""Expressions that evaluate to lines, and the leaves that read data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tocsin.model.asl.collect import group_key
from tocsin.model.asl.expr import Expr, Word, words
from tocsin.model.asl.lines import Floats, Head, Lines, Tags, no_data
from tocsin.model.asl.query_expr import Query, exact_keys
from tocsin.model.asl.source import Aggregate, Consolidation, FetchRequest, Limits
from tocsin.model.asl.times import format_duration


@dataclass(frozen=True, slots=True)
class EvalContext:
    """The grid of an evaluation: points at `start_ms, start_ms + step_ms, …` before `end_ms`; and the data read for it.

    `now_ms` is the time that "now" means in the expression.
    """

    start_ms: int
    end_ms: int
    step_ms: int
    now_ms: int
    data: Mapping[DataExpr, Lines] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """Points of the grid."""
        return (self.end_ms - self.start_ms) // self.step_ms

    def times(self) -> np.typing.NDArray[np.int64]:
        """Epoch ms of every point."""
        return np.arange(self.points, dtype=np.int64) * self.step_ms + self.start_ms


@dataclass(frozen=True)
class SeriesExpr(Expr):
    """An expression whose value is a set of lines."""

    def eval(self, context: EvalContext) -> Lines:
        """The lines over the context's grid."""
        raise NotImplementedError

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        """The leaves that read data, left to right."""
        raise NotImplementedError

    @property
    def is_grouped(self) -> bool:
        """Whether there is one line for each value of some keys."""
        return False

    @property
    def grouping(self) -> tuple[str, ...]:
        """The keys of the final grouping."""
        return ()

    def group_of(self, tags: Tags) -> str | None:
        """Which group a line of the result belongs to; None for no group."""
        return None if not self.is_grouped else group_key(self.grouping, tags)

    def with_offset(self, offset_ms: int) -> SeriesExpr:
        """The same over data of `offset_ms` earlier."""

        def change(node: Expr) -> Expr | None:
            shifted = getattr(node, "shifted", None)
            return shifted(offset_ms) if shifted is not None else None

        result = self.rewrite(change)
        assert isinstance(result, SeriesExpr)  # noqa: S101 - `shifted` keeps the kind
        return result


@dataclass(frozen=True)
class Wrapping(SeriesExpr):
    """An expression over one other that keeps its leaves and its grouping."""

    expr: SeriesExpr

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return self.expr.data_exprs

    @property
    def is_grouped(self) -> bool:
        return self.expr.is_grouped

    @property
    def grouping(self) -> tuple[str, ...]:
        return self.expr.grouping

    def group_of(self, tags: Tags) -> str | None:
        return self.expr.group_of(tags)


@dataclass(frozen=True)
class Leaf(SeriesExpr):
    """An expression that makes its line from the time alone."""

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return ()

    def one_line(self, values: Floats, name: str) -> Lines:
        """A line named like itself."""
        return Lines((Head({"name": name}, name, gauge=True),), values[None, :])


@dataclass(frozen=True)
class DataExpr(SeriesExpr):
    """A leaf that reads data; two equal ones are read once."""

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return (self,)

    @property
    def source_query(self) -> Query:
        """Which series are read."""
        raise NotImplementedError

    @property
    def offset(self) -> int:
        """How far back the data lie, in ms."""
        raise NotImplementedError

    def shifted(self, offset_ms: int) -> DataExpr:
        """The same with another offset."""
        raise NotImplementedError

    def request(self, context: EvalContext, limits: Limits) -> FetchRequest:
        """What to ask a source for, the offset taken into account."""
        raise NotImplementedError

    def label_of(self, tags: Tags) -> str:
        """The label of a line that was read."""
        raise NotImplementedError

    def program(self) -> str:
        """The expression without its offset."""
        raise NotImplementedError

    def __str__(self) -> str:
        base = self.program()
        return base if self.offset == 0 else f"{base},{format_duration(self.offset)},:offset"

    def eval(self, context: EvalContext) -> Lines:
        lines = context.data.get(self)
        return lines if lines is not None else Lines((), np.empty((0, context.points)))

    def _grid(self, context: EvalContext) -> tuple[int, int]:
        back = self.offset // context.step_ms * context.step_ms
        return context.start_ms - back, context.end_ms - context.step_ms - back

    def shift_back(self, lines: Lines, context: EvalContext) -> Lines:
        """Put lines that were read for an earlier time on the context's grid and give them their labels.

        An offset that is no multiple of the step looks one point further back, and has no first point.
        """
        suffix = f" (offset={format_duration(self.offset)})" if self.offset else ""
        heads = tuple(Head(h.tags, self.label_of(h.tags) + suffix, h.gauge) for h in lines.heads)
        values = lines.values
        if self.offset % context.step_ms:
            values = np.hstack([np.full((len(lines), 1), np.nan), values[:, :-1]])
        return Lines(heads, values)

    def from_source(self, lines: Lines, context: EvalContext) -> Lines:
        """The lines that a source gave as the value of this expression."""
        return self.shift_back(lines, context)


@dataclass(frozen=True)
class AllSeries(DataExpr):
    """`query,:all`: every series as it is."""

    query: Query
    offset_ms: int = 0

    @property
    def source_query(self) -> Query:
        return self.query

    @property
    def offset(self) -> int:
        return self.offset_ms

    def shifted(self, offset_ms: int) -> AllSeries:
        return dataclasses.replace(self, offset_ms=offset_ms)

    def program(self) -> str:
        return f"{self.query},:all"

    def label_of(self, tags: Tags) -> str:
        return Head(tags).text

    def request(self, context: EvalContext, limits: Limits) -> FetchRequest:
        start, end = self._grid(context)
        return FetchRequest(self.query, start, end, context.step_ms, "all", None, "sum", limits)


_OWN_CF: dict[str, Consolidation] = {"sum": "avg", "count": "avg", "min": "min", "max": "max"}


@dataclass(frozen=True)
class AggregateExpr(DataExpr):
    """`query,:sum` and its like: all matching series as one line. `cf` None is the aggregate's own consolidation."""

    query: Query
    kind: Aggregate
    cf: Consolidation | None = None
    offset_ms: int = 0

    @property
    def source_query(self) -> Query:
        return self.query

    @property
    def offset(self) -> int:
        return self.offset_ms

    @property
    def consolidation(self) -> Consolidation:
        """How points become one of a longer step."""
        return self.cf or _OWN_CF[self.kind]

    def shifted(self, offset_ms: int) -> AggregateExpr:
        return dataclasses.replace(self, offset_ms=offset_ms)

    def with_cf(self, cf: Consolidation) -> AggregateExpr:
        """The same with another consolidation."""
        return dataclasses.replace(self, cf=None if cf == _OWN_CF[self.kind] else cf)

    def program(self) -> str:
        base = f"{self.query},:{self.kind}"
        return base if self.cf is None else f"{base},:cf-{self.cf}"

    def label_of(self, tags: Tags) -> str:  # noqa: ARG002 - the query says it
        return f"{self.kind}({self.query.label})"

    def request(self, context: EvalContext, limits: Limits) -> FetchRequest:
        start, end = self._grid(context)
        return FetchRequest(self.query, start, end, context.step_ms, self.kind, None, self.consolidation, limits)

    def from_source(self, lines: Lines, context: EvalContext) -> Lines:
        return self.shift_back(lines, context) if len(lines) else no_data(context.points)


@dataclass(frozen=True)
class GroupedData(DataExpr):
    """`query,:sum,(,keys,),:by`: one line for each combination of the keys' values."""

    aggregate: AggregateExpr
    keys: tuple[str, ...]

    @property
    def source_query(self) -> Query:
        return self.aggregate.query

    @property
    def offset(self) -> int:
        return self.aggregate.offset_ms

    def shifted(self, offset_ms: int) -> GroupedData:
        return dataclasses.replace(self, aggregate=self.aggregate.shifted(offset_ms))

    @property
    def is_grouped(self) -> bool:
        return True

    @property
    def grouping(self) -> tuple[str, ...]:
        return self.keys

    def program(self) -> str:
        return words(Word(str(self.aggregate)), self.keys, Word(":by"))

    def __str__(self) -> str:
        return self.program() if self.offset == 0 else f"{self.program()},{format_duration(self.offset)},:offset"

    def label_of(self, tags: Tags) -> str:
        return group_key(self.keys, tags) or Head(tags).text

    def request(self, context: EvalContext, limits: Limits) -> FetchRequest:
        request = self.aggregate.request(context, limits)
        return dataclasses.replace(request, by=self.keys)


def common_exact_keys(exprs: Sequence[DataExpr]) -> frozenset[str]:
    """Keys that every one of some data expressions fixes."""
    if not exprs:
        return frozenset()
    sets = [exact_keys(e.source_query) for e in exprs]
    return frozenset.intersection(*sets)
