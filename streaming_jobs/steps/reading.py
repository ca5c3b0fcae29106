"""Step: read a bucket's payloads. What cannot be read is kept whole, with the reason, and hurts nothing else.

A payload that decodes but holds values no gateway would write (a code outside its list, a number beyond exact sums)
counts as unreadable too: one bad message must not spoil the sums of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from streaming_jobs.steps.arrays import Int64s
from streaming_jobs.steps.bucketing import Bucket, Message
from tocsin.model import columnar, points
from tocsin.model.columnar import NarrowBatch
from tocsin.model.errors import CorruptError
from tocsin.model.heartbeat import BATCH_COLUMNS, OUTCOMES, REASONS, STATES
from tocsin.model.records import HEARTBEATS, POINTS, REFUSED, TICK, kind_of

EXACT_MAX = 2**53
COUNT_MAX = 2**31 - 1
SAMPLE_K_MAX = 1_000_000
_LIMITS: dict[str, tuple[int, int]] = {
    "seq": (0, COUNT_MAX),
    "ts_ms": (0, 2**43),
    "shift_ms": (-(2**43), 2**43),
    "sample_k": (1, SAMPLE_K_MAX),
    "reason": (0, len(REASONS) - 1),
    "state": (0, len(STATES) - 1),
    "outcome": (0, len(OUTCOMES) - 1),
    "startup_ms": (-1, COUNT_MAX),
}
_ANY = (-EXACT_MAX, EXACT_MAX)

_decode_refused = msgspec.msgpack.Decoder(dict[str, int]).decode


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that goes to quarantine with all its bytes."""

    message: Message
    reason: str


@dataclass(slots=True)
class Contents:
    """A bucket's messages, read: heartbeat batches with their messages, points, refusals, the unreadable.

    `points` come with the append time of their message; `points_repeated`: how many were left out as copies.
    `numbers`: number columns of all heartbeats in log order, by name of BATCH_COLUMNS, each of shape (n,).
    """

    messages: int
    batches: list[NarrowBatch] = field(default_factory=list)
    sources: list[Message] = field(default_factory=list)
    points: list[tuple[int, points.PointBatch]] = field(default_factory=list)
    points_repeated: int = 0
    refused: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    numbers: dict[str, Int64s] = field(default_factory=dict)

    @property
    def session_ids(self) -> list[str]:
        """Session ids of all heartbeats in log order."""
        return [session_id for batch in self.batches for session_id in batch.session_ids]

    @property
    def append_ms(self) -> Int64s:
        """Append time of each heartbeat's message."""
        times = np.array([message.append_ms for message in self.sources], np.int64)
        return np.repeat(times, [len(batch) for batch in self.batches])


def read(bucket: Bucket) -> Contents:
    """Decode every message of the bucket."""
    contents = Contents(len(bucket.messages))
    for message in bucket.messages:
        try:
            _read_one(message, contents)
        except CorruptError as error:
            contents.unreadable.append(Unreadable(message, str(error)))
    contents.numbers = _widened(contents.batches)
    if _impossible(contents.numbers):
        _drop_impossible(contents)
    return contents


def _read_one(message: Message, contents: Contents) -> None:
    kind = kind_of(message.payload)
    if kind == HEARTBEATS:
        contents.batches.append(columnar.decode_narrow(message.payload))
        contents.sources.append(message)
    elif kind == POINTS:
        contents.points.append((message.append_ms, points.decode(message.payload)))
    elif kind == REFUSED:
        contents.refused += _refused(message.payload)
    elif kind != TICK:
        raise CorruptError(f"reading a log record: kind {kind!r} has no reader; quarantined as it is")


def _refused(payload: bytes) -> int:
    try:
        counts = _decode_refused(payload[4:])
    except msgspec.MsgspecError as error:
        raise CorruptError(f"reading the gateway's refusals: {error}; quarantined") from error
    if any(not 0 <= count <= EXACT_MAX for count in counts.values()):
        raise CorruptError(f"reading the gateway's refusals: a count is out of range in {counts}; quarantined")
    return sum(counts.values())


def _widened(batches: list[NarrowBatch]) -> dict[str, Int64s]:
    """The number columns of all batches as int64, one after the other; each an array of its own, for the allocator
    reuses blocks of that size and not one of all columns."""
    ends = np.cumsum([len(batch) for batch in batches]).tolist()
    n = ends[-1] if ends else 0
    columns = {name: np.empty(n, np.int64) for name in BATCH_COLUMNS}
    for batch, end in zip(batches, ends, strict=True):
        start = end - len(batch)
        for name, column in columns.items():
            column[start:end] = batch.numbers[name]
    return columns


def _drop_impossible(contents: Contents) -> None:
    """Move the batches with a value out of range to the unreadable."""
    kept: list[tuple[NarrowBatch, Message]] = []
    for batch, message in zip(contents.batches, contents.sources, strict=True):
        reason = _impossible(_widened([batch]))
        if reason:
            contents.unreadable.append(Unreadable(message, reason))
        else:
            kept.append((batch, message))
    contents.batches = [batch for batch, _ in kept]
    contents.sources = [message for _, message in kept]
    contents.unreadable.sort(key=lambda unreadable: unreadable.message.offset)
    contents.numbers = _widened(contents.batches)


def _impossible(numbers: dict[str, Int64s]) -> str:
    """Why the heartbeats cannot be counted, empty where they can."""
    for name, column in numbers.items():
        if not len(column):
            continue
        low_limit, high_limit = _LIMITS.get(name, _ANY)
        low, high = int(column.min()), int(column.max())
        if low < low_limit or high > high_limit:
            value = low if low < low_limit else high
            return f"reading heartbeats: {name} {value} is not in [{low_limit}, {high_limit}]; quarantined"
    return ""
