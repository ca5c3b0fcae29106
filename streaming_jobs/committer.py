"""Makes a bucket's results durable exactly once, and finds where counting must resume.

Order: raw rows, series, quarantine; then deltas and ledger row as one insert. Whatever is stored twice is dropped by
its deduplication token, `topic-partition-start-table`; a bucket counts once its ledger row is there.

Two cases need a second look, and get it for buckets that may have been tried before (the first after `position`, the
fillers of gaps, and every retry):

* the store has the bucket already: nothing is inserted;
* a token is known though its rows are not: plain MergeTree writes the token before it renames the part, so a SIGKILL
  in between drops the replay. The rows are counted, and where there are none they are inserted under a new token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from streaming_jobs import failpoint
from streaming_jobs.engine import Position
from streaming_jobs.steps.output import BucketOutput
from tocsin.adapters.store.port import Store
from tocsin.model.errors import UnavailableError
from tocsin.model.ledger import Interval, LedgerRow, first_missing
from tocsin.model.tables import LEDGER_COLUMNS, LEDGER_CUBE, TABLES

TOKENS_MAX = 5
"""Tokens tried for one insert before the store is taken to be broken."""

_STORED_BUCKETS = (
    "SELECT start_offset, end_offset, append_ms FROM deltas"
    " WHERE cube = {cube:String} AND log_partition = {partition:UInt16} AND end_offset >= {first:Int64}"
    " ORDER BY start_offset"
)
_LEDGER_ROWS = (
    "SELECT log_partition, start_offset, end_offset, append_ms, "
    + ", ".join(f"ledger_{name}" for name in LEDGER_COLUMNS)
    + " FROM deltas WHERE cube = {cube:String} ORDER BY log_partition, start_offset"
)
_KEEP_DAYS = {table.name: table.keep_days for table in TABLES}
_TABLES: tuple[str, ...] = ("heartbeats", "series", "quarantine", "deltas")


@dataclass(slots=True)
class CommitStats:
    """Since the process began: buckets stored, buckets of which the store had a part already, inserts repeated under
    a new token because the rows of a known one were missing."""

    committed: int = 0
    replayed: int = 0
    repaired: int = 0


class Committer:
    """Commits to one store; thread-safe for different partitions. `topic` keeps the tokens of two logs apart."""

    def __init__(self, store: Store, topic: str = "heartbeats") -> None:
        self._store = store
        self._topic = topic
        self._fresh_from: dict[int, int] = {}
        self._tried: set[tuple[int, int]] = set()
        self.stats = CommitStats()

    def position(self, partition: int, first_offset: int) -> Position:
        """Where to resume: the first offset from `first_offset` (the log's first) that the store lacks.

        Raises `UnavailableError` where the store is away.
        """
        rows = self._store.query(_STORED_BUCKETS, {"cube": LEDGER_CUBE, "partition": partition, "first": first_offset})
        offset = first_missing([(start, end) for start, end, _ in rows], first_offset)
        before = [append_ms for _, end, append_ms in rows if end <= offset]
        stored = tuple(Interval(start, end) for start, end, _ in rows if start >= offset)
        self._fresh_from[partition] = max([offset, *(end for _, end, _ in rows)])
        return Position(offset, before[-1] if before else None, stored)

    def commit(self, output: BucketOutput) -> None:
        """Store the bucket. Raises `UnavailableError`: call again with the same output until it returns."""
        key = (output.partition, output.start_offset)
        fresh_from = self._fresh_from.get(output.partition)
        doubtful = key in self._tried or fresh_from is None or output.start_offset <= fresh_from
        self._tried.add(key)
        if doubtful and self._rows_stored("deltas", output):
            self.stats.replayed += 1
            self._tried.discard(key)
            return
        seen = 0
        for table, rows in _parts(output):
            if table == "deltas":
                failpoint.reach(failpoint.BETWEEN_INSERTS)
            if rows.num_rows:
                seen += self._insert(table, rows, output, doubtful=doubtful)
        self._tried.discard(key)
        self.stats.committed += 1
        self.stats.replayed += seen > 0

    def _insert(self, table: str, rows: pa.Table, output: BucketOutput, *, doubtful: bool) -> bool:
        """Insert under the bucket's token; returns True where the rows were there before."""
        token = f"{self._topic}-{output.partition}-{output.start_offset}-{table}"
        if not doubtful:
            self._store.insert(table, rows, token)
            return False
        if self._rows_stored(table, output):
            return True
        for attempt in range(TOKENS_MAX):
            self._store.insert(table, rows, f"{token}-{attempt}" if attempt else token)
            if self._rows_stored(table, output):
                return False
            self.stats.repaired += 1
        if self._expired(table, output):
            return False
        raise UnavailableError(
            f"inserting bucket {output.start_offset} of partition {output.partition} into {table}: "
            f"the store took {TOKENS_MAX} inserts and shows no row; check its disk and its deduplication window"
        )

    def _expired(self, table: str, output: BucketOutput) -> bool:
        """Whether the rows are past the table's retention, by the store's clock: a log that waited for weeks."""
        kept_s = (_KEEP_DAYS[table] - 1) * 86_400
        ((age_s,),) = self._store.query(
            "SELECT toInt64(toUnixTimestamp(now())) - intDiv({append:Int64}, 1000)", {"append": output.append_ms}
        )
        return int(age_s) > kept_s

    def _rows_stored(self, table: str, output: BucketOutput) -> int:
        ledger = f" AND cube = '{LEDGER_CUBE}'" if table == "deltas" else ""
        rows = self._store.query(
            f"SELECT count() FROM {table} WHERE log_partition = {{partition:UInt16}}"
            f" AND start_offset = {{start:Int64}}{ledger}",
            {"partition": output.partition, "start": output.start_offset},
        )
        return int(rows[0][0])


def ledger_rows(store: Store) -> list[LedgerRow]:
    """Every ledger row that the store has, for `tocsin.model.ledger.report`."""
    return [
        LedgerRow(partition, start, end, append_ms, dict(zip(LEDGER_COLUMNS, counts, strict=True)))
        for partition, start, end, append_ms, *counts in store.query(_LEDGER_ROWS, {"cube": LEDGER_CUBE})
    ]


def raw_counts(store: Store) -> dict[str, int]:
    """Raw rows by `row_kind`."""
    return {str(kind): int(n) for kind, n in store.query("SELECT row_kind, count() FROM heartbeats GROUP BY row_kind")}


def _parts(output: BucketOutput) -> Sequence[tuple[str, pa.Table]]:
    return tuple(zip(_TABLES, (output.raw, output.series, output.quarantine, output.deltas), strict=True))
