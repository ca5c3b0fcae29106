"""One partition's counting: messages in, closed buckets out. The embedded runner and the Faust worker both drive it.

Life of an engine:

1. `resume(position)`: buckets from `position.offset` on are handed out; earlier ones only build state.
2. The owner reads the log from the first offset appended at or after `warm_from(position.anchor_ms)` (or from
   `position.offset` where there is no anchor), and calls `push` for each record, in order, until it is let go.
   `streaming_jobs.assignment.open_partition` does this reading for both runners.
3. After each push: a `BucketOutput` is to be committed before the next one; `stepped_back_ms` that is not None says
   that the log's clock went back by more than the slack: make a new engine, resumed at the open bucket's start with
   that anchor (`open_partition` again).
4. When `needs_tick(now_ms)`, the owner appends a tick (`tocsin.model.records.TICK`) to the partition.

It reads no clock and does no I/O; not thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streaming_jobs.steps.bucketing import Bucket, Bucketer, Message
from streaming_jobs.steps.counter import Counter
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from tocsin.model.cubes import Cube
from tocsin.model.ledger import Interval

TICK_GAP_MS = 1_000
"""Least time between two ticks of a partition: the log's clock and the owner's may differ."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where counting resumes: the first offset that the store lacks.

    `anchor_ms`: append time of the bucket before it (None: nothing comes before). `stored`: intervals after `offset`
    that the store has already (where a gap is filled).
    """

    offset: int
    anchor_ms: int | None = None
    stored: tuple[Interval, ...] = ()


class PartitionEngine:
    """Counts one partition; see the module for its life."""

    def __init__(self, partition: int, cubes: Sequence[Cube], settings: CountingSettings | None = None) -> None:
        self._settings = settings or CountingSettings()
        self._bucketer = Bucketer(self._settings.bucket_ms, self._settings.bucket_bytes_max)
        self._counter = Counter(partition, tuple(cubes), self._settings)
        self._resume_offset = 0
        self._anchor_ms: int | None = None
        self._last_tick_ms = 0
        self._last_append_ms = 0
        self._newest_ms: int | None = None
        self.stepped_back_ms: int | None = None
        self.next_offset = 0

    def warm_from(self, append_ms: int) -> int:
        """The append time from which the log must be re-read so that state is whole at `append_ms`."""
        return append_ms - self._settings.horizon_ms - self._settings.slack_ms - self._settings.bucket_ms

    def resume(self, position: Position) -> None:
        """Hand out buckets from `position.offset` on; call before the first push."""
        self._resume_offset = self.next_offset = position.offset
        self._anchor_ms = position.anchor_ms
        self._bucketer.resume(position.offset, (edge for interval in position.stored for edge in interval))

    @property
    def open_bucket(self) -> Bucket | None:
        """The bucket that is not closed yet; the lag of a partition is counted from it."""
        return self._bucketer.open

    @property
    def watermark_ms(self) -> int:
        """Append time of the last message pushed, 0 where none was."""
        return self._last_append_ms

    def push(self, offset: int, append_ms: int, payload: bytes) -> BucketOutput | None:
        """Take the next record; returns the bucket that it closes, unless that is before the resume offset."""
        closed = self._bucketer.push(Message(offset, append_ms, payload))
        self._last_append_ms = append_ms
        self.next_offset = max(self.next_offset, offset + 1)
        output = self._count(closed) if closed is not None else None
        opened = self._bucketer.open
        if opened is not None and len(opened.messages) == 1:
            self._notice_step(opened)
        return output

    def needs_tick(self, now_ms: int) -> bool:
        """True where a tick is due: the open bucket is over, or nothing at all has come for `idle_tick_ms`.

        True at most once a second: the caller appends a tick each time.
        """
        if abs(now_ms - self._last_tick_ms) < TICK_GAP_MS:
            return False
        opened = self._bucketer.open
        if opened is None or opened.idle:
            due = now_ms - self._last_append_ms >= self._settings.idle_tick_ms
        else:
            due = now_ms // self._settings.bucket_ms > opened.last_append_ms // self._settings.bucket_ms
        if due:
            self._last_tick_ms = now_ms
        return due

    def _count(self, bucket: Bucket) -> BucketOutput | None:
        warming = bucket.start_offset < self._resume_offset
        if warming and self._anchor_ms is not None:
            clock_ms = min(bucket.append_ms, self._anchor_ms)
        else:
            clock_ms = bucket.append_ms if self._newest_ms is None else self._newest_ms
        return self._counter.count(bucket, clock_ms, emit=not warming)

    def _notice_step(self, opened: Bucket) -> None:
        if opened.start_offset < self._resume_offset:
            return
        if self._newest_ms is None:
            self._newest_ms = opened.append_ms if self._anchor_ms is None else self._anchor_ms
        if opened.append_ms < self._newest_ms - self._settings.slack_ms:
            self.stepped_back_ms = opened.append_ms
        self._newest_ms = max(self._newest_ms, opened.append_ms)
