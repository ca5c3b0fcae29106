"""The store adapter: clickhouse-connect over chdb (`chdb:///path`) or a server (`http://user:password@host:port/db`).

An embedded engine serves one process at a time and one path a process; calls are serialised by a lock there. A block is
never split: `max_insert_block_size` and the Arrow row group both hold the largest bucket.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from tocsin.adapters.store.port import Parameters
from tocsin.model.errors import InputError, UnavailableError
from tocsin.model.tables import TABLES

ROWS_PER_BLOCK_MAX = 4_000_000
_INSERT_SETTINGS: dict[str, Any] = {
    "insert_deduplicate": 1,
    "async_insert": 0,
    "max_insert_block_size": ROWS_PER_BLOCK_MAX,
    "min_insert_block_size_rows": ROWS_PER_BLOCK_MAX,
    "min_insert_block_size_bytes": 0,
}
_FAULTS_OF_THE_CALLER = ("SYNTAX_ERROR", "UNKNOWN_", "ILLEGAL_", "TYPE_MISMATCH", "BAD_ARGUMENTS", "NO_COMMON_TYPE")


class ClickHouseStore:
    """`Store` over one DSN; makes missing tables, kept for `keep_days` (by table name) or their default."""

    def __init__(self, dsn: str, keep_days: Mapping[str, int] | None = None) -> None:
        self._embedded = dsn.startswith("chdb:")
        self._where = dsn if self._embedded else dsn.rpartition("@")[2]
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        """CPU seconds that calls have cost the calling thread, by its name: an embedded engine works in there, too."""
        self._lock = threading.RLock() if self._embedded else contextlib.nullcontext()
        options: dict[str, Any] = (
            {} if self._embedded else {"autogenerate_session_id": False, "send_receive_timeout": 60}
        )
        with self._errors("opening", dsn_only=True):
            self._client = clickhouse_connect.get_client(dsn=dsn, **options)
        for table in TABLES:
            self.command(table.ddl((keep_days or {}).get(table.name)))

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """One block; `token` deduplicates against the table's last 10,000 inserts."""
        if rows.num_rows == 0:
            return
        settings = dict(_INSERT_SETTINGS)
        if token:
            settings["insert_deduplication_token"] = token
        with self._lock, self._errors(f"inserting {rows.num_rows} rows into {table} of"):
            self._client.insert_arrow(table, rows.combine_chunks(), settings=settings)

    def query(self, sql: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        with self._lock, self._errors("querying", sql):
            result = self._client.query(sql, parameters=dict(parameters or {}))
            return [tuple(row) for row in result.result_rows]

    def query_columns(self, sql: str, parameters: Parameters | None = None) -> dict[str, Sequence[Any]]:
        """Numbers as numpy arrays, text as lists, by column name."""
        arrow = self.query_arrow(sql, parameters)
        return {
            name: column.to_pylist() if _is_text(column.type) else column.to_numpy()
            for name, column in zip(arrow.column_names, arrow.columns, strict=True)
        }

    def query_arrow(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """The result as an Arrow table; text comes as Arrow strings."""
        with self._lock, self._errors("querying", sql):
            return self._client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True)

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        """Run a statement without a result."""
        with self._lock, self._errors("running a statement on", sql):
            self._client.command(sql, parameters=dict(parameters or {}))

    def close(self) -> None:
        """Close the client; an embedded path can then be opened by another process."""
        with self._lock:
            self._client.close()

    @contextlib.contextmanager
    def _errors(self, doing: str, sql: str = "", *, dsn_only: bool = False) -> Iterator[None]:
        began_s = time.thread_time()
        try:
            yield
        except (ClickHouseError, OSError) as error:
            text = str(error)
            if not dsn_only and sql and any(f"({name}" in text or name in text for name in _FAULTS_OF_THE_CALLER):
                raise InputError(f"{doing} the store: {text.splitlines()[0]}") from error
            raise UnavailableError(f"{doing} the store {self._where}: {text[:500]}") from error
        finally:
            self.cpu_s[threading.current_thread().name] += time.thread_time() - began_s


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_nested(kind)
        or pa.types.is_dictionary(kind)
    )
