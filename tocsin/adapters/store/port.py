"""The store port: ClickHouse by one client, embedded (chdb) or a server; the same SQL for both.

Laws, asserted by one suite over every adapter:

1. `insert` writes all rows as one block or none: it returns once they are stored, else raises `UnavailableError`, after
   which they may or may not be stored.
2. A second insert into the same table with a token already seen stores nothing.
3. `query` sees every insert that returned before it.
4. Values are bound (`{name:Type}` in the SQL), never pasted.
5. `query_limited` changes nothing, sees rows that replace one another once, and ends soon after it passes a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one query may take: seconds, bytes of the engine's memory (and of the result), rows of the result."""

    time_s: float
    memory_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class TypedResult:
    """A result with the engine's own type of each column, in order; DateTime columns are UTC timestamps."""

    types: tuple[str, ...]
    table: pa.Table


class Store(Protocol):
    """Thread-safe; one per process."""

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Store Arrow rows in one block; `token` deduplicates; columns not given take their default."""
        ...

    def query(self, sql: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        """Rows as tuples; DateTime columns as aware datetimes."""
        ...

    def query_columns(self, sql: str, parameters: Parameters | None = None) -> dict[str, Sequence[Any]]:
        """Columns as numpy arrays (numbers) or lists (text), by name: the fast path for wide results."""
        ...

    def query_arrow(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """The result as Arrow."""
        ...

    def query_limited(self, sql: str, parameters: Parameters, limits: QueryLimits) -> TypedResult:
        """Answer a reader's own SELECT: read-only and within `limits`.

        Raises `LimitExceededError` past a limit and `InputError` for whatever else is wrong with the statement.
        """
        ...

    def command(self, sql: str, parameters: Parameters | None = None) -> None:
        """Run a statement that returns nothing."""
        ...

    def close(self) -> None:
        """Release."""
        ...
