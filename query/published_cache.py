"""Published series kept in memory: a matrix of days by name, brought up to date by what the store has got since.

A graph of a week over a thousand series reads ten million points; merged by the store that takes seconds, from memory
a tenth of one. What is kept stays right because every row of the table names its place in the log: rows past the
places seen last, back-filled ones included, tell which minutes to read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from query.cells import RawLines
from query.published import (
    Cells,
    Published,
    carry_forward,
    list_series,
    read_merged,
    read_rows,
    values_before,
)
from tocsin.adapters.store.port import Store
from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.lines import Floats
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import MINUTE, SECOND

BLOCK = 1_440
KEPT_POINTS_MAX = 40_000_000
"""Points (8 bytes each) that are kept; the longest unused day goes first."""
REFRESH_MS = SECOND
_MERGE_ALL_SHARE = 0.01


@dataclass
class _Day:
    """One name over one day: `values[i]` is the series `ids[i]`, ids ascending; `stale` slots must be read again."""

    ids: npt.NDArray[np.uint64]
    values: Floats
    stale: set[int] = field(default_factory=set)


class PublishedCache:
    """Reads published series; thread-safe."""

    def __init__(self, store: Store, now_ms: Callable[[], int], kept_points_max: int = KEPT_POINTS_MAX) -> None:
        self._store, self._now_ms, self._kept_max = store, now_ms, kept_points_max
        self._days: OrderedDict[tuple[str, int], _Day] = OrderedDict()
        self._series: dict[str, dict[int, Published]] = {}
        self._seen: dict[int, int] = {}
        self._checked_ms: int | None = None
        self._lock = threading.RLock()

    def series(self) -> Iterable[Published]:
        """All series that are known."""
        with self._lock:
            self._refresh()
            return [one for by_id in self._series.values() for one in by_id.values()]

    def read(self, condition: Query, request: FetchRequest) -> RawLines:
        """The lines of matching series at the primary step over the grid of a request."""
        first = (request.start_ms - request.step_ms) // MINUTE
        points = request.end_ms // MINUTE - first
        with self._lock:
            self._refresh()
            found = sorted((s for s in self._known() if condition.matches(s.tags)), key=lambda s: (s.name, s.series_id))
            if len(found) * points > self._kept_max:
                raise AslLimitError(
                    f"{len(found)} published series over {points} minutes are too much to read; "
                    f"{self._kept_max // points} series would fit"
                )
            matrix = np.empty((len(found), points))
            row = 0
            while row < len(found):
                same = [s for s in found[row:] if s.name == found[row].name]
                self._copy(same, first, matrix[row : row + len(same)])
                row += len(same)
        self._carry(found, matrix, first, request)
        return RawLines([s.tags for s in found], matrix, [s.kind == "gauge" for s in found], MINUTE)

    def _known(self) -> Iterable[Published]:
        return (one for by_id in self._series.values() for one in by_id.values())

    def _carry(self, found: Sequence[Published], matrix: Floats, first: int, request: FetchRequest) -> None:
        changing = [i for i, one in enumerate(found) if one.on_change]
        if not changing:
            return
        names = sorted({found[i].name for i in changing})
        before = values_before(self._store, names, [found[i].series_id for i in changing], first * MINUTE)
        starts = {i: before.get(found[i].series_id, np.nan) for i in changing}
        carry_forward(matrix, starts, min(self._now_ms(), request.end_ms) // MINUTE - first)

    def _copy(self, series: Sequence[Published], first: int, out: Floats) -> None:
        """Write the values of series of one name, ascending by id, for the slots from `first` on."""
        last = first + out.shape[1] - 1
        self._load_missing(series[0].name, first // BLOCK, last // BLOCK)
        ids = np.array([s.series_id for s in series], dtype=np.uint64)
        for block in range(first // BLOCK, last // BLOCK + 1):
            low, high = max(first, block * BLOCK), min(last, block * BLOCK + BLOCK - 1)
            target = out[:, low - first : high - first + 1]
            day = self._days[series[0].name, block]
            self._days.move_to_end((series[0].name, block))
            rows = np.searchsorted(day.ids, ids)
            inside = rows < len(day.ids)
            inside[inside] = day.ids[rows[inside]] == ids[inside]
            part = day.values[:, low - block * BLOCK : high - block * BLOCK + 1]
            if inside.all() and len(ids) == len(day.ids):
                target[...] = part
            else:
                target[...] = np.nan
                target[inside] = part[rows[inside]]
        self._evict()

    def _load_missing(self, name: str, first: int, last: int) -> None:
        missing = [b for b in range(first, last + 1) if (name, b) not in self._days]
        for low, high in _runs(missing):
            self._load(name, low, high)
        for block in range(first, last + 1):
            day = self._days[name, block]
            for low, high in _runs(sorted(day.stale)):
                self._reread(name, day, block, low, high)
            day.stale.clear()

    def _load(self, name: str, first: int, last: int) -> None:
        """Read whole days of a name."""
        slots = (last - first + 1) * BLOCK
        cells = read_rows(self._store, name, first * BLOCK, (last + 1) * BLOCK - 1)
        ids, rows = _dense(cells.ids)
        flat = rows * slots + (cells.slots - first * BLOCK)
        values = np.full(len(ids) * slots, np.nan)
        values[flat] = cells.values
        counts = np.bincount(flat, minlength=len(values)) if len(flat) else np.zeros(len(values), np.int64)
        matrix = values.reshape(len(ids), slots)
        several = np.flatnonzero((counts.reshape(len(ids), slots) > 1).any(axis=0)) if len(ids) else np.empty(0, int)
        for i in range(last - first + 1):
            block = matrix[:, i * BLOCK : (i + 1) * BLOCK]
            used = ~np.isnan(block).all(axis=1) if len(ids) else np.empty(0, bool)
            day = _Day(ids[used], np.ascontiguousarray(block[used]))
            merged = {int(s) + first * BLOCK for s in several if i * BLOCK <= s < (i + 1) * BLOCK}
            if len(merged) > _MERGE_ALL_SHARE * BLOCK:
                merged = set(range((first + i) * BLOCK, (first + i + 1) * BLOCK))
            day.stale |= merged
            self._days[name, first + i] = day

    def _reread(self, name: str, day: _Day, block: int, low: int, high: int) -> None:
        """Read some slots again, merged by the store."""
        kinds = sorted({s.kind for s in self._series.get(name, {}).values()})
        parts = [read_merged(self._store, name, kind, low, high) for kind in kinds]
        day.values[:, low - block * BLOCK : high - block * BLOCK + 1] = np.nan
        for cells in parts:
            _add_series(day, cells)
            rows = np.searchsorted(day.ids, cells.ids)
            day.values[rows, cells.slots - block * BLOCK] = cells.values

    def _evict(self) -> None:
        total = sum(day.values.size for day in self._days.values())
        while total > self._kept_max and len(self._days) > 1:
            _, day = self._days.popitem(last=False)
            total -= day.values.size

    def _refresh(self) -> None:
        """Learn of rows that the store has got since the last look: new series, and minutes to read again."""
        now = self._now_ms()
        if self._checked_ms is not None and 0 <= now - self._checked_ms < REFRESH_MS:
            return
        self._checked_ms = now
        places = self._store.query("SELECT log_partition, max(start_offset) FROM series GROUP BY log_partition")
        newest = {int(partition): int(offset) for partition, offset in places}
        ranges = [(p, self._seen.get(p, -1), n) for p, n in newest.items() if n > self._seen.get(p, -1)]
        if not ranges:
            return
        where = " OR ".join(
            f"(log_partition = {p} AND start_offset > {low} AND start_offset <= {high})" for p, low, high in ranges
        )
        for one in list_series(self._store, f"({where})"):
            self._series.setdefault(one.name, {})[one.series_id] = one
        if self._days:
            changed = f"SELECT DISTINCT name, intDiv(ts_ms - 1, {MINUTE}) FROM series WHERE {where}"
            for name, slot in self._store.query(changed):
                day = self._days.get((str(name), int(slot) // BLOCK))
                if day is not None:
                    day.stale.add(int(slot))
        self._seen = newest


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, both ends included."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _dense(ids: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Distinct ids ascending, and the position of each id among them; rows of one series mostly follow each other."""
    if not len(ids):
        return ids, np.empty(0, np.int64)
    starts = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1])
    distinct, of_run = np.unique(ids[starts], return_inverse=True)
    lengths = np.diff(np.concatenate([starts, [len(ids)]]))
    return distinct, np.repeat(of_run, lengths).astype(np.int64)


def _add_series(day: _Day, cells: Cells) -> None:
    """Make room for series that a day does not have yet."""
    new = np.setdiff1d(cells.ids, day.ids)
    if not len(new):
        return
    ids = np.union1d(day.ids, new)
    values = np.full((len(ids), BLOCK), np.nan)
    values[np.searchsorted(ids, day.ids)] = day.values
    day.ids, day.values = ids, values
