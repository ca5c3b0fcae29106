"""Folds final minutes from `deltas` into `minutes`, those into `hours`, and ended playbacks into `sessions`.

A minute is final once every partition's watermark (append time of its newest bucket in the ledger) has passed the
minute's end plus the lateness plus the slack of the log's clock: nothing can count in it any more. Its sums are whole,
so folding twice stores the same rows. Each level's progress is its newest row in `folds`. Rows are counted before and
after: a fold that was cut short is done again, and rows that two folders stored at once are merged into one at once.
Source: design/counting.md point 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming_jobs.steps.settings import MINUTE_MS, CountingSettings
from tocsin.adapters.store.port import Store
from tocsin.model.heartbeat import OUTCOMES
from tocsin.model.tables import LEDGER_CUBE, SESSION_COLUMNS, merge_expressions
from tocsin.model.tags import TAG_KEYS

DELTAS_KEPT_MS = 6 * 3_600_000
DELETE_EVERY_MS = 1_800_000
MINUTES_A_FOLD = 60
HOUR_MIN = 60
SESSION_SPAN_MIN = 24 * 60
"""A playback's heartbeats are looked for this far back from its end."""

_CELLS = ", ".join(("cube", "minute", *TAG_KEYS))
_BY_CELL = ", ".join(("`cube`", "minute", *TAG_KEYS))
_MERGED = ", ".join(merge_expressions())
_SETTINGS = "SETTINGS prefer_column_name_to_alias = 1"
_OUTCOME_NAMES = ", ".join(f"'{name}'" for name in OUTCOMES)
_FOLD_MINUTES = (
    f"INSERT INTO minutes SELECT {_CELLS}, {_MERGED} FROM deltas"
    " WHERE `cube` != {ledger:String} AND minute >= toDateTime({low:Int64}) AND minute < toDateTime({high:Int64})"
    f" GROUP BY {_BY_CELL} {_SETTINGS}"
)
_CELLS_DUE = (
    f"SELECT uniqExact({_BY_CELL}) FROM deltas"
    " WHERE `cube` != {ledger:String} AND minute >= toDateTime({low:Int64}) AND minute < toDateTime({high:Int64})"
)
_HOUR_CELLS = _CELLS.replace("minute", "toDateTime({low:Int64}) AS minute")
_FOLD_HOUR = (
    f"INSERT INTO hours SELECT {_HOUR_CELLS}, {_MERGED} FROM minutes FINAL"
    " WHERE minutes.minute >= toDateTime({low:Int64}) AND minutes.minute < toDateTime({high:Int64})"
    f" GROUP BY {', '.join(('`cube`', *TAG_KEYS))} {_SETTINGS}"
)
_HOUR_CELLS_DUE = (
    f"SELECT uniqExact({', '.join(('`cube`', *TAG_KEYS))}) FROM minutes"
    " WHERE minute >= toDateTime({low:Int64}) AND minute < toDateTime({high:Int64})"
)
_ENDED = (
    "SELECT session_id FROM heartbeats WHERE append_ms >= {low_ms:Int64} AND append_ms < {high_ms:Int64}"
    " AND minute >= toDateTime({oldest:Int64})"
    " AND ((row_kind = 'unique' AND outcome > 0) OR row_kind IN ('timeout', 'resumed')"
    " OR (row_kind = 'unique' AND session_id IN (SELECT session_id FROM sessions WHERE end_ms >= {ended_ms:Int64})))"
)
"""Playbacks that ended, and folded ones of which a heartbeat came after their end: those are folded again."""
_IS_HEARTBEAT = "row_kind = 'unique'"
_SESSION_TAGS = ", ".join(
    f"argMaxIf({key}, seq, {_IS_HEARTBEAT}{' AND error != ' + chr(39) * 2 if key == 'error' else ''})"
    for key in TAG_KEYS
)
_FOLD_SESSIONS = (
    f"INSERT INTO sessions SELECT session_id, minIf(ts_ms + shift_ms - interval_ms, {_IS_HEARTBEAT}),"
    f" maxIf(ts_ms + shift_ms, {_IS_HEARTBEAT}), {{high_ms:Int64}}, {_SESSION_TAGS},"
    f" multiIf(countIf({_IS_HEARTBEAT} AND outcome > 0) > 0,"
    f" arrayElement([{_OUTCOME_NAMES}], 1 + argMaxIf(outcome, seq, {_IS_HEARTBEAT} AND outcome > 0)),"
    " countIf(row_kind = 'timeout') > countIf(row_kind = 'resumed'), 'timeout', ''),"
    f" maxIf(startup_ms, {_IS_HEARTBEAT}), countIf({_IS_HEARTBEAT}), maxIf(sample_k, {_IS_HEARTBEAT}), "
    + ", ".join(f"sum({name})" for name in SESSION_COLUMNS)
    + " FROM heartbeats WHERE minute >= toDateTime({oldest:Int64}) AND row_kind IN ('unique', 'timeout', 'resumed')"
    f" AND session_id IN ({_ENDED}) GROUP BY session_id"
    f" HAVING countIf({_IS_HEARTBEAT}) > 0"
)


@dataclass(frozen=True, slots=True)
class Folded:
    """What one call did: minutes and hours folded, the append time up to which ended sessions are, delta rows gone."""

    minutes: int = 0
    hours: int = 0
    sessions_until_ms: int = 0
    deleted: int = 0


