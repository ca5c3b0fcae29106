"""The ledger of a running or stopped Tocsin, read from log and store: does what was acked equal what is counted?"""

from __future__ import annotations

import contextlib

from streaming_jobs.committer import ledger_rows, raw_counts
from tocsin.adapters.log.port import LogReader
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.adapters.store.port import Store
from tocsin.app.config import Config
from tocsin.app.logs import open_reader
from tocsin.model.errors import ConfigError, UnavailableError
from tocsin.model.ledger import LedgerReport, LedgerRow, report
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
    """The proof for everything appended until `SETTLE_MS` ago, of a Tocsin that may be counting now.

    `quiet`: it is not, so raw rows are compared as well (while all of them are still kept).
    """
    bounds = log_bounds(reader, now_ms - SETTLE_MS)
    rows = ledger_rows(store)
    ends = {row.partition: max(row.end, bounds.get(row.partition, (0, 0))[1]) for row in rows}
    covered = {partition: (start, max(end, ends.get(partition, 0))) for partition, (start, end) in bounds.items()}
    return report(rows, covered, _raw(store, rows, now_ms, HEARTBEATS.keep_days) if quiet else None)


def stopped_report(store: Store, reader: LogReader, now_ms: int, raw_keep_days: int) -> tuple[LedgerReport, int]:
    """The proof where nothing is being counted, and how many messages wait for the next start.

    What waits is the log behind the last bucket: it is neither lost nor counted. Raw rows are compared with the ledger
    as well, while all of them are still kept.
    """
    rows = ledger_rows(store)
    ends: dict[int, int] = {}
    for row in rows:
        ends[row.partition] = max(row.end, ends.get(row.partition, 0))
    covered, waiting = {}, 0
    for partition in range(reader.partitions):
        start, log_end = reader.start(partition), reader.end(partition)
        covered[partition] = (start, max(ends.get(partition, start), start))
        waiting += max(log_end - covered[partition][1], 0)
    return report(rows, covered, _raw(store, rows, now_ms, raw_keep_days)), waiting


def own_ledger(config: Config) -> tuple[LedgerReport, int]:
    """The proof for a configuration's own log and store, and how many messages wait to be counted.

    A Kafka log and a store server may be in use. An embedded folder must be stopped, for one process at a time can open
    its store. Raises `ConfigError` where there is none, `UnavailableError` where it is in use or a server is away.
    """
    if not config.log:
        _check_folder(config)
    with contextlib.ExitStack() as stack:
        store = _open_store(config)
        stack.callback(store.close)
        reader = stack.enter_context(contextlib.closing(open_reader(config)))
        now_ms = config.clock.now_ms()
        if config.log:
            return ledger_report(store, reader, now_ms), 0
        return stopped_report(store, reader, now_ms, config.keep_days.get(HEARTBEATS.name, HEARTBEATS.keep_days))


def _raw(store: Store, rows: list[LedgerRow], now_ms: int, keep_days: int) -> dict[str, int] | None:
    """Raw rows by kind; None where some may have been deleted for their age."""
    oldest_ms = min((row.append_ms for row in rows), default=now_ms)
    return raw_counts(store) if now_ms - oldest_ms < (keep_days - 1) * DAY_MS else None


def _check_folder(config: Config) -> None:
    for path in (config.data / "log.db", config.data / "store"):
        if not path.exists() and not (path.name == "store" and config.store):
            raise ConfigError(
                f"proving the ledger of {config.data}: there is no {path.name} in it; set data (TOCSIN_DATA) to a "
                "folder that `tocsin up` has used, or give --server URL"
            )


def _open_store(config: Config) -> ClickHouseStore:
    try:
        return ClickHouseStore(config.store_dsn, config.keep_days)
    except UnavailableError as error:
        if config.store:
            raise
        raise UnavailableError(
            f"opening the store in {config.data}: another process has it, or its files are damaged ({error}); "
            "while Tocsin runs, ask it: tocsin doctor --ledger --server URL"
        ) from error
