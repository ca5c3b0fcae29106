"""Step (a): cut a partition into buckets by append time.

A bucket ends where `append_ms // B` differs from the *previous* message's: no running maximum and no metadata, so any
replay that reads two neighbours cuts between them in the same place, even if the log's clock steps. Three more cuts,
all pure as well: at the offset where counting resumes, at the edges of buckets that the store has already, and where a
bucket's payloads would pass the limit on bytes (counted from the bucket's start).

Offsets that the log skips (markers of its own) belong to the bucket before them: a bucket starts where the last ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tocsin.model.records import TICK


class Message(NamedTuple):
    """One record of the partition."""

    offset: int
    append_ms: int
    payload: bytes


@dataclass(slots=True)
class Bucket:
    """Messages of the offsets [start_offset, end_offset); never empty once handed out."""

    start_offset: int
    messages: list[Message] = field(default_factory=list)
    payload_bytes: int = 0

    @property
    def end_offset(self) -> int:
        """One past the last message."""
        return self.messages[-1].offset + 1

    @property
    def append_ms(self) -> int:
        """Append time of the first message."""
        return self.messages[0].append_ms

    @property
    def last_append_ms(self) -> int:
        """Append time of the last message."""
        return self.messages[-1].append_ms

    @property
    def idle(self) -> bool:
        """True where it holds ticks only."""
        return all(message.payload[:4] == TICK for message in self.messages)


class Bucketer:
    """Cuts one partition; messages come with rising offsets."""

    def __init__(self, bucket_ms: int, bytes_max: int) -> None:
        self._bucket_ms = bucket_ms
        self._bytes_max = bytes_max
        self._edges: list[int] = []
        self._resume_offset = -1
        self.open: Bucket | None = None

    def resume(self, offset: int, edges: Iterable[int] = ()) -> None:
        """Also end a bucket before `offset` and before each of `edges`; the first bucket may start at `offset`."""
        self._resume_offset = offset
        self._edges = sorted({offset, *edges})

    def push(self, message: Message) -> Bucket | None:
        """Add a message; returns the bucket that it closes, if any."""
        bucket = self.open
        if bucket is None:
            skipped = 0 <= self._resume_offset < message.offset
            self.open = self._opened(message, self._resume_offset if skipped else message.offset)
            return None
        previous = bucket.messages[-1]
        if message.offset <= previous.offset:
            raise ValueError(f"reading offset {message.offset} after {previous.offset}: offsets must rise")
        if not self._cuts(bucket, previous, message):
            bucket.messages.append(message)
            bucket.payload_bytes += len(message.payload)
            return None
        self.open = self._opened(message, previous.offset + 1)
        return bucket

    def _opened(self, message: Message, start_offset: int) -> Bucket:
        return Bucket(start_offset, [message], len(message.payload))

    def _cuts(self, bucket: Bucket, previous: Message, message: Message) -> bool:
        if message.append_ms // self._bucket_ms != previous.append_ms // self._bucket_ms:
            return True
        if bisect_right(self._edges, previous.offset) < bisect_right(self._edges, message.offset):
            return True
        return bucket.payload_bytes + len(message.payload) > self._bytes_max
