"""The log port: where accepted data become durable, and the only state that the jobs have.

Laws, asserted by one suite over every adapter:

1. `append` returns only once every payload is durable (fsync, or the broker's ack); it raises `UnavailableError`
   otherwise, and then any of the payloads may or may not have been stored.
2. A partition's offsets rise in append order; reading yields each record once, in that order, with the bytes as given.
3. Every record is stamped at append by the log's own clock (`append_ms`), not by the writer of its contents.
4. `offset_at(partition, ms)` is the first offset whose record was appended at or after `ms`, or `end(partition)`.
5. A reader has no memory: it reads where it is told. What was read before is the store's knowledge.
6. Partitions are fixed when the log is made; `partition_of(session_id)` is the same in every process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import xxhash


class Record(NamedTuple):
    """One payload of a partition, with its place and the log's stamp."""

    partition: int
    offset: int
    append_ms: int
    payload: bytes


class LogWriter(Protocol):
    """Blocking and thread-safe; callers on an event loop run it in a thread."""

    @property
    def partitions(self) -> int:
        """Number of partitions, fixed."""
        ...

    def append(self, items: Sequence[tuple[int, bytes]]) -> None:
        """Make all (partition, payload) durable, in order within a partition; raises `UnavailableError`."""
        ...

    def close(self) -> None:
        """Flush and release; appending afterwards raises `UnavailableError`."""
        ...


class LogReader(Protocol):
    """Reads any partition from any offset; not thread-safe."""

    @property
    def partitions(self) -> int:
        """Number of partitions, fixed."""
        ...

    def read(self, partition: int, offset: int, records_max: int = 256, wait_ms: int = 0) -> list[Record]:
        """Up to `records_max` records from `offset` on, waiting up to `wait_ms` for the first; may be empty."""
        ...

    def start(self, partition: int) -> int:
        """The first offset still kept."""
        ...

    def end(self, partition: int) -> int:
        """The offset that the next record will have, or more where the log keeps markers of its own."""
        ...

    def offset_at(self, partition: int, append_ms: int) -> int:
        """The first offset appended at or after `append_ms`, or `end(partition)`."""
        ...

    def close(self) -> None:
        """Release."""
        ...


def partition_of(session_id: str, partitions: int) -> int:
    """The partition that holds all of a session: a stable hash of its id."""
    return xxhash.xxh3_64_intdigest(session_id.encode()) % partitions
