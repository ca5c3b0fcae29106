"""What the store knows of a point's minutes: the sessions that sum to it, what became of heartbeats, tables, ledger.

Raw heartbeats hold no duplicate, and every heartbeat counts with its sampling weight; a session's time-out adds to
`ended` and `timeouts`, its taking back subtracts. So the sum over sessions of a point's minutes is what its cells hold.
Two kinds of parts are no sums over the heartbeats of the minutes: `n` counts session-minutes (those are counted here),
and what the jobs derive from earlier heartbeats (`expected`, moments), of which no session's share can be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from query.conditions import Bound
from query.raw import derivable, part_amounts
from tocsin.adapters.store.port import Store
from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.lines import Floats
from tocsin.model.asl.query_expr import Equal, Query
from tocsin.model.asl.times import HOUR
from tocsin.model.cubes import Cube
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.ledger import LedgerRow, report
from tocsin.model.tables import LEDGER_COLUMNS, LEDGER_CUBE
from tocsin.model.tags import IDENTITY_KEYS, TAG_KEYS

ROWS_MAX = 1_000_000
"""Raw heartbeats that one explanation may read."""
SESSION_MINUTES = "n"
_NEWEST_FOLD = "(SELECT max(minute) FROM folds WHERE level = 'minutes')"
_FINE = {"minutes": "", "deltas": f" AND minute > {_NEWEST_FOLD}"}
"""Tables of minutes, and the condition for those that they answer for."""
_COUNTED = "row_kind IN ('unique', 'timeout', 'resumed')"
_FATES = {
    "counted": "row_kind = 'unique'",
    "counted_late": "row_kind = 'unique' AND {late}",
    "too_late": "row_kind = 'late'",
    "too_early": "row_kind = 'future'",
    "timed_out": "row_kind = 'timeout'",
    "came_back": "row_kind = 'resumed'",
}
_BUCKETS = (
    "SELECT log_partition, start_offset, end_offset, append_ms, "
    + ", ".join(f"ledger_{name}" for name in LEDGER_COLUMNS)
    + " FROM deltas WHERE cube = {ledger:String} AND append_ms >= {low:Int64} AND append_ms < {high:Int64}"
    " AND append_day >= toDate(intDiv({low:Int64}, 1000)) ORDER BY log_partition, start_offset"
)


@dataclass(frozen=True, slots=True)
class Span:
    """The raw heartbeats of some minutes: `condition` is on columns, times are epoch ms, the end excluded."""

    condition: Query
    start_ms: int
    end_ms: int

    def where(self, bound: Bound) -> str:
        """As SQL."""
        low, high = bound.bind(self.start_ms // 1000, "Int64"), bound.bind(self.end_ms // 1000, "Int64")
        inside = f"minute >= toDateTime({low}, 'UTC') AND minute < toDateTime({high}, 'UTC')"
        return f"{inside} AND {bound.sql(self.condition)}"


@dataclass(frozen=True, slots=True)
class SessionSums:
    """Sums of parts by session: `amounts[part][i]` belongs to `ids[i]`; `untold` are parts that have no such sums.

    A session of which there is only a time-out is here where that adds to a part.
    """

    ids: Sequence[str]
    amounts: Mapping[str, Floats]
    untold: tuple[str, ...]

    def totals(self) -> dict[str, float]:
        """Sums over all sessions."""
        return {part: float(amounts.sum()) for part, amounts in self.amounts.items()}


def session_sums(store: Store, parts: Sequence[str], span: Span) -> SessionSums:
    """What each session adds to each part. Raises `AslLimitError` where too many heartbeats would have to be read."""
    bound = Bound({key: key for key in TAG_KEYS})
    where = f"{span.where(bound)} AND {_COUNTED}"
    count = int(store.query(f"SELECT count() FROM heartbeats WHERE {where}", bound.parameters)[0][0])
    if count > ROWS_MAX:
        raise AslLimitError(
            f"too many raw heartbeats: the point takes {count}, at most {ROWS_MAX} are read; "
            f"{_condition_that_fits(store, where, bound)}"
        )
    found = store.query_columns(
        f"SELECT session_id, row_kind, {', '.join(BATCH_COLUMNS)} FROM heartbeats WHERE {where}", bound.parameters
    )
    ids, rows = np.unique(np.asarray(found["session_id"], dtype=np.str_), return_inverse=True)
    kinds = np.asarray(found["row_kind"], dtype=np.str_)
    numbers = {name: np.asarray(found[name], dtype=np.int64) for name in BATCH_COLUMNS}
    weight = np.where(kinds == "resumed", -1, 1) * numbers["sample_k"]
    amounts: dict[str, Floats] = {
        part: np.bincount(rows, part_amounts(part, numbers, kinds, weight), len(ids)).astype(np.float64)
        for part in filter(derivable, parts)
    }
    if SESSION_MINUTES in parts:
        counted = _session_minutes(store, span)
        amounts[SESSION_MINUTES] = np.array([counted.get(str(one), 0) for one in ids], dtype=np.float64)
    heartbeats = np.bincount(rows, weights=kinds == "unique", minlength=len(ids))
    told = np.any([heartbeats, *amounts.values()], axis=0)
    return SessionSums(
        [str(one) for one in ids[told]],
        {part: of_part[told] for part, of_part in amounts.items()},
        tuple(part for part in parts if part not in amounts),
    )


def _condition_that_fits(store: Store, where: str, bound: Bound) -> str:
    """The value of a tag that has the most of the heartbeats, but not too many."""
    pairs = ", ".join(f"('{key}', toString({key}))" for key in TAG_KEYS)
    rows = store.query(
        f"SELECT pair.1, pair.2, count() AS n FROM heartbeats ARRAY JOIN [{pairs}] AS pair WHERE {where}"
        f" AND pair.2 != '' GROUP BY pair HAVING n <= {ROWS_MAX} ORDER BY n DESC, pair LIMIT 1",
        bound.parameters,
    )
    if not rows:
        return "no value of a tag has so few: ask for a shorter step"
    ((key, value, count),) = rows
    return f"with the condition {Equal(str(key), str(value))} it takes {count}"


def _session_minutes(store: Store, span: Span) -> dict[str, int]:
    """By session: its minutes under one set of tags. They belong to the session, not to an error that it had."""
    bound = Bound({key: key for key in TAG_KEYS} | {"error": "''"})
    rows = store.query(
        f"SELECT session_id, uniqExact(minute, {', '.join(IDENTITY_KEYS)}) FROM heartbeats"
        f" WHERE {span.where(bound)} AND row_kind = 'unique' GROUP BY session_id",
        bound.parameters,
    )
    return {str(name): int(count) for name, count in rows}


def describe_sessions(store: Store, ids: Sequence[str], span: Span) -> dict[str, tuple[int, dict[str, str]]]:
    """Of some sessions: how many of these heartbeats are theirs, and their latest tags."""
    bound = Bound({key: key for key in TAG_KEYS})
    tags = ", ".join(f"argMax({key}, seq)" for key in IDENTITY_KEYS)
    rows = store.query(
        f"SELECT session_id, countIf(row_kind = 'unique'), {tags} FROM heartbeats WHERE {span.where(bound)}"
        f" AND {_COUNTED} AND session_id IN {bound.bind(list(ids), 'Array(String)')} GROUP BY session_id",
        bound.parameters,
    )
    return {
        str(name): (int(count), {key: str(v) for key, v in zip(IDENTITY_KEYS, values, strict=True) if v != ""})
        for name, count, *values in rows
    }


def heartbeat_fates(store: Store, span: Span, complete_ms: int) -> dict[str, int]:
    """Raw rows of the minutes by what became of them; `counted_late` are those of `counted` that came after
    `complete_ms`."""
    bound = Bound({key: key for key in TAG_KEYS})
    late = f"append_ms >= {bound.bind(complete_ms, 'Int64')}"
    counts = ", ".join(f"countIf({condition.format(late=late)})" for condition in _FATES.values())
    (row,) = store.query(f"SELECT {counts} FROM heartbeats WHERE {span.where(bound)}", bound.parameters)
    return dict(zip(_FATES, map(int, row), strict=True))


def tables_of(store: Store, cube: Cube, span: Span) -> list[str]:
    """Which tables answer for the minutes of a cube: folded ones from `minutes`, later ones from `deltas`; hours where
    whole ones are asked for, or nothing finer is left."""
    whole_hours = (span.end_ms - span.start_ms) % HOUR == 0
    found = [
        table for table, folded in _FINE.items() if not whole_hours and _any_rows(store, table, folded, cube, span)
    ]
    if not found:
        hours = Span(span.condition, span.start_ms // HOUR * HOUR, span.end_ms)
        found = [
            table for table, folded in (("hours", ""), *_FINE.items()) if _any_rows(store, table, folded, cube, hours)
        ]
    return found


def _any_rows(store: Store, table: str, folded: str, cube: Cube, span: Span) -> bool:
    rows = store.query(
        f"SELECT count() FROM (SELECT 1 FROM {table} WHERE cube = {{cube:String}} AND minute >="
        f" toDateTime({{low:Int64}}, 'UTC') AND minute < toDateTime({{high:Int64}}, 'UTC'){folded} LIMIT 1)",
        {"cube": cube.name, "low": span.start_ms // 1000, "high": span.end_ms // 1000},
    )
    return bool(rows[0][0])


def ledger_of(store: Store, low_ms: int, high_ms: int) -> dict[str, Any]:
    """The proof over the buckets appended in a time: that they tile their piece of the log, and that they balance."""
    rows = [
        LedgerRow(int(p), int(start), int(end), int(at), dict(zip(LEDGER_COLUMNS, map(int, counts), strict=True)))
        for p, start, end, at, *counts in store.query(_BUCKETS, {"ledger": LEDGER_CUBE, "low": low_ms, "high": high_ms})
    ]
    pieces: dict[int, tuple[int, int]] = {}
    for row in rows:
        start, end = pieces.get(row.partition, (row.start, row.end))
        pieces[row.partition] = (min(start, row.start), max(end, row.end))
    return report(rows, pieces).as_dict()


def playbacks_kept(store: Store, span: Span) -> int:
    """Rows of `sessions` that were playing in these minutes: what is left of sessions whose heartbeats are gone."""
    bound = Bound({key: key for key in TAG_KEYS})
    low, high = bound.bind(span.start_ms, "Int64"), bound.bind(span.end_ms, "Int64")
    rows = store.query(
        f"SELECT count() FROM sessions FINAL WHERE end_ms > {low} AND start_ms < {high}"
        f" AND {bound.sql(span.condition)}",
        bound.parameters,
    )
    return int(rows[0][0])


def largest(amounts: npt.NDArray[np.float64], ids: Sequence[str], offset: int, limit: int) -> list[int]:
    """Indices of the largest amounts by size, `limit` from `offset` on; ties in the order of ids."""
    order = np.lexsort((np.asarray(ids, dtype=np.str_), -np.abs(amounts)))
    return [int(i) for i in order[offset : offset + limit]]
