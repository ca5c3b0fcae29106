"""Published series kept in memory: a matrix of days by name, brought up to date by what the store has got since.

A graph of a week over a thousand series reads ten million points; merged by the store that takes seconds, from memory
a tenth of one. What is kept stays right because every row of the table names its place in the log: rows past the
places seen last, back-filled ones included, tell which minutes to read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from query.cells import RawLines
from query.merging import Cells
from query.published import (
    DAY_SLOTS,
    WEIGHED,
    Day,
    Published,
    carry_forward,
    list_series,
    reach,
    read_day,
    read_merged,
    values_before,
)
from tocsin.adapters.store.port import Store
from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.limits import range_that_fits
from tocsin.model.asl.lines import Floats
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import MINUTE, SECOND

KEPT_POINTS_MAX = 40_000_000
"""Points (8 bytes each) that are kept; the longest unused day goes first."""
REFRESH_MS = SECOND
_MERGE_ALL_SHARE = 0.01
_CLOCK_STEPS_DAYS = 1
"""The days of append may step back by this: rows that are new lie no further before the newest day seen."""


class PublishedCache:
    """Reads published series; thread-safe."""

    def __init__(self, store: Store, now_ms: Callable[[], int], kept_points_max: int = KEPT_POINTS_MAX) -> None:
        self._store, self._now_ms, self._kept_max = store, now_ms, kept_points_max
        self._days: OrderedDict[tuple[str, int], Day] = OrderedDict()
        self._series: dict[str, dict[int, Published]] = {}
        self._seen: dict[int, int] = {}
        self._seen_day = 0
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
                amounts = ((slot * MINUTE, len(found)) for slot in range(first + points - 1, first - 1, -1))
                raise AslLimitError(
                    f"too many points: {len(found)} published series over {points} minutes are {len(found) * points}, "
                    f"at most {self._kept_max} are read; {range_that_fits(request, amounts, self._kept_max, MINUTE)}"
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
        self._load_missing(series[0].name, first // DAY_SLOTS, last // DAY_SLOTS)
        ids = np.array([s.series_id for s in series], dtype=np.uint64)
        for block in range(first // DAY_SLOTS, last // DAY_SLOTS + 1):
            low, high = max(first, block * DAY_SLOTS), min(last, block * DAY_SLOTS + DAY_SLOTS - 1)
            target = out[:, low - first : high - first + 1]
            day = self._days[series[0].name, block]
            self._days.move_to_end((series[0].name, block))
            rows = np.searchsorted(day.ids, ids)
            inside = rows < len(day.ids)
            inside[inside] = day.ids[rows[inside]] == ids[inside]
            part = day.values[:, low - block * DAY_SLOTS : high - block * DAY_SLOTS + 1]
            if inside.all() and len(ids) == len(day.ids):
                target[...] = part
            else:
                target[...] = np.nan
                target[inside] = part[rows[inside]]
        self._evict()

    def _load_missing(self, name: str, first: int, last: int) -> None:
        for block in range(first, last + 1):
            day = self._days.get((name, block))
            if day is None:
                day = self._days[name, block] = read_day(self._store, name, block)
                if len(day.stale) > _MERGE_ALL_SHARE * DAY_SLOTS:
                    day.stale = set(range(block * DAY_SLOTS, (block + 1) * DAY_SLOTS))
            for low, high in _runs(sorted(day.stale)):
                self._reread(name, day, block, low, high)
            day.stale.clear()

    def _reread(self, name: str, day: Day, block: int, low: int, high: int) -> None:
        """Read some slots again, merged by the store."""
        kinds = sorted({s.kind for s in self._series.get(name, {}).values()})
        parts = [read_merged(self._store, name, kind, low, high) for kind in kinds]
        day.values[:, low - block * DAY_SLOTS : high - block * DAY_SLOTS + 1] = np.nan
        for cells in parts:
            _add_series(day, cells)
            rows = np.searchsorted(day.ids, cells.ids)
            day.values[rows, cells.slots - block * DAY_SLOTS] = cells.values

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
        places = self._store.query(
            "SELECT log_partition, max(start_offset), toInt64(max(append_day)) FROM series"
            f" WHERE append_day >= toDate({self._seen_day}) GROUP BY log_partition"
        )
        newest = self._seen | {int(partition): int(offset) for partition, offset, _ in places}
        ranges = [(p, self._seen.get(p, -1), n) for p, n in newest.items() if n > self._seen.get(p, -1)]
        if not ranges:
            return
        where = " OR ".join(
            f"(log_partition = {p} AND start_offset > {low} AND start_offset <= {high})" for p, low, high in ranges
        )
        where = f"append_day >= toDate({self._seen_day}) AND ({where})"
        for one in list_series(self._store, where):
            self._series.setdefault(one.name, {})[one.series_id] = one
        if self._days:
            changed = f"SELECT DISTINCT name, intDiv(ts_ms - 1, {MINUTE}), {WEIGHED} FROM series WHERE {where}"
            for name, slot, weighed in self._store.query(changed):
                for near in reach(int(slot)) if weighed else (int(slot),):
                    day = self._days.get((str(name), near // DAY_SLOTS))
                    if day is not None:
                        day.stale.add(near)
        self._seen = newest
        self._seen_day = max(0, max(int(day) for *_, day in places) - _CLOCK_STEPS_DAYS)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, both ends included."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _add_series(day: Day, cells: Cells) -> None:
    """Make room for series that a day does not have yet."""
    new = np.setdiff1d(cells.ids, day.ids)
    if not len(new):
        return
    ids = np.union1d(day.ids, new)
    values = np.full((len(ids), DAY_SLOTS), np.nan)
    values[np.searchsorted(ids, day.ids)] = day.values
    day.ids, day.values = ids, values
