"""The ledger of a running or stopped Tocsin, read from log and store: does what was acked equal what is counted?"""

from __future__ import annotations

from streaming_jobs.committer import ledger_rows, raw_counts
from tocsin.adapters.log.port import LogReader
from tocsin.adapters.store.port import Store
from tocsin.model.ledger import LedgerReport, report
from tocsin.model.tables import HEARTBEATS

SETTLE_MS = 30_000
"""A record older than this must have been counted: a bucket, its insert and a tick take less."""
DAY_MS = 86_400_000


def log_bounds(reader: LogReader, before_ms: int) -> dict[int, tuple[int, int]]:
    """By partition: the first offset kept, and the first that was appended at or after `before_ms`."""
    return {
        partition: (reader.start(partition), reader.offset_at(partition, before_ms))
        for partition in range(reader.partitions)
    }


def ledger_report(store: Store, reader: LogReader, now_ms: int, *, quiet: bool = False) -> LedgerReport:
    """The proof for everything appended until `SETTLE_MS` ago.

    `quiet`: nothing is being counted now, so raw rows are compared as well (while all of them are still kept).
    """
    bounds = log_bounds(reader, now_ms - SETTLE_MS)
    rows = ledger_rows(store)
    oldest_ms = min((row.append_ms for row in rows), default=now_ms)
    kept = now_ms - oldest_ms < (HEARTBEATS.keep_days - 1) * DAY_MS
    ends = {row.partition: max(row.end, bounds.get(row.partition, (0, 0))[1]) for row in rows}
    covered = {partition: (start, max(end, ends.get(partition, 0))) for partition, (start, end) in bounds.items()}
    return report(rows, covered, raw_counts(store) if quiet and kept else None)
