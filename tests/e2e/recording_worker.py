"""Run as a program: a real Faust worker whose job only writes down which records it got, in SQLite.

Arguments: bootstrap, topic, group, bucket_ms, database. A bucket is stored whole with its interval, as the real store
does; a bucket stored before is left alone. So the worker's own promises can be tested without the counting.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from streaming_jobs.faust_worker import WorkerSettings, run_worker
from tocsin.adapters.log.kafka import KafkaTopic
from tocsin.adapters.log.port import LogReader, Record
from tocsin.model.records import TICK

SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (partition INTEGER, start INTEGER, "end" INTEGER, PRIMARY KEY (partition, start));
CREATE TABLE IF NOT EXISTS records (partition INTEGER, offset INTEGER, payload TEXT);
"""


def connect(path: str) -> sqlite3.Connection:
    """The database, waiting for other writers."""
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    connection.executescript("PRAGMA journal_mode=WAL;" + SCHEMA)
    return connection


class RecordingJob:
    """Buckets by append time; each stored once with its records."""

    def __init__(self, partition: int, bucket_ms: int, path: str) -> None:
        self._partition = partition
        self._bucket_ms = bucket_ms
        self._path = path
        self._open: list[Record] = []
        self._ticked_ms = 0

    def resume(self, reader: LogReader) -> int:
        """The end of the last interval stored."""
        with contextlib.closing(connect(self._path)) as store:
            query = 'SELECT max("end") FROM buckets WHERE partition = ?'
            (end,) = store.execute(query, (self._partition,)).fetchone()
        self._open = []
        return int(end) if end is not None else reader.start(self._partition)

    def push(self, records: Sequence[Record]) -> int | None:
        """Close a bucket where the append time's bucket changes."""
        stored = None
        for record in records:
            if self._open and record.append_ms // self._bucket_ms != self._open[-1].append_ms // self._bucket_ms:
                stored = self._store()
            self._open.append(record)
        return stored

    def needs_tick(self, now_ms: int) -> bool:
        """When the open bucket is over."""
        if not self._open or now_ms - self._ticked_ms < self._bucket_ms:
            return False
        due = now_ms // self._bucket_ms > self._open[-1].append_ms // self._bucket_ms
        self._ticked_ms = now_ms if due else self._ticked_ms
        return due

    def _store(self) -> int:
        start, end = self._open[0].offset, self._open[-1].offset + 1
        with contextlib.closing(connect(self._path)) as store, store:
            new = store.execute(
                "INSERT OR IGNORE INTO buckets VALUES (?, ?, ?)", (self._partition, start, end)
            ).rowcount
            if new:
                rows = [(r.partition, r.offset, r.payload.decode()) for r in self._open if r.payload != TICK]
                store.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
        self._open = []
        return end


def main() -> None:
    """Run until SIGTERM."""
    bootstrap, topic, group, bucket_ms, path = sys.argv[1:6]
    settings = WorkerSettings(KafkaTopic(bootstrap, topic), group, Path(path).with_name("faust"))
    run_worker(
        settings,
        lambda partition: RecordingJob(partition, int(bucket_ms), path),
        lambda: time.time_ns() // 1_000_000,
    )


if __name__ == "__main__":
    main()
