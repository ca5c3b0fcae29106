"""The embedded log: one SQLite file in WAL mode, one row a record, fsync before `append` returns.

Any number of processes may write and read. `append_ms` is taken from the clock inside the write transaction and never
goes back within a partition, so append order and stamps agree whichever process appends.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tocsin.adapters.log.port import Record
from tocsin.model.errors import ConfigError, UnavailableError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  partition INTEGER NOT NULL, offset INTEGER NOT NULL, append_ms INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (partition, offset)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS log_by_time ON log (partition, append_ms);
CREATE TABLE IF NOT EXISTS heads (
  partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL, first_offset INTEGER NOT NULL,
  append_ms INTEGER NOT NULL) WITHOUT ROWID;
"""
_POLL_S = 0.01
_BUSY_S = 10.0


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _count_heads(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("SELECT count(*) FROM heads").fetchone()
    return int(found)


def _make_heads(connection: sqlite3.Connection, partitions: int) -> int:
    """Fix the number of partitions, unless another process just has; returns the number that holds."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        found = _count_heads(connection)
        if not found:
            connection.executemany("INSERT INTO heads VALUES (?, 0, 0, 0)", [(p,) for p in range(partitions)])
    return found or partitions


@contextlib.contextmanager
def _as_unavailable(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnavailableError(f"{doing} {path}: {error}; check the disk, then try again") from error


class LocalLog:
    """`LogWriter` and `LogReader` over one file; `now_ms` is the log's clock."""

    def __init__(self, path: Path, now_ms: Callable[[], int], partitions: int = 1) -> None:
        self._path = path
        self._now_ms = now_ms
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _as_unavailable("opening the log", path):
            self._connection: sqlite3.Connection | None = _connect(path)
            self._connection.executescript(_SCHEMA)
            found = _count_heads(self._connection) or _make_heads(self._connection, partitions)
        if found != partitions:
            raise ConfigError(f"opening the log {path}: it has {found} partitions, not {partitions}; set that number")
        self._partitions = partitions

    @property
    def partitions(self) -> int:
        """Number of partitions, fixed when the file was made."""
        return self._partitions

    def append(self, items: Sequence[tuple[int, bytes]]) -> None:
        """Store all payloads in one transaction and fsync."""
        with self._lock, _as_unavailable("appending to the log", self._path):
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                now = self._now_ms()
                for partition, payload in items:
                    offset, last_ms = connection.execute(
                        "SELECT next_offset, append_ms FROM heads WHERE partition = ?", (partition,)
                    ).fetchone()
                    append_ms = max(now, last_ms)
                    connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (partition, offset, append_ms, payload))
                    connection.execute(
                        "UPDATE heads SET next_offset = ?, append_ms = ? WHERE partition = ?",
                        (offset + 1, append_ms, partition),
                    )
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    def read(self, partition: int, offset: int, records_max: int = 256, wait_ms: int = 0) -> list[Record]:
        """Records from `offset` on; polls until `wait_ms` has passed where there is none."""
        deadline = time.monotonic() + wait_ms / 1000
        while True:
            with self._lock, _as_unavailable("reading the log", self._path):
                rows = self._open().execute(
                    "SELECT partition, offset, append_ms, payload FROM log"
                    " WHERE partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
                    (partition, offset, records_max),
                ).fetchall()  # fmt: skip
            if rows or time.monotonic() >= deadline:
                return [Record(*row) for row in rows]
            time.sleep(_POLL_S)

    def start(self, partition: int) -> int:
        """First offset kept."""
        return self._head(partition, "first_offset")

    def end(self, partition: int) -> int:
        """Next offset."""
        return self._head(partition, "next_offset")

    def offset_at(self, partition: int, append_ms: int) -> int:
        """First offset appended at or after `append_ms`, else the end."""
        with self._lock, _as_unavailable("reading the log", self._path):
            (offset,) = self._open().execute(
                "SELECT min(offset) FROM log WHERE partition = ? AND append_ms >= ?", (partition, append_ms)
            ).fetchone()  # fmt: skip
        return self.end(partition) if offset is None else int(offset)

    def trim(self, partition: int, offset: int) -> None:
        """Forget records before `offset`: retention, never past what the store has."""
        with self._lock, _as_unavailable("trimming the log", self._path):
            connection = self._open()
            connection.execute("DELETE FROM log WHERE partition = ? AND offset < ?", (partition, offset))
            connection.execute(
                "UPDATE heads SET first_offset = max(first_offset, ?) WHERE partition = ?", (offset, partition)
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _head(self, partition: int, column: str) -> int:
        with self._lock, _as_unavailable("reading the log", self._path):
            row = self._open().execute(f"SELECT {column} FROM heads WHERE partition = ?", (partition,)).fetchone()
        return int(row[0])

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise UnavailableError(f"using the log {self._path}: it is closed; open it again")
        return self._connection
