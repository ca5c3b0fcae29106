"""Rolls heartbeats up as the pipeline does, a minute at a time and in bulk: what the drawn history is made of.

A `Part` row is what one session adds under one error code in one minute. Sums come from the catalogue's measures;
n and moments belong to the session-minute and so stand in its part without an error (design/counting.md point 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from player_sim import layout
from player_sim.cells import CellSpace
from player_sim.layout import Int64s, Records
from tocsin.model.catalogue import HISTOGRAMS, MEASURES, MOMENTS
from tocsin.model.compiled import compiled
from tocsin.model.percentiles import BOUNDS, bucket_of_ms
from tocsin.model.tables import ADDITIVE_COLUMNS, MAX_COLUMNS, SUM_COLUMNS

Int32s = npt.NDArray[np.int32]
UInt64s = npt.NDArray[np.uint64]

BUCKETS = len(BOUNDS)
_PLAIN = [(place, MEASURES[name].of) for place, name in enumerate(SUM_COLUMNS) if MEASURES[name].of in layout.FIELDS]
_PLAIN_PLACES = np.array([place for place, _ in _PLAIN], np.int64)
_PLAIN_FIELDS = np.array([layout.FIELDS.index(str(field)) for _, field in _PLAIN], np.int64)
_DERIVED_PLACES = np.array(sorted(set(range(len(SUM_COLUMNS))) - set(_PLAIN_PLACES.tolist())), np.int64)
"""Measures that are a heartbeat's own field, and the others, by their place in SUM_COLUMNS."""


@dataclass(frozen=True, slots=True)
class Parts:
    """p parts: `cells` (p, cubes), `sums` (p, ADDITIVE_COLUMNS), `maxima` (p, MAX_COLUMNS).

    Of shape (p,): `sid`, `error` (code, 0 for none), `stratum` (region × device).

    Observations of histograms, m of them: `seen_part`, and `seen_column` = index into HISTOGRAMS × BUCKETS + bucket.
    """

    cells: Int64s
    sums: Int64s
    maxima: Int64s
    sid: UInt64s
    error: Int64s
    stratum: Int64s
    seen_part: Int64s
    seen_column: Int64s


@compiled
def _sum_segments(values: Int64s, columns: Int64s, starts: Int64s, into: Int64s, out: Int64s) -> None:
    """out[segment, into[j]] = Σ values[rows of the segment, columns[j]]."""
    for segment in range(len(starts)):
        end = starts[segment + 1] if segment + 1 < len(starts) else len(values)
        for row in range(starts[segment], end):
            for j in range(len(columns)):
                out[segment, into[j]] += values[row, columns[j]]


@compiled
def _add_to_cells(cells: Int64s, sums: Int64s, maxima: Int64s, acc_sums: Int64s, acc_maxima: Int64s) -> None:
    for part in range(len(cells)):
        for cube in range(cells.shape[1]):
            cell = cells[part, cube]
            for column in range(sums.shape[1]):
                acc_sums[cell, column] += sums[part, column]
            for column in range(maxima.shape[1]):
                acc_maxima[cell, column] = max(acc_maxima[cell, column], maxima[part, column])


@compiled
def _add_seen(cells: Int64s, part: Int64s, column: Int64s, acc: Int32s) -> None:
    for i in range(len(part)):
        for cube in range(cells.shape[1]):
            acc[cells[part[i], cube], column[i]] += 1


def parts_of(space: CellSpace, rows: Records, received_ms: Int64s) -> Parts:
    """Parts of heartbeats of one minute; rows of one session must stand together (shape (n,), n > 0)."""
    columns = dict(layout.columns_of(rows, received_ms))
    columns["expected"] = columns["sample_k"]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(rows["row"])) + 1])
    wrong = np.flatnonzero(rows["error_code"])
    unit_of = np.repeat(np.arange(len(starts)), np.diff([*starts, len(rows)]))
    n_units, n = len(starts), len(starts) + len(wrong)

    sums = np.zeros((n, len(ADDITIVE_COLUMNS)), np.int64)
    _add_sums(columns, rows, starts, sums)
    sums[:n_units, len(SUM_COLUMNS) :] = _moments(columns, starts, sums[:n_units])
    if len(wrong):
        alone = {name: column[wrong] for name, column in columns.items()}
        _add_sums(alone, rows[wrong], np.arange(len(wrong)), sums[n_units:])
        np.subtract.at(sums, unit_of[wrong], sums[n_units:])

    maxima = np.zeros((n, len(MAX_COLUMNS)), np.int64)
    for index, name in enumerate(MAX_COLUMNS):
        of = MEASURES[name].values(columns).copy()
        maxima[n_units:, index] = of[wrong]
        of[wrong] = 0
        maxima[:n_units, index] = np.maximum.reduceat(of, starts)

    part_of = unit_of
    part_of[wrong] = n_units + np.arange(len(wrong))
    firsts = rows[np.concatenate([starts, wrong])]
    errors = np.concatenate([np.zeros(n_units, np.int64), rows["error_code"][wrong]])
    seen = [np.stack(_seen(index, name, columns, part_of)) for index, name in enumerate(HISTOGRAMS)]
    seen_part, seen_column = np.concatenate(seen, axis=1)
    return Parts(
        space.cells_of(firsts, errors), sums, maxima, firsts["sid"].copy(), errors, space.strata_of(firsts),
        seen_part, seen_column,
    )  # fmt: skip


