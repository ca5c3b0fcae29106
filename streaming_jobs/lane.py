"""One partition's way from the log to its job, whatever delivers the records.

The store knows how far a partition has been counted; a delivery (Faust's) is only a hint. So a lane, once started:

1. asks the job where to go on, which looks at the ledger in the store and restores the state from the log;
2. reads by itself from there to the end of the log, at full speed;
3. then takes what is delivered: a record from before is skipped, and where records are missing before the delivered
   one, it reads them itself.

Whatever Faust repeats, skips after a rebalance or delivers from a wrong start, the job sees each record once, in order.
Blocking work (numpy, inserts) runs in a thread, so lanes insert in parallel and the event loop keeps its heartbeats.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from tocsin.adapters.log.port import LogReader, Record

WAITING_MAX = 64
"""Delivered records that wait for the job; the delivery is held back beyond."""
READ_RECORDS_MAX = 64
log = structlog.get_logger(__name__)


class PartitionJob(Protocol):
    """Counts one partition. Blocking; called by one thread at a time."""

    def resume(self, reader: LogReader) -> int:
        """Restore the state and return the first offset that is not counted yet, as the store has it."""
        ...

    def push(self, records: Sequence[Record]) -> int | None:
        """Count consecutive records; returns the end offset of the last bucket stored by this call, if any was.

        Raises `UnavailableError` when the store stays away: the process must end then, and start over.
        """
        ...

    def needs_tick(self, now_ms: int) -> bool:
        """True where a tick must be appended so that an open bucket closes."""
        ...


class Lane:
    """Feeds one `PartitionJob`; made on assignment, stopped on revocation."""

    def __init__(
        self,
        partition: int,
        job: PartitionJob,
        new_reader: Callable[[], LogReader],
        on_stored: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self.partition = partition
        self.job = job
        self._new_reader = new_reader
        self._on_stored = on_stored
        self._waiting: deque[Record] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._next_offset = 0
        self._ready = False
        self._busy = False
        self.task: asyncio.Task[None] = asyncio.create_task(self._run(), name=f"lane-{partition}")

    def needs_tick(self, now_ms: int) -> bool:
        """True where the job wants a tick, and neither works nor has records waiting."""
        return self._ready and not self._busy and not self._waiting and self.job.needs_tick(now_ms)

    async def offer(self, record: Record) -> None:
        """Hand over a delivered record; waits while `WAITING_MAX` are waiting. A stopped lane drops it."""
        while len(self._waiting) >= WAITING_MAX and not self._stopping:
            self._room.clear()
            await self._room.wait()
        if not self._stopping:
            self._waiting.append(record)
            self._wake.set()

    async def stop(self) -> None:
        """Finish the bucket in flight, take nothing more, and end."""
        self._stopping = True
        self._wake.set()
        self._room.set()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        reader = await asyncio.to_thread(self._new_reader)
        try:
            self._next_offset = await asyncio.to_thread(self.job.resume, reader)
            log.info("lane starts", partition=self.partition, offset=self._next_offset)
            await self._read_up_to(reader, await asyncio.to_thread(reader.end, self.partition))
            self._ready = True
            while not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                delivered = list(self._waiting)
                self._waiting.clear()
                self._room.set()
                await self._take(reader, delivered)
        finally:
            await asyncio.to_thread(reader.close)

    async def _take(self, reader: LogReader, delivered: Sequence[Record]) -> None:
        fresh: list[Record] = []
        for record in delivered:
            wanted = self._next_offset + len(fresh)
            if record.offset == wanted:
                fresh.append(record)
            elif record.offset > wanted:
                await self._push(fresh)
                fresh = []
                log.warning("reading what was not delivered", partition=self.partition, start=wanted, end=record.offset)
                await self._read_up_to(reader, record.offset + 1)
        await self._push(fresh)

    async def _read_up_to(self, reader: LogReader, end: int) -> None:
        while self._next_offset < end and not self._stopping:
            records = await asyncio.to_thread(
                reader.read, self.partition, self._next_offset, min(READ_RECORDS_MAX, end - self._next_offset)
            )
            if not records:
                return
            await self._push(records)

    async def _push(self, records: Sequence[Record]) -> None:
        if not records:
            return
        self._busy = True
        stored = await asyncio.to_thread(self.job.push, records)
        self._busy = False
        self._next_offset = records[-1].offset + 1
        if stored is not None:
            await self._on_stored(self.partition, stored)
