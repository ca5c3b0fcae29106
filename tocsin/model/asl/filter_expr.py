"""Words that choose lines: by a statistic of each, or the most extreme few; and consolidation to a longer step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tocsin.model.asl.errors import AslError, nearest
from tocsin.model.asl.expr import DurationMs, Word, words
from tocsin.model.asl.group_math import combine_rows
from tocsin.model.asl.heap import Bounded
from tocsin.model.asl.lines import STATISTICS, Bools, Floats, Head, Lines, summarize, tag_label, truth
from tocsin.model.asl.series_expr import DataExpr, EvalContext, Leaf, SeriesExpr, Wrapping
from tocsin.model.asl.source import Consolidation

OTHERS = "--others--"


def check_statistic(name: str) -> None:
    """Refuse a name that is no statistic."""
    if name not in STATISTICS:
        raise AslError(f"unknown statistic: '{name}' is none of {', '.join(STATISTICS)}{nearest(name, STATISTICS)}")


@dataclass(frozen=True)
class Stat(Wrapping):
    """`expr,max,:stat`: one value for the whole line. `short` is how it was written within a filter."""

    stat: str
    short: str | None = None

    def __post_init__(self) -> None:
        check_statistic(self.stat)

    def __str__(self) -> str:
        return self.short or words(self.expr, self.stat, Word(":stat"))

    def eval(self, context: EvalContext) -> Lines:
        lines = self.expr.eval(context)
        values = summarize(lines.values).get(self.stat)
        assert values is not None  # noqa: S101 - checked when made
        heads = tuple(Head(h.tags, f"stat-{self.stat}({h.text})", gauge=True) for h in lines.heads)
        return Lines(heads, np.repeat(values[:, None], context.points, axis=1))


@dataclass(frozen=True)
class StatOfFiltered(Leaf):
    """`:stat-max`: stands for that statistic of the lines that a filter is applied to"""

    stat: str

    def __str__(self) -> str:
        return f":stat-{self.stat}"

    def eval(self, context: EvalContext) -> Lines:
        return Lines((), np.empty((0, context.points)))


@dataclass(frozen=True)
class Filter(SeriesExpr):
    """`expr,condition,:filter`: lines for which the condition holds at some point"""

    expr: SeriesExpr
    condition: SeriesExpr

    def __post_init__(self) -> None:
        if not self.expr.is_grouped and self.condition.is_grouped:
            raise AslError("the grouping of a filter's condition must match that of the filtered expression")

    def __str__(self) -> str:
        return words(self.expr, self.condition, Word(":filter"))

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return self.expr.data_exprs + self.condition.data_exprs

    @property
    def is_grouped(self) -> bool:
        return self.expr.is_grouped

    @property
    def grouping(self) -> tuple[str, ...]:
        return self.expr.grouping

    def eval(self, context: EvalContext) -> Lines:
        lines, conditions = self.expr.eval(context), self.condition.eval(context)
        holds: Bools = np.asarray(truth(conditions.values).any(axis=1))
        if not self.condition.is_grouped:
            if len(conditions) != 1:
                raise AslError(f"a filter's condition must be one line, '{self.condition}' has {len(conditions)}")
            rows = list(range(len(lines))) if holds[0] else []
        else:
            by_group: dict[str | None, list[int]] = {}
            for i, head in enumerate(conditions.heads):
                by_group.setdefault(self.expr.group_of(head.tags), []).append(i)
            rows = []
            for i, head in enumerate(lines.heads):
                partners = by_group.get(self.expr.group_of(head.tags), [])
                if len(partners) == 1 and holds[partners[0]]:
                    rows.append(i)
        kept = lines.take(rows)
        return Lines(kept.heads, kept.values, (f"{len(rows)} of {len(lines)} lines matched filter",))


@dataclass(frozen=True)
class Extreme(Wrapping):
    """`expr,max,5,:topk` and `:bottomk`; `-others-sum` and its like add one line for those that are left out"""

    stat: str
    k: int
    name: str

    def __post_init__(self) -> None:
        check_statistic(self.stat)
        if self.k <= 0:
            raise AslError(f"k of :{self.name} must be positive, not {self.k}")

    def __str__(self) -> str:
        return words(self.expr, self.stat, self.k, Word(f":{self.name}"))

    def eval(self, context: EvalContext) -> Lines:
        lines = self.expr.eval(context)
        ranks = summarize(lines.values).get(self.stat)
        assert ranks is not None  # noqa: S101 - checked when made
        sign = -1.0 if self.name.startswith("topk") else 1.0
        buffer = Bounded(self.k, [sign * (math.inf if math.isnan(v) else float(v)) for v in ranks])
        left_out = [i for i in map(buffer.add, range(len(lines))) if i is not None]
        result = lines.take(buffer.items)
        how = self.name.partition("-others-")[2]
        if not how or not left_out:
            return Lines(result.heads, result.values)
        others = lines.take(left_out)
        first = others.heads[0]
        tags = {**first.tags, **dict.fromkeys(self.grouping, OTHERS)}
        row = combine_rows(others.values, how)[None, :]
        head = Head(tags, tag_label(tags), first.gauge)
        return Lines((head, *result.heads), np.vstack([row, result.values]))


@dataclass(frozen=True)
class Consolidate(Wrapping):
    """`expr,avg,5m,:consolidate`: the values of a longer step, shown at every point of it"""

    cf: Consolidation
    step: DurationMs

    def __str__(self) -> str:
        return words(self.expr, self.cf, self.step, Word(":consolidate"))

    def eval(self, context: EvalContext) -> Lines:
        lines = self.expr.eval(context)
        step = context.step_ms
        wanted = self.step.ms
        if wanted > step and wanted % step:
            wanted = step * (wanted // step + 1)
        if wanted <= step:
            return lines
        gauges = np.array([h.gauge for h in lines.heads], dtype=np.bool_)
        values = _consolidated_view(lines.values, gauges, self.cf, context.start_ms // step, wanted // step)
        return Lines(lines.heads, values)


def _consolidated_view(
    values: Floats, gauges: np.typing.NDArray[np.bool_], cf: str, first: int, multiple: int
) -> Floats:
    """Windows end at multiples of the longer step; points outside the range are missing."""
    lead = (first - 1) % multiple
    points = values.shape[1]
    tail = -(lead + points) % multiple
    padded = np.pad(values, ((0, 0), (lead, tail)), constant_values=np.nan)
    windows = padded.reshape(len(values), -1, multiple)
    there = ~np.isnan(windows)
    count = there.sum(axis=2)
    if cf in ("min", "max"):
        pick = np.fmin if cf == "min" else np.fmax
        result = pick.reduce(windows, axis=2)
    else:
        result = np.where(count > 0, np.where(there, windows, 0.0).sum(axis=2), np.nan)
        if cf == "avg":
            with np.errstate(all="ignore"):
                result = result / np.where(gauges[:, None], count, multiple)
    return np.asarray(np.repeat(result, multiple, axis=1)[:, lead : lead + points])