def _add_sums(columns: dict[str, Int64s], rows: Records, starts: Int64s, out: Int64s) -> None:
    """Sums of the catalogue's measures over each segment; plain fields are read where they lie."""
    _sum_segments(layout.matrix_of(rows), _PLAIN_FIELDS, starts, _PLAIN_PLACES, out)
    derived = np.stack([MEASURES[SUM_COLUMNS[place]].values(columns) for place in _DERIVED_PLACES.tolist()], axis=1)
    _sum_segments(derived, np.arange(len(_DERIVED_PLACES)), starts, _DERIVED_PLACES, out)


def _seen(index: int, name: str, columns: dict[str, Int64s], part_of: Int64s) -> tuple[Int64s, Int64s]:
    values = HISTOGRAMS[name].values(columns)
    at = np.flatnonzero(values >= 0)
    return part_of[at], index * BUCKETS + bucket_of_ms(values[at])


def _moments(columns: dict[str, Int64s], starts: Int64s, sums: Int64s) -> Int64s:
    """n and the moments of each session-minute: shape (units, MOMENT_COLUMNS); `sums` are its sums of measures."""

    def total(name: str) -> Int64s:
        if name in SUM_COLUMNS:
            return sums[:, SUM_COLUMNS.index(name)]
        return np.add.reduceat(columns[name], starts)

    result = np.empty((len(starts), 1 + 6 * len(MOMENTS)), np.int64)
    result[:, 0] = 1
    for index, moments in enumerate(MOMENTS.values()):
        x = total(moments.x) // moments.x_unit
        y = total(moments.y[0])
        for name in moments.y[1:]:
            y = y + total(name)
        y = y // moments.y_unit
        for place, value in enumerate((x > 0, x, y, x * x, y * y, x * y)):
            result[:, 1 + 6 * index + place] = value
    return result


def timed_out(space: CellSpace, sessions: Records) -> Parts:
    """Parts of sessions that ended by falling silent: what the pipeline's session time-out adds."""
    sums = np.zeros((len(sessions), len(ADDITIVE_COLUMNS)), np.int64)
    for name in ("ended", "timeouts"):
        sums[:, SUM_COLUMNS.index(name)] = 1
    none = np.zeros(0, np.int64)
    errors = np.zeros(len(sessions), np.int64)
    maxima = np.zeros((len(sessions), len(MAX_COLUMNS)), np.int64)
    strata = space.strata_of(sessions)
    return Parts(space.cells_of(sessions, errors), sums, maxima, sessions["sid"].copy(), errors, strata, none, none)


class CellSums:
    """Accumulates parts into the cells of one minute or hour; dense over the space."""

    def __init__(self, space: CellSpace) -> None:
        self.sums = np.zeros((space.total, len(ADDITIVE_COLUMNS)), np.int64)
        self.maxima = np.zeros((space.total, len(MAX_COLUMNS)), np.int64)
        self.seen = np.zeros((space.total, len(HISTOGRAMS) * BUCKETS), np.int32)

    def add(self, parts: Parts) -> None:
        """Add parts."""
        _add_to_cells(parts.cells, parts.sums, parts.maxima, self.sums, self.maxima)
        _add_seen(parts.cells, parts.seen_part, parts.seen_column, self.seen)

    def merge(self, other: CellSums) -> None:
        """Add the cells of another."""
        self.sums += other.sums
        np.maximum(self.maxima, other.maxima, out=self.maxima)
        self.seen += other.seen

    def clear(self) -> None:
        """Back to nothing."""
        self.sums[:] = 0
        self.maxima[:] = 0
        self.seen[:] = 0
