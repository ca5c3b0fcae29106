"""Expressions over series that together hold a distribution: percentiles, and counts of distinct values."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tocsin.model.asl import buckets
from tocsin.model.asl.collect import group_key
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import Expr, Word, rewritten, show_list, words
from tocsin.model.asl.lines import Floats, Head, Lines, Tags, no_data
from tocsin.model.asl.series_expr import AggregateExpr, DataExpr, EvalContext, GroupedData, SeriesExpr
from tocsin.model.asl.text import java_double
from tocsin.model.asl.times import format_duration

PERCENTILE = "percentile"
DISTINCT = "distinct"
REGISTERS = 64
_TIMER_UNIT = 1e-9


@dataclass(frozen=True)
class Percentiles(SeriesExpr):
    """`query,(,50,90,),:percentiles`: read from counts by bucket. `grouped` has the key `percentile`."""

    grouped: GroupedData
    wanted: tuple[float, ...]

    def __post_init__(self) -> None:
        if PERCENTILE not in self.grouped.keys:
            raise AslError(f"key list for group by must contain '{PERCENTILE}'")
        for p in self.wanted:
            if not 0 <= p <= 100:
                raise AslError(f"invalid percentile {p}: it must be from 0 to 100")

    @property
    def _others(self) -> tuple[str, ...]:
        return tuple(k for k in self.grouped.keys if k != PERCENTILE)

    @property
    def _sorted(self) -> tuple[float, ...]:
        return tuple(sorted(set(self.wanted)))

    def __str__(self) -> str:
        query, others, offset = self.grouped.source_query, self._others, self.grouped.offset
        base = words(query, others, Word(":by")) if others else str(query)
        text = f"{base},{show_list(self._sorted)},:percentiles"
        return text if offset == 0 else f"{text},{format_duration(offset)},:offset"

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return (self.grouped,)

    @property
    def is_grouped(self) -> bool:
        return True

    @property
    def grouping(self) -> tuple[str, ...]:
        return self.grouped.keys

    def eval(self, context: EvalContext) -> Lines:
        lines = self.grouped.eval(context)
        heads: list[Head] = []
        values: list[Floats] = []
        for key, rows in _groups(lines, self._others).items():
            label = key or self.grouped.source_query.label
            members = lines.take(rows)
            heads.extend(self._heads(members.heads[0].tags, label))
            values.append(_estimate(members, np.array(self._sorted)))
        if not heads:
            return lines
        return Lines(tuple(heads), np.vstack(values))

    def _heads(self, tags: Tags, label: str) -> list[Head]:
        heads = []
        for p in self._sorted:
            text = java_double(p).rjust(len("100.0"))
            heads.append(Head({**tags, PERCENTILE: text}, f"percentile({label}, {text})", gauge=True))
        return heads


def _groups(lines: Lines, keys: tuple[str, ...]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for i, head in enumerate(lines.heads):
        groups.setdefault(group_key(keys, head.tags) or "" if keys else "", []).append(i)
    return groups


def _by_index(lines: Lines, key: str) -> dict[int, int]:
    rows: dict[int, int] = {}
    for i, head in enumerate(lines.heads):
        try:
            index = int(head.tags[key][1:], 16)
        except ValueError:
            raise AslError(f"invalid {key} encoding: '{head.tags[key]}' has no hexadecimal index") from None
        if index in rows:
            raise AslError(f"invalid {key} encoding: '{head.tags[key]}' is there twice; timers and amounts are mixed")
        rows[index] = i
    return rows


def _estimate(lines: Lines, wanted: Floats) -> Floats:
    rows = {i: row for i, row in _by_index(lines, PERCENTILE).items() if 0 <= i < buckets.COUNT}
    used = np.array(sorted(rows), dtype=np.int64)
    counts = lines.values[[rows[int(i)] for i in used]]
    factor = _TIMER_UNIT if lines.heads[0].tags[PERCENTILE].startswith("T") else 1.0
    return buckets.percentiles(used, counts, wanted) * factor


@dataclass(frozen=True)
class DistinctCount(SeriesExpr):
    """`query,:approx-distinct`: a HyperLogLog estimate from 64 registers kept as series with the tag `distinct`."""

    expr: SeriesExpr

    def __post_init__(self) -> None:
        if DISTINCT not in self._registers.grouping:
            raise AslError(f"the input must have an aggregate that can be grouped by '{DISTINCT}'")

    @functools.cached_property
    def _registers(self) -> SeriesExpr:
        def change(node: Expr) -> Expr | None:
            if isinstance(node, GroupedData):
                return GroupedData(_maximum(node.aggregate), (DISTINCT, *node.keys))
            return GroupedData(_maximum(node), (DISTINCT,)) if isinstance(node, AggregateExpr) else None

        return rewritten(self.expr, change, SeriesExpr)

    def __str__(self) -> str:
        return words(self.expr, Word(":approx-distinct"))

    @property
    def data_exprs(self) -> tuple[DataExpr, ...]:
        return self._registers.data_exprs

    @property
    def grouping(self) -> tuple[str, ...]:
        return tuple(k for k in self._registers.grouping if k != DISTINCT)

    @property
    def is_grouped(self) -> bool:
        return bool(self.grouping)

    def eval(self, context: EvalContext) -> Lines:
        lines = self._registers.eval(context)
        heads: list[Head] = []
        values: list[Floats] = []
        for key, rows in _groups(lines, self.grouping).items():
            members = lines.take(rows)
            tags = {k: v for k, v in members.heads[0].tags.items() if k != DISTINCT}
            label = key or f"approx-distinct({self.data_exprs[0].source_query.label})"
            heads.append(Head(tags, label, gauge=True))
            values.append(cardinality(members))
        return Lines(tuple(heads), np.vstack(values)) if heads else no_data(context.points)


def _maximum(aggregate: AggregateExpr) -> AggregateExpr:
    return AggregateExpr(aggregate.query, "max", None, aggregate.offset_ms)


def cardinality(lines: Lines) -> Floats:
    """HyperLogLog over registers by time (Flajolet et al. 2007), with linear counting while registers are empty."""
    rows: Mapping[int, int] = {i: r for i, r in _by_index(lines, DISTINCT).items() if 0 <= i < REGISTERS}
    raw = lines.values[list(rows.values())]
    rho = np.zeros((REGISTERS, raw.shape[1]))
    rho[list(rows)] = np.where(np.isfinite(raw) & (raw > 0), raw, 0.0)
    zeros = (rho == 0).sum(axis=0)
    alpha = 0.7213 / (1.0 + 1.079 / REGISTERS)
    estimate = alpha * REGISTERS**2 / np.power(2.0, -rho).sum(axis=0)
    with np.errstate(all="ignore"):
        linear = REGISTERS * np.log(REGISTERS / zeros)
    small = (estimate <= 2.5 * REGISTERS) & (zeros > 0)
    return np.where(zeros == REGISTERS, np.nan, np.where(small, linear, estimate))


def as_sum(aggregate: AggregateExpr) -> AggregateExpr:
    """Counts by bucket are summed, whatever aggregate was written."""
    return dataclasses.replace(aggregate, kind="sum", cf=None)
