"""Step: read a bucket's payloads. What cannot be read is kept whole, with the reason, and hurts nothing else.

A payload that decodes but holds values no gateway would write (a code outside its list, a number beyond exact sums)
counts as unreadable too: one bad message must not spoil the sums of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from streaming_jobs.steps.bucketing import Bucket, Message
from streaming_jobs.steps.compiled import Int64s
from tocsin.model import columnar, points
from tocsin.model.columnar import HeartbeatBatch
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
_LOWS = np.array([_LIMITS.get(name, (-EXACT_MAX, 0))[0] for name in BATCH_COLUMNS], np.int64)
_HIGHS = np.array([_LIMITS.get(name, (0, EXACT_MAX))[1] for name in BATCH_COLUMNS], np.int64)

_decode_refused = msgspec.msgpack.Decoder(dict[str, int]).decode


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that goes to quarantine with all its bytes."""

    message: Message
    reason: str


@dataclass(slots=True)
class Contents:
    """A bucket's messages, read: heartbeat batches with the append time of each, points, refusals, the unreadable."""

    messages: int
    batches: list[HeartbeatBatch] = field(default_factory=list)
    batch_append_ms: list[int] = field(default_factory=list)
    points: list[points.PointBatch] = field(default_factory=list)
    refused: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def numbers(self) -> dict[str, Int64s]:
        """Number columns of all heartbeats in log order, by name of BATCH_COLUMNS."""
        if not self.batches:
            return dict.fromkeys(BATCH_COLUMNS, np.zeros(0, np.int64))
        return {name: np.concatenate([batch.numbers[name] for batch in self.batches]) for name in BATCH_COLUMNS}

    @property
    def session_ids(self) -> list[str]:
        """Session ids of all heartbeats in log order."""
        return [session_id for batch in self.batches for session_id in batch.session_ids]

    @property
    def append_ms(self) -> Int64s:
        """Append time of each heartbeat's message."""
        lengths = [len(batch) for batch in self.batches]
        return np.repeat(np.array(self.batch_append_ms, np.int64), lengths)


def read(bucket: Bucket) -> Contents:
    """Decode every message of the bucket."""
    contents = Contents(len(bucket.messages))
    sources: list[Message] = []
    for message in bucket.messages:
        try:
            _read_one(message, contents, sources)
        except CorruptError as error:
            contents.unreadable.append(Unreadable(message, str(error)))
    _drop_impossible(contents, sources)
    return contents


def _read_one(message: Message, contents: Contents, sources: list[Message]) -> None:
    kind = kind_of(message.payload)
    if kind == HEARTBEATS:
        batch = columnar.decode(message.payload)
        contents.batches.append(batch)
        contents.batch_append_ms.append(message.append_ms)
        sources.append(message)
    elif kind == POINTS:
        contents.points.append(points.decode(message.payload))
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


def _drop_impossible(contents: Contents, sources: list[Message]) -> None:
    """Move batches with a value out of range to the unreadable; looks at single batches only where one has any."""
    if not contents.batches or _impossible(contents.batches) == "":
        return
    kept = [(batch, _impossible([batch]), message)
            for batch, message in zip(contents.batches, sources, strict=True)]  # fmt: skip
    contents.batches = [batch for batch, reason, _ in kept if not reason]
    contents.batch_append_ms = [message.append_ms for _, reason, message in kept if not reason]
    contents.unreadable += [Unreadable(message, reason) for _, reason, message in kept if reason]
    contents.unreadable.sort(key=lambda unreadable: unreadable.message.offset)


def _impossible(batches: list[HeartbeatBatch]) -> str:
    """Why the batches cannot be counted, empty where they can."""
    for index, name in enumerate(BATCH_COLUMNS):
        low = min(int(batch.numbers[name].min()) for batch in batches)
        high = max(int(batch.numbers[name].max()) for batch in batches)
        if low < _LOWS[index] or high > _HIGHS[index]:
            return f"reading heartbeats: {name} is {low if low < _LOWS[index] else high}, out of range; quarantined"
    return ""
