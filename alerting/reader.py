"""What alerting reads from the store: new deltas, the twin minutes of past weeks, raw heartbeats, published points.

Deltas are tailed by (partition, start offset): buckets are taken in the order in which they tile the log. A hole in the
tiling is waited for (`GAP_WAIT_MS` of append time), then jumped and counted: alerting prefers a late answer to none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from alerting import baseline
from alerting.arrays import History, Rows
from alerting.localise import Audience
from alerting.rules.evidence import Ints
from alerting.signals import Past, Signal
from alerting.slices import Family, SliceIndex
from tocsin.adapters.store.port import Store
from tocsin.model.percentiles import BOUNDS, NS_PER_MS
from tocsin.model.tables import LEDGER_CUBE
from tocsin.model.tags import IDENTITY_KEYS, OTHER

GAP_WAIT_MS = 60_000
FUTURE_MS = 60_000
SESSIONS_MAX = 200_000
"""Sessions that one localisation reads; past it every k-th is read, by hash."""
MINUTE_MS = 60_000
_UNBALANCED = (
    "max(ledger_received != ledger_duplicates + ledger_unique"
    " OR ledger_unique != ledger_aggregated + ledger_late + ledger_future)"
)


@dataclass(slots=True)
class _Cursor:
    next_offset: int = -1
    append_ms: int = 0


@dataclass(slots=True)
class Tail:
    """How far the deltas have been read, by partition."""

    cursors: dict[int, _Cursor] = field(default_factory=dict)
    gaps_jumped: int = 0
    unbalanced: int = 0
    """Buckets whose ledger row does not close: received = duplicates + unique, unique = aggregated + late + future."""

    def watermark_ms(self) -> int:
        """Append time up to which every partition has been read; 0 before anything came."""
        return min((cursor.append_ms for cursor in self.cursors.values()), default=0)


class StoreReader:
    """Reads for one engine: `columns` are stored columns, or made-up ones that `pasts` name."""

    def __init__(
        self, store: Store, index: SliceIndex, columns: Sequence[str], pasts: Mapping[str, Past]
    ) -> None:  # fmt: skip
        self._store = store
        self.index = index
        self.columns = tuple(columns)
        self.pasts = dict(pasts)
        self.tail = Tail()
        self._keys = tuple(dict.fromkeys(key for keys in index.cube_keys.values() for key in keys))

    def _sums(self) -> str:
        return ", ".join(
            f"sum({self.pasts[name].sql() if name in self.pasts else name}) AS {name}" for name in self.columns
        )

    def _cells(self, table: str, where: str, parameters: Mapping[str, Any]) -> Rows:
        """Sums by cube, minute and keys of `table`, as rows for every family."""
        keys = "".join(f", {key}" for key in self._keys)
        final = " FINAL" if table == "minutes" else ""
        sql = (
            f"SELECT cube, toInt64(intDiv(toUnixTimestamp(minute), 60)) AS m{keys}, {self._sums()}"
            f" FROM {table}{final} WHERE cube IN {{cubes:Array(String)}} AND {where} GROUP BY `cube`, m{keys}"
        )
        found = self._store.query_arrow(sql, {**parameters, "cubes": list(self.index.by_cube)})
        return self._rows(found)

    def _rows(self, table: pa.Table) -> Rows:
        if table.num_rows == 0:
            return Rows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((len(self.columns), 0)))
        minutes = table.column("m").to_numpy().astype(np.int64)
        values = np.stack([table.column(name).to_numpy().astype(np.float64) for name in self.columns])
        cubes, cube_codes = _dictionary(table, "cube")
        text = {key: _dictionary(table, key) for key in self._keys}
        parts: list[Rows] = []
        for code, cube in enumerate(cubes):
            rows = np.flatnonzero(cube_codes == code)
            for family in self.index.by_cube.get(cube, []):
                own = {key: (text[key][0], text[key][1][rows]) for key in family.keys}
                slices = self._slices(family, own, len(rows))
                parts.append(Rows(minutes[rows], slices, values[:, rows]))
        return Rows(
            np.concatenate([part.minutes for part in parts]), np.concatenate([part.slices for part in parts]),
            np.concatenate([part.values for part in parts], axis=1),
        )  # fmt: skip

    def _slices(self, family: Family, text: Mapping[str, tuple[list[str], Ints]], n: int) -> Ints:
        """Slice of each row, shape (n,); -1 where a tag is unknown or past its budget."""
        if not family.keys:
            return np.zeros(n, np.int64)
        combined = np.zeros(n, np.int64)
        for key in family.keys:
            values, codes = text[key]
            combined = combined * len(values) + codes
        unique, at = np.unique(combined, return_inverse=True)
        numbers = np.empty(len(unique), np.int64)
        for position, code in enumerate(unique.tolist()):
            cell: list[str] = []
            for key in reversed(family.keys):
                values = text[key][0]
                code, index = divmod(code, len(values))
                cell.append(values[index])
            known = all(value and value != OTHER for value in cell)
            numbers[position] = self.index.intern(family, tuple(reversed(cell))) if known else -1
        return numbers[at]

    def backlog(self, first_minute: int, last_minute: int) -> Rows:
        """Live minutes that only the folds have (imported or simulated history): those without any deltas."""
        return self._cells(
            "minutes",
            "minute BETWEEN toDateTime({first:Int64}) AND toDateTime({last:Int64}) AND minute NOT IN"
            " (SELECT minute FROM deltas WHERE cube = 'all' AND minute >= toDateTime({first:Int64}))",
            {"first": first_minute * 60, "last": last_minute * 60},
        )

    def poll(self, first_minute: int) -> Rows:
        """Deltas of buckets not seen before, for minutes from `first_minute` on."""
        ranges = self._new_buckets(first_minute * MINUTE_MS - FUTURE_MS)
        if not ranges:
            return self._rows(pa.table({}))
        where = " OR ".join(
            f"(log_partition = {partition} AND start_offset >= {low} AND start_offset < {high})"
            for partition, (low, high) in ranges.items()
        )
        parameters = {"first": first_minute * 60}
        return self._cells("deltas", f"minute >= toDateTime({{first:Int64}}) AND ({where})", parameters)

    def _new_buckets(self, since_ms: int) -> dict[int, tuple[int, int]]:
        """Offsets [low, high) by partition of buckets that continue the tiling; moves the cursors over them."""
        seen = " OR ".join(
            f"(log_partition = {partition} AND start_offset >= {cursor.next_offset})"
            for partition, cursor in self.tail.cursors.items()
        )
        others = ",".join(str(partition) for partition in self.tail.cursors)
        where = f"({seen} OR log_partition NOT IN ({others}))" if seen else "1"
        rows = self._store.query(
            f"SELECT log_partition, start_offset, end_offset, max(append_ms), {_UNBALANCED} FROM deltas"
            f" WHERE cube = '{LEDGER_CUBE}' AND minute >= toDateTime({{since:Int64}}) AND {where}"
            " GROUP BY log_partition, start_offset, end_offset ORDER BY log_partition, start_offset",
            {"since": since_ms // MINUTE_MS * 60},
        )
        newest = max((int(row[3]) for row in rows), default=0)
        ranges: dict[int, tuple[int, int]] = {}
        stopped: set[int] = set()
        for partition, start, end, append_ms, unbalanced in (tuple(int(value) for value in row) for row in rows):
            cursor = self.tail.cursors.setdefault(partition, _Cursor())
            if partition in stopped:
                continue
            if cursor.next_offset >= 0 and start > cursor.next_offset:
                if newest - append_ms < GAP_WAIT_MS:
                    stopped.add(partition)
                    continue
                self.tail.gaps_jumped += 1
            low, _ = ranges.get(partition, (start, end))
            ranges[partition] = (low, end)
            self.tail.unbalanced += unbalanced
            cursor.next_offset, cursor.append_ms = end, max(cursor.append_ms, append_ms)
        return ranges

    def history(self, first_minute: int, last_minute: int, zone: ZoneInfo, weeks: int = baseline.WEEKS) -> History:
        """Twins of the minutes first … last (±1), of the weeks that the store has; later weeks first."""
        margin = baseline.MARGIN_MINUTES
        minutes = last_minute - first_minute + 1 + 2 * margin
        firsts: list[int] = []
        loaded: list[Rows] = []
        for week in range(1, weeks + 1):
            first = baseline.twin_minute(first_minute, week, zone) - margin
            firsts.append(first)
            loaded.append(
                self._cells(
                    "minutes", "minute BETWEEN toDateTime({first:Int64}) AND toDateTime({last:Int64})",
                    {"first": first * 60, "last": (first + minutes - 1) * 60},
                )
            )  # fmt: skip
        slices = len(self.index)
        if not any(len(rows.minutes) for rows in loaded):
            return History.none(self.columns)
        values = []
        usable = np.zeros((len(loaded), slices), np.bool_)
        for week, (first, rows) in enumerate(zip(firsts, loaded, strict=True)):
            dense = np.zeros((len(self.columns), minutes * slices), np.float32)
            keep = rows.slices >= 0
            flat = (rows.minutes[keep] - first) * slices + rows.slices[keep]
            for column in range(len(self.columns)):
                np.add.at(dense[column], flat, rows.values[column, keep].astype(np.float32))
            usable[week, np.unique(rows.slices[keep])] = True
            values.append(dense.reshape(len(self.columns), minutes, slices))
        return History(self.columns, firsts, values, usable)

    def startup_bound_ms(self, first_minute: int, last_minute: int, zone: ZoneInfo) -> int | None:
        """The 90th percentile of everyone's start-up time in the twin minutes, ms; None without history."""
        ranges = " OR ".join(
            f"minute BETWEEN toDateTime({baseline.twin_minute(first_minute, week, zone) * 60})"
            f" AND toDateTime({baseline.twin_minute(last_minute, week, zone) * 60})"
            for week in range(1, baseline.WEEKS + 1)
        )
        rows = self._store.query(
            f"SELECT m.1 AS b, sum(m.2) FROM (SELECT arrayJoin(CAST(startup_hist, 'Array(Tuple(UInt16, Int64))')) AS m"
            f" FROM minutes FINAL WHERE cube = 'all' AND ({ranges})) GROUP BY b ORDER BY b"
        )
        total = sum(int(count) for _, count in rows)
        if total <= 0:
            return None
        below = 0
        for bucket, count in rows:
            below += int(count)
            if below >= 0.9 * total:
                return max(int(BOUNDS[int(bucket)] // NS_PER_MS), 1)
        return None

    def audience(self, signal: Signal, onset_ms: int, now_ms: int, before_ms: int) -> Audience:
        """Sessions with raw heartbeats from `onset_ms` − `before_ms` to `now_ms`, split at the onset."""
        parameters = {
            "low": (onset_ms - before_ms) // 1000, "onset": onset_ms // 1000, "high": now_ms // 1000,
        }  # fmt: skip
        where = (
            "row_kind IN ('unique', 'timeout', 'resumed')"
            " AND minute >= toDateTime({low:Int64}) AND minute <= toDateTime({high:Int64})"
        )
        sessions = int(self._store.query(f"SELECT uniq(session_id) FROM heartbeats WHERE {where}", parameters)[0][0])
        every = -(-sessions // SESSIONS_MAX) or 1
        sampled = f" AND cityHash64(session_id) % {every} = 0" if every > 1 else ""
        keys = ", ".join(IDENTITY_KEYS)
        later = "minute >= toDateTime({onset:Int64})"
        found = self._store.query_arrow(
            f"SELECT session_id, {keys}, sumIf({signal.raw_x()}, {later}) AS x, sumIf({signal.raw_y()}, {later}) AS y,"
            f" sumIf({signal.raw_x()}, NOT ({later})) AS x_before, sumIf({signal.raw_y()}, NOT ({later})) AS y_before"
            f" FROM heartbeats WHERE {where}{sampled} GROUP BY session_id, {keys} ORDER BY session_id",
            parameters,
        )
        if found.num_rows == 0:
            empty = np.zeros(0)
            return Audience([], {}, empty, empty, empty, empty)
        x, y, x_before, y_before = (
            found.column(name).to_numpy().astype(np.float64) for name in ("x", "y", "x_before", "y_before")
        )
        tags = {key: _dictionary(found, key) for key in IDENTITY_KEYS}
        return Audience(found.column("session_id").to_pylist(), tags, x, y, x_before, y_before, float(every))


def _dictionary(table: pa.Table, name: str) -> tuple[list[str], Ints]:
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = ["" if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    return values, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
