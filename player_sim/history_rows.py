"""Drawn cells as rows of the tables `minutes` and `hours`, inserted in few large blocks, and their rows in `folds`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from player_sim.cells import CellSpace
from player_sim.layout import Int64s
from player_sim.rollup import BUCKETS
from tocsin.adapters.store.port import Store
from tocsin.model.catalogue import HISTOGRAMS
from tocsin.model.tables import ADDITIVE_COLUMNS, MAX_COLUMNS, MINUTES
from tocsin.model.tags import TAG_KEYS

ROWS_PER_INSERT = 150_000


@dataclass(frozen=True, slots=True)
class Cells:
    """c rows: start of their minute or hour (epoch seconds), cell, sums and maxima.

    Entries of histograms by (row, column = index into HISTOGRAMS × BUCKETS + bucket), sorted so.
    """

    start_s: Int64s
    cells: Int64s
    sums: Int64s
    maxima: Int64s
    seen_row: Int64s
    seen_column: Int64s
    seen_count: Int64s


def used_cells(start_s: int, sums: Int64s, maxima: Int64s, seen: npt.NDArray[np.int32]) -> Cells:
    """The cells that hold anything, of dense arrays (cells, …) of one minute or hour; copied."""
    used = np.flatnonzero(sums.any(axis=1))
    flat = seen[used].ravel()
    entries = np.flatnonzero(flat)
    return Cells(
        np.full(len(used), start_s, np.int64), used, sums[used], maxima[used],
        entries // seen.shape[1], entries % seen.shape[1], flat[entries].astype(np.int64),
    )  # fmt: skip


def _joined(parts: list[Cells]) -> Cells:
    offsets = np.cumsum([0, *(len(part.cells) for part in parts[:-1])]).tolist()
    return Cells(
        start_s=np.concatenate([part.start_s for part in parts]),
        cells=np.concatenate([part.cells for part in parts]),
        sums=np.concatenate([part.sums for part in parts]),
        maxima=np.concatenate([part.maxima for part in parts]),
        seen_row=np.concatenate([part.seen_row + offset for part, offset in zip(parts, offsets, strict=True)]),
        seen_column=np.concatenate([part.seen_column for part in parts]),
        seen_count=np.concatenate([part.seen_count for part in parts]),
    )


def _arrow(space: CellSpace, rows: Cells) -> pa.Table:
    n = len(rows.cells)
    columns: dict[str, pa.Array] = {
        "cube": _coded([cube.name for cube in space.cubes], space.cube_of[rows.cells]),
        "minute": pa.array(rows.start_s.astype(np.uint32)),
    }
    for key in TAG_KEYS:
        values, codes = space.names_of[key]
        columns[key] = _coded(values, codes[rows.cells])
    for names, matrix in ((ADDITIVE_COLUMNS, rows.sums), (MAX_COLUMNS, rows.maxima)):
        by_column = np.ascontiguousarray(matrix.T)
        for index, name in enumerate(names):
            columns[name] = pa.array(by_column[index])
    for index, name in enumerate(HISTOGRAMS):
        columns[name] = _maps(rows, index, n)
    return pa.table({name: columns[name] for name in MINUTES.column_names})


def _coded(values: list[str], codes: Int64s) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values, pa.string()))


def _maps(rows: Cells, histogram: int, n: int) -> pa.Array:
    """Bucket to count by row."""
    mine = np.flatnonzero(rows.seen_column // BUCKETS == histogram)
    counts = np.bincount(rows.seen_row[mine], minlength=n)
    return pa.MapArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)),
        pa.array((rows.seen_column[mine] % BUCKETS).astype(np.uint16)),
        pa.array(rows.seen_count[mine]),
    )


class TableWriter:
    """Collects cells for one table and inserts them by `ROWS_PER_INSERT`."""

    def __init__(self, store: Store, space: CellSpace, table: str) -> None:
        self._store = store
        self._space = space
        self._table = table
        self._parts: list[Cells] = []
        self._pending = 0
        self._folded: dict[int, int] = {}
        self.rows = 0

    def add(self, cells: Cells) -> None:
        """Take cells; the rows of one minute or hour must come in one piece."""
        self._parts.append(cells)
        self._pending += len(cells.cells)
        starts, counts = np.unique(cells.start_s, return_counts=True)
        self._folded.update(zip(starts.tolist(), counts.tolist(), strict=True))
        if self._pending >= ROWS_PER_INSERT:
            self._insert()

    def close(self) -> None:
        """Insert what is left, and then the rows of `folds` that declare all of it complete."""
        if self._parts:
            self._insert()
        starts = np.array(sorted(self._folded), np.uint32)
        if len(starts) == 0:
            return
        folds = {
            "level": pa.array([self._table] * len(starts), pa.string()),
            "minute": pa.array(starts),
            "rows": pa.array(np.array([self._folded[start] for start in starts.tolist()], np.uint64)),
        }
        self._store.insert("folds", pa.table(folds))

    def _insert(self) -> None:
        rows = _arrow(self._space, _joined(self._parts))
        self._store.insert(self._table, rows)
        self.rows += rows.num_rows
        self._parts, self._pending = [], 0
