"""A partition's job stores intervals that tile the log, over retries, a step of the log's clock, and coming back."""

from __future__ import annotations

import itertools

import pytest

from streaming_jobs.committer import Committer
from streaming_jobs.engine import Position
from streaming_jobs.partition_job import PartitionJob
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.log.port import Record
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.errors import UnavailableError
from tocsin.model.ledger import first_missing, tiling
from tocsin.model.records import TICK

SETTINGS = CountingSettings(
    bucket_ms=1_000, lateness_ms=60_000, future_ms=1_000, timeout_ms=30_000, slack_ms=5_000, idle_tick_ms=1_000
)
BASE_MS = 1_790_000_000_000


class StampedLog:
    """A log of one partition with a record at each of the times given (ms from the base)."""

    partitions = 1

    def __init__(self, times_ms: list[int]) -> None:
        self.records = [Record(0, offset, BASE_MS + ms, TICK) for offset, ms in enumerate(times_ms)]

    def read(self, partition: int, offset: int, records_max: int = 256, wait_ms: int = 0) -> list[Record]:
        """Records from `offset` on."""
        return self.records[offset : offset + records_max]

    def start(self, partition: int) -> int:
        """Always 0."""
        return 0

    def end(self, partition: int) -> int:
        """The next offset."""
        return len(self.records)

    def offset_at(self, partition: int, append_ms: int) -> int:
        """The first record at or after a time."""
        found = (record.offset for record in self.records if record.append_ms >= append_ms)
        return next(found, len(self.records))

    def close(self) -> None:
        """Nothing to release."""


class IntervalCommitter(Committer):
    """Keeps the intervals committed; fails as often as told before each success."""

    def __init__(self, failures: int = 0) -> None:
        self.intervals: list[tuple[int, int]] = []
        self.last_append_ms: int | None = None
        self.asked = 0
        self._failures = itertools.cycle([*([True] * failures), False])

    def position(self, partition: int, first_offset: int) -> Position:
        """The end of what is stored."""
        self.asked += 1
        return Position(first_missing(self.intervals, first_offset), self.last_append_ms)

    def commit(self, output: BucketOutput) -> None:
        """Keep the interval, now and then only after a failure."""
        if next(self._failures):
            raise UnavailableError("the store is away")
        self.intervals.append((output.start_offset, output.end_offset))
        self.last_append_ms = output.append_ms


def new_job(committer: Committer, patience_s: float = 30.0) -> PartitionJob:
    """A job over partition 0."""
    return PartitionJob(0, committer, DEFAULT_CUBES, SETTINGS, lambda: BASE_MS, patience_s)


def assert_tiled(committer: IntervalCommitter, end: int) -> None:
    """No gap, no overlap from the start to `end`."""
    assert tiling(committer.intervals, 0, end) == ([], [])


def test_each_bucket_is_stored_once_and_its_end_returned() -> None:
    """Twenty records a second apart by halves make ten buckets; the last one stays open."""
    log, committer = StampedLog([500 * n for n in range(20)]), IntervalCommitter()
    job = new_job(committer)
    assert job.resume(log) == 0
    assert job.push(log.records) == 18
    assert committer.intervals == [(n, n + 2) for n in range(0, 18, 2)]
    assert job.push([]) is None


def test_a_store_that_comes_back_gets_every_bucket() -> None:
    """Two failures before each success: nothing is skipped."""
    log, committer = StampedLog([1_000 * n for n in range(6)]), IntervalCommitter(failures=2)
    job = new_job(committer)
    job.resume(log)
    assert job.push(log.records) == 5
    assert_tiled(committer, 5)


def test_a_store_that_stays_away_ends_the_job() -> None:
    """After its patience the job raises, and a new one goes on from the ledger."""
    log, committer = StampedLog([1_000 * n for n in range(6)]), IntervalCommitter()
    job = new_job(committer)
    job.resume(log)
    job.push(log.records[:3])
    committer._failures = itertools.cycle([True])
    hasty = new_job(committer, patience_s=0.2)
    hasty.resume(log)
    with pytest.raises(UnavailableError, match="the store is away"):
        hasty.push(log.records[2:])
    committer._failures = itertools.cycle([False])
    last = new_job(committer)
    last.push(log.records[last.resume(log) :])
    assert_tiled(committer, 5)


def test_a_clock_that_steps_back_loses_and_doubles_nothing() -> None:
    """The log's clock goes back by 20 s, more than the slack: the open bucket is read again with the state of then."""
    times = [1_000 * n for n in range(40)] + [20_000 + 1_000 * n for n in range(40)]
    log, committer = StampedLog(times), IntervalCommitter()
    job = new_job(committer)
    job.resume(log)
    for record in log.records:
        job.push([record])
        assert job.next_offset == record.offset + 1
    assert_tiled(committer, 79)


def test_a_partition_that_comes_back_untouched_keeps_its_state() -> None:
    """Nobody counted meanwhile: the job goes on after the last record pushed, not at the ledger's end."""
    log, committer = StampedLog([300 * n for n in range(30)]), IntervalCommitter()
    job = new_job(committer)
    job.resume(log)
    job.push(log.records[:11])
    stored_end = committer.intervals[-1][1]
    assert stored_end < 11
    assert job.resume(log) == 11
    job.push(log.records[11:])
    assert_tiled(committer, committer.intervals[-1][1])


def test_a_partition_that_another_worker_counted_meanwhile_is_opened_anew() -> None:
    """The ledger has moved on: the job starts over from there."""
    log, committer = StampedLog([300 * n for n in range(40)]), IntervalCommitter()
    job = new_job(committer)
    job.resume(log)
    job.push(log.records[:11])
    other = new_job(committer)
    other.push(log.records[other.resume(log) : 30])
    ledger_end = committer.intervals[-1][1]
    assert job.resume(log) == ledger_end
    job.push(log.records[ledger_end:])
    assert_tiled(committer, committer.intervals[-1][1])


def test_a_job_that_was_not_resumed_says_so() -> None:
    """Pushing or asking before `resume` is an error of the caller's."""
    with pytest.raises(ValueError, match="resume it first"):
        new_job(IntervalCommitter()).push(StampedLog([0]).records)
