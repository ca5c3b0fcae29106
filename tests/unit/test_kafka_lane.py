"""A lane gives its job each record once and in order, whatever is delivered to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from streaming_jobs.lane import WAITING_MAX, Lane
from tocsin.adapters.log.port import Record
from tocsin.model.errors import UnavailableError

DEADLINE_S = 20.0


def record(offset: int) -> Record:
    """The record of an offset."""
    return Record(0, offset, 1_000 + offset, b"%d" % offset)


class ListLog:
    """A reader over one partition whose offsets are 0 … end - 1."""

    partitions = 1

    def __init__(self, end: int) -> None:
        self.records_end = end

    def read(self, partition: int, offset: int, records_max: int = 256, wait_ms: int = 0) -> list[Record]:
        """Records from `offset` on."""
        return [record(n) for n in range(offset, min(self.records_end, offset + records_max))]

    def start(self, partition: int) -> int:
        """Always 0."""
        return 0

    def end(self, partition: int) -> int:
        """The next offset."""
        return self.records_end

    def offset_at(self, partition: int, append_ms: int) -> int:
        """By the stamps of `record`."""
        return max(0, append_ms - 1_000)

    def close(self) -> None:
        """Nothing to release."""


class ListJob:
    """Keeps the offsets it was given; stores a bucket of ten."""

    def __init__(self, resume_at: int) -> None:
        self.resume_at = resume_at
        self.seen: list[int] = []

    def resume(self, reader: Any) -> int:
        """Where the test says."""
        return self.resume_at

    def push(self, records: Sequence[Record]) -> int | None:
        """Keep the offsets."""
        before = len(self.seen) // 10
        self.seen += [one.offset for one in records]
        return records[-1].offset + 1 if len(self.seen) // 10 > before else None

    def needs_tick(self, now_ms: int) -> bool:
        """Always."""
        return True


async def nothing(partition: int, offset: int) -> None:
    """Commit nothing."""


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine within the deadline."""
    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))


async def until(ready: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    while not ready():  # noqa: ASYNC110  any condition of a test, bounded by the deadline
        await asyncio.sleep(0.001)


def test_a_lane_reads_the_log_from_the_stores_place_before_anything_is_delivered() -> None:
    """What the store lacks is read directly, from where the job says up to the end."""

    async def body() -> None:
        job = ListJob(resume_at=5)
        lane = Lane(0, job, lambda: ListLog(200), nothing)
        await until(lambda: len(job.seen) == 195)
        await lane.stop()
        assert job.seen == list(range(5, 200))

    run(body)


def test_repeated_and_missing_deliveries_make_no_difference() -> None:
    """Delivered twice, from before, or with holes: the job gets every offset once, in order."""

    async def body() -> None:
        log = ListLog(10)
        job = ListJob(resume_at=0)
        lane = Lane(0, job, lambda: log, nothing)
        await until(lambda: len(job.seen) == 10)
        log.records_end = 60
        for offset in (3, 9, 10, 11, 11, 10, 12, 20, 21, 5, 22, 40, 59):
            await lane.offer(record(offset))
        await until(lambda: len(job.seen) == 60)
        await lane.stop()
        assert job.seen == list(range(60))

    run(body)


def test_the_end_of_each_stored_bucket_is_reported_for_the_commit() -> None:
    """`on_stored` gets the partition and the end offset, and nothing where no bucket was stored."""
    reported: list[tuple[int, int]] = []

    async def stored(partition: int, offset: int) -> None:
        reported.append((partition, offset))

    async def body() -> None:
        job = ListJob(resume_at=0)
        lane = Lane(0, job, lambda: ListLog(0), stored)
        for offset in range(25):
            await lane.offer(record(offset))
            await until(lambda wanted=offset + 1: len(job.seen) == wanted)  # type: ignore[misc]
        await lane.stop()
        assert reported == [(0, 10), (0, 20)]

    run(body)


def test_a_full_lane_holds_the_delivery_back_and_lets_it_go_when_stopped() -> None:
    """No more than `WAITING_MAX` records wait; a stop releases a waiting delivery, which drops its record."""

    async def body() -> None:
        gate = asyncio.Event()

        class SlowJob(ListJob):
            def resume(self, reader: Any) -> int:
                asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(DEADLINE_S)
                return 0

        loop = asyncio.get_running_loop()
        job = SlowJob(resume_at=0)
        lane = Lane(0, job, lambda: ListLog(0), nothing)
        for offset in range(WAITING_MAX):
            await lane.offer(record(offset))
        extra = asyncio.create_task(lane.offer(record(WAITING_MAX)))
        stopping = asyncio.create_task(lane.stop())
        await extra
        gate.set()
        await stopping
        assert WAITING_MAX not in job.seen

    run(body)


def test_no_tick_is_asked_for_before_the_lane_is_ready() -> None:
    """While the state is being restored the job is not asked."""

    async def body() -> None:
        lane = Lane(0, ListJob(resume_at=0), lambda: ListLog(50), nothing)
        assert not lane.needs_tick(10**12)
        await until(lambda: lane.needs_tick(10**12))
        await lane.stop()

    run(body)


def test_a_job_that_cannot_store_ends_the_lane_with_its_error() -> None:
    """The task carries the exception, which ends the worker's process."""

    class BrokenJob(ListJob):
        def push(self, records: Sequence[Record]) -> int | None:
            raise UnavailableError("the store is away")

    async def body() -> None:
        lane = Lane(0, BrokenJob(resume_at=0), lambda: ListLog(5), nothing)
        with pytest.raises(UnavailableError, match="the store is away"):
            await lane.task

    run(body)