class Folder:
    """Folds one store, fed by a log of `partitions` partitions; not thread-safe, and only one at a time."""

    def __init__(self, store: Store, partitions: int, settings: CountingSettings) -> None:
        self._store = store
        self._partitions = partitions
        self._settings = settings
        self._deleted_ms = 0

    def __call__(self) -> Folded:
        """Fold what has become final. Raises `UnavailableError`: call again later."""
        watermark = self.watermark_ms()
        if watermark is None:
            return Folded()
        minutes = self._fold_minutes(watermark)
        return Folded(minutes, self._fold_hours(), self._fold_sessions(watermark), self._delete(watermark))

    def watermark_ms(self) -> int | None:
        """The append time that every partition has passed; None where one has not begun."""
        rows = self._store.query(
            "SELECT log_partition, max(append_ms) FROM deltas WHERE `cube` = {ledger:String} GROUP BY log_partition",
            {"ledger": LEDGER_CUBE},
        )
        return min(int(append_ms) for _, append_ms in rows) if len(rows) >= self._partitions else None

    def _fold_minutes(self, watermark_ms: int) -> int:
        """Fold all final minutes, at most `MINUTES_A_FOLD` an insert; returns how many."""
        settings = self._settings
        final = (watermark_ms - settings.lateness_ms - settings.slack_ms) // MINUTE_MS
        folded = self._progress("minutes")
        low = folded + 1 if folded is not None else self._first_minute("deltas", " WHERE `cube` != 'ledger'")
        count = 0
        while low is not None and low < final:
            high = min(final, low + MINUTES_A_FOLD)
            self._fold("minutes", _FOLD_MINUTES, _CELLS_DUE, low, high, last=high - 1)
            count += high - low
            low = high
        return count

    def _fold_hours(self) -> int:
        """Fold every hour whose minutes are all folded; returns how many."""
        minutes, folded = self._progress("minutes"), self._progress("hours")
        if minutes is None:
            return 0
        first = folded + HOUR_MIN if folded is not None else self._first_minute("minutes", "")
        count = 0
        low = None if first is None else first // HOUR_MIN * HOUR_MIN
        while low is not None and low + HOUR_MIN - 1 <= minutes:
            self._fold("hours", _FOLD_HOUR, _HOUR_CELLS_DUE, low, low + HOUR_MIN, last=low)
            count += 1
            low += HOUR_MIN
        return count

    def _fold(self, level: str, insert: str, cells_due: str, low: int, high: int, *, last: int) -> None:
        """Fold minutes [low, high) and note `last` as this level's progress."""
        span = {"low": low * 60, "high": high * 60, "ledger": LEDGER_CUBE}
        due = self._one(cells_due, span)
        if self._rows(level, low, high) != due:
            self._store.command(insert, span)
        if self._rows(level, low, high) != due:
            self._store.command(f"OPTIMIZE TABLE {level} FINAL")
        self._note(level, last, due)

    def _fold_sessions(self, watermark_ms: int) -> int:
        """Fold playbacks whose end was appended since the last call; returns the append time reached."""
        reached = watermark_ms // MINUTE_MS
        folded = self._progress("sessions")
        if folded is None:
            folded = self._first_minute("heartbeats", " WHERE row_kind = 'unique'")
        if folded is None or folded >= reached:
            return (folded or 0) * MINUTE_MS
        oldest = max(0, folded - SESSION_SPAN_MIN)
        self._store.command(
            _FOLD_SESSIONS,
            {
                "low_ms": folded * MINUTE_MS,
                "high_ms": reached * MINUTE_MS,
                "oldest": oldest * 60,
                # What counts now is at most the lateness old, and a playback ends after its last heartbeat.
                "ended_ms": folded * MINUTE_MS - self._settings.lateness_ms - self._settings.slack_ms,
            },
        )
        self._note("sessions", reached, 0)
        return reached * MINUTE_MS

    def _delete(self, watermark_ms: int) -> int:
        """Delete folded deltas older than `DELTAS_KEPT_MS`, now and then; ledger rows stay."""
        folded = self._progress("minutes")
        if folded is None or watermark_ms - self._deleted_ms < DELETE_EVERY_MS:
            return 0
        self._deleted_ms = watermark_ms
        old = (
            f"`cube` != '{LEDGER_CUBE}' AND append_ms < {watermark_ms - DELTAS_KEPT_MS}"
            f" AND minute <= toDateTime({folded * 60})"
        )
        rows = self._one(f"SELECT count() FROM deltas WHERE {old}")
        if rows:
            self._store.command(f"DELETE FROM deltas WHERE {old}")
        return rows

    def _progress(self, level: str) -> int | None:
        """The newest minute (epoch minutes) in `folds` of a level."""
        rows = self._store.query(
            "SELECT count(), toUnixTimestamp(max(minute)) FROM folds WHERE level = {level:String}", {"level": level}
        )
        count, seconds = rows[0]
        return int(seconds) // 60 if count else None

    def _note(self, level: str, minute: int, rows: int) -> None:
        self._store.command(f"INSERT INTO folds VALUES ('{level}', {minute * 60}, {rows})")

    def _first_minute(self, table: str, where: str) -> int | None:
        count, seconds = self._store.query(f"SELECT count(), toUnixTimestamp(min(minute)) FROM {table}{where}")[0]
        return int(seconds) // 60 if count else None

    def _rows(self, table: str, low: int, high: int) -> int:
        return self._one(
            f"SELECT count() FROM {table} WHERE minute >= toDateTime({low * 60}) AND minute < toDateTime({high * 60})"
        )

    def _one(self, sql: str, parameters: dict[str, object] | None = None) -> int:
        return int(self._store.query(sql, parameters)[0][0])
