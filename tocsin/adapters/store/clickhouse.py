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
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from tocsin.adapters.store.columns import plain
from tocsin.adapters.store.port import Parameters, QueryLimits, TypedResult
from tocsin.model.errors import InputError, LimitExceededError, TocsinError, UnavailableError
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
_FAULTS_OF_THE_ENGINE = ("(total)", "TOO_MANY_SIMULTANEOUS", "NETWORK_ERROR", "NOT_ENOUGH_SPACE", "SERVER_OVERLOADED")


class ClickHouseStore:
    """`Store` over one DSN; makes missing tables, kept for `keep_days` (by table name) or their default.

    Tables that are there get the columns that they lack, with the types' defaults in their rows, and the retention that
    `keep_days` names.
    """

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
        self._add_missing_columns()
        self._change_retention(keep_days or {})

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
        return {name: _values(column) for name, column in zip(arrow.column_names, arrow.columns, strict=True)}

    def query_arrow(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """The result as an Arrow table; text comes as Arrow strings."""
        with self._lock, self._errors("querying", sql):
            return self._client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True)

    def query_limited(self, sql: str, parameters: Parameters, limits: QueryLimits) -> TypedResult:
        """DESCRIBE takes nothing but a SELECT, and gives the types. Settings ride in the statement: the embedded client
        would SET them for its one session, and could not take back `readonly`. `final` merges rows that replace one
        another."""
        clause = (
            f"SETTINGS readonly = 2, final = 1, result_overflow_mode = 'throw', max_execution_time = {limits.time_s},"
            f" max_memory_usage = {limits.memory_bytes}, max_result_bytes = {limits.memory_bytes},"
            f" max_result_rows = {limits.rows}, output_format_arrow_string_as_string = 1"
        )
        bound = dict(parameters)
        with self._lock, self._errors("querying"):
            try:
                columns = self._client.query(f"DESCRIBE ({sql}\n)", parameters=bound).result_rows
                found = self._client.raw_query(f"{sql}\nFORMAT ArrowStream {clause}", parameters=bound)
            except DatabaseError as error:
                raise _limited_error(str(error), limits) from error
        types = tuple(str(column[1]) for column in columns)
        return TypedResult(types, _with_times(pa.ipc.open_stream(found).read_all(), types))

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        """Run a statement without a result."""
        with self._lock, self._errors("running a statement on", sql):
            self._client.command(sql, parameters=dict(parameters or {}))

    def close(self) -> None:
        """Close the client; an embedded path can then be opened by another process."""
        with self._lock:
            self._client.close()

    def _add_missing_columns(self) -> None:
        there = {
            tuple(row)
            for row in self.query("SELECT table, name FROM system.columns WHERE database = currentDatabase()")
        }
        for table in TABLES:
            lacking = [(name, kind) for name, kind in table.columns if (table.name, name) not in there]
            if lacking:
                added = ", ".join(f"ADD COLUMN IF NOT EXISTS `{name}` {kind}" for name, kind in lacking)
                self.command(f"ALTER TABLE {table.name} {added}")

    def _change_retention(self, keep_days: Mapping[str, int]) -> None:
        engines = dict(self.query("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"))
        for table in TABLES:
            days = keep_days.get(table.name)
            if days is not None and table.keep_by and f"toIntervalDay({days})" not in engines[table.name]:
                self.command(f"ALTER TABLE {table.name} MODIFY {table.ttl(days)}")

    @contextlib.contextmanager
    def _errors(self, doing: str, sql: str = "", *, dsn_only: bool = False) -> Iterator[None]:
        began_s = time.thread_time()
        try:
            yield
        except (ClickHouseError, OSError, TocsinError) as error:
            if self._embedded and not dsn_only:
                self._discard_left_over()
            if isinstance(error, TocsinError):
                raise
            text = str(error)
            if not dsn_only and sql and any(f"({name}" in text or name in text for name in _FAULTS_OF_THE_CALLER):
                raise InputError(f"{doing} the store: {text.splitlines()[0]}") from error
            raise UnavailableError(f"{doing} the store {self._where}: {text[:500]}") from error
        finally:
            self.cpu_s[threading.current_thread().name] += time.thread_time() - began_s

    def _discard_left_over(self) -> None:
        """What an embedded query had written when it failed comes before the answer of the next one: take it off."""
        with contextlib.suppress(ClickHouseError):
            self._client.raw_query("SELECT 1")


def _limited_error(text: str, limits: QueryLimits) -> TocsinError:
    """Whose fault it is that the engine refused a reader's statement."""
    if any(sign in text for sign in _FAULTS_OF_THE_ENGINE):
        return UnavailableError(f"querying the store: {text[:500]}")
    if "TIMEOUT_EXCEEDED" in text:
        return LimitExceededError(f"the query takes longer than {limits.time_s:g} s", "time")
    if "TOO_MANY_ROWS_OR_BYTES" in text and "max rows" in text:
        return LimitExceededError(f"the result has more than {limits.rows} rows", "rows")
    if "MEMORY_LIMIT_EXCEEDED" in text or "TOO_MANY_ROWS_OR_BYTES" in text:
        return LimitExceededError(f"the query needs more than {limits.memory_bytes >> 20} MiB of memory", "memory")
    return InputError(f"querying the store: {text.splitlines()[0]}")


def _with_times(table: pa.Table, types: Sequence[str]) -> pa.Table:
    """DateTime columns, which come as seconds in UInt32, as UTC timestamps."""
    for at, kind in enumerate(types):
        inner = kind.replace("LowCardinality(", "").replace("Nullable(", "")
        column = table.column(at)
        if inner.startswith("DateTime") and pa.types.is_uint32(column.type):
            times = column.cast(pa.int64()).cast(pa.timestamp("s", "UTC"))
            table = table.set_column(at, table.field(at).with_type(times.type), times)
    return table


def _values(column: pa.ChunkedArray) -> Any:
    return column.to_pylist() if _is_text(column.type) else plain(column)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_nested(kind)
        or pa.types.is_dictionary(kind)
    )
