"""The ledger: which intervals of the log are counted, and whether every count closes.

Theory. A bucket is an interval [start, end) of one partition's offsets; its ledger row is stored in the same block as
its deltas, so the row is there exactly when the deltas are. Three statements prove that nothing is lost or double:

1. *Tiling*: the intervals of a partition cover [log start, log end) without gap or overlap. A gap is lost input, an
   overlap is input that was counted twice.
2. *Balance*, in every row and so in every sum: received = duplicates + unique; unique = aggregated + late + future.
3. *Storage*: raw rows of the kinds unique, late and future are as many as the rows say (while raw rows are kept).

Source: design/reliability.md "The ledger", design/counting.md point 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tocsin.model.tables import LEDGER_COLUMNS

PROBLEMS_MAX = 100
"""Problems that a report spells out; the rest is only counted."""

EQUATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("received", ("duplicates", "unique")),
    ("unique", ("aggregated", "late", "future")),
)
"""Each left side is the sum of the right side."""

RAW_KINDS: tuple[tuple[str, str], ...] = (("aggregated", "unique"), ("late", "late"), ("future", "future"))
"""(ledger column, `row_kind` of the raw rows that it counts)."""


class Interval(NamedTuple):
    """Offsets [start, end) of one partition."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One bucket's row: its interval, append time of its first message (epoch ms), and counts by LEDGER_COLUMNS."""

    partition: int
    start: int
    end: int
    append_ms: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PartitionLedger:
    """One partition's proof: what it should cover, what is missing, what is there twice."""

    partition: int
    log: Interval
    buckets: int
    gaps: tuple[Interval, ...]
    overlaps: tuple[Interval, ...]
    watermark_ms: int

    @property
    def missing(self) -> int:
        """Messages of the log that no bucket covers."""
        return sum(gap.end - gap.start for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What `tocsin doctor --ledger` prints; `problems` is empty exactly where the ledger is balanced."""

    partitions: tuple[PartitionLedger, ...]
    totals: dict[str, int]
    problems: tuple[str, ...]
    problems_left_out: int = 0

    @property
    def balanced(self) -> bool:
        """True where the intervals tile the log and every equation holds."""
        return not self.problems

    @property
    def lost(self) -> int:
        """Messages not counted."""
        return sum(partition.missing for partition in self.partitions)

    @property
    def double(self) -> int:
        """Messages counted more than once."""
        return sum(over.end - over.start for partition in self.partitions for over in partition.overlaps)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "balanced": self.balanced,
            "lost": self.lost,
            "double": self.double,
            "gaps": sum(len(partition.gaps) for partition in self.partitions),
            "overlaps": sum(len(partition.overlaps) for partition in self.partitions),
            "buckets": sum(partition.buckets for partition in self.partitions),
            "totals": self.totals,
            "problems": list(self.problems),
        }


@dataclass(slots=True)
class _Problems:
    shown: list[str] = field(default_factory=list)
    left_out: int = 0

    def add(self, text: str) -> None:
        if len(self.shown) < PROBLEMS_MAX:
            self.shown.append(text)
        else:
            self.left_out += 1


def tiling(intervals: Iterable[tuple[int, int]], start: int, end: int) -> tuple[list[Interval], list[Interval]]:
    """(gaps, overlaps) of `intervals` in any order against [start, end); what lies outside of it is not looked at."""
    gaps: list[Interval] = []
    overlaps: list[Interval] = []
    covered = start
    for low, high in sorted(intervals):
        if high <= start:
            continue
        if low > covered and covered < end:
            gaps.append(Interval(covered, min(low, end)))
        if low < covered and low >= start:
            overlaps.append(Interval(low, min(covered, high)))
        covered = max(covered, high)
    if covered < end:
        gaps.append(Interval(covered, end))
    return gaps, overlaps


def first_missing(intervals: Iterable[tuple[int, int]], start: int) -> int:
    """The first offset from `start` on that no interval covers: where counting must resume."""
    covered = start
    for low, high in sorted(intervals):
        if low > covered:
            break
        covered = max(covered, high)
    return covered


def report(
    rows: Sequence[LedgerRow], log: Mapping[int, tuple[int, int]], raw: Mapping[str, int] | None = None
) -> LedgerReport:
    """Check `rows` against the log's bounds by partition (first offset kept, next offset), and `raw` (rows by
    `row_kind`) against the counts where given."""
    problems = _Problems()
    by_partition: dict[int, list[LedgerRow]] = {partition: [] for partition in log}
    totals = dict.fromkeys(LEDGER_COLUMNS, 0)
    for row in rows:
        by_partition.setdefault(row.partition, []).append(row)
        for name in LEDGER_COLUMNS:
            totals[name] += row.counts.get(name, 0)
        _check_balance(row, problems)
    partitions = tuple(
        _check_tiling(partition, found, Interval(*log.get(partition, (0, 0))), problems)
        for partition, found in sorted(by_partition.items())
    )
    for column, kind in RAW_KINDS:
        if raw is not None and raw.get(kind, 0) != totals[column]:
            problems.add(f"raw rows of kind {kind}: {raw.get(kind, 0)} stored, {totals[column]} in the ledger")
    return LedgerReport(partitions, totals, tuple(problems.shown), problems.left_out)


def _check_balance(row: LedgerRow, problems: _Problems) -> None:
    where = f"partition {row.partition} bucket [{row.start}, {row.end})"
    for left, right in EQUATIONS:
        total = sum(row.counts.get(name, 0) for name in right)
        if row.counts.get(left, 0) != total:
            problems.add(f"{where}: {left} {row.counts.get(left, 0)} is not {' + '.join(right)} = {total}")
    if row.end <= row.start:
        problems.add(f"{where}: it is empty or runs backwards")


def _check_tiling(partition: int, rows: list[LedgerRow], log: Interval, problems: _Problems) -> PartitionLedger:
    gaps, overlaps = tiling([(row.start, row.end) for row in rows], log.start, log.end)
    for gap in gaps:
        problems.add(f"partition {partition}: offsets [{gap.start}, {gap.end}) are in no bucket")
    for over in overlaps:
        problems.add(f"partition {partition}: offsets [{over.start}, {over.end}) are in two buckets")
    watermark = max((row.append_ms for row in rows), default=0)
    return PartitionLedger(partition, log, len(rows), tuple(gaps), tuple(overlaps), watermark)
