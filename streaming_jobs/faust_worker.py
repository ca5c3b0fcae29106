"""The distributed runner: one Faust worker of a consumer group; partitions are shared out among the workers.

Faust brings the group membership, the fetching and the life cycle, and nothing else, for what measurements say:

* one agent, concurrency 1, no table, no `take`: Faust's windowed tables cost 280 to 1,260 µs an event, and an exception
  in `take_events()` loses messages;
* `acks=False` and explicit commits, also before partitions are given up: auto-ack repeated 1,143 to 2,068 messages on a
  join, leave or kill. Commits are for lag tools only: where to go on is read from the store (see `lane.py`);
* ticks come from a plain asyncio task: an `app.timer` hangs on SIGTERM;
* every exception ends the process, at once: the log is the state, and a process that goes on after a failed insert
  would count on from a hole. The next start resumes by the ledger.

`consumer._commit_offsets` is private to Faust: its version is pinned, and a test of join and leave keeps watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
import structlog
from faust.types import TP

from streaming_jobs.lane import Lane, PartitionJob
from tocsin.adapters.log.kafka import FETCH_BYTES_MAX, KafkaLogReader, KafkaLogWriter, KafkaTopic
from tocsin.adapters.log.port import LogWriter, Record
from tocsin.model.errors import UnavailableError
from tocsin.model.records import TICK

SESSION_TIMEOUT_S = 10.0
HEARTBEAT_S = 2.0
TICK_CHECK_S = 0.25
UPKEEP_PARTITION = 0
"""Its owner does what only one worker may do; two that overlap in a rebalance store the same."""
EXIT_FAILED = 70
"""Exit status of a worker that ended itself (EX_SOFTWARE): its supervisor starts it again."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Where the log is, the consumer group, and Faust's folder, made where missing (without tables it stays empty)."""

    topic: KafkaTopic
    group: str
    folder: Path


def run_worker(
    settings: WorkerSettings,
    new_job: Callable[[int], PartitionJob],
    now_ms: Callable[[], int],
    upkeep: Sequence[tuple[float, Callable[[], object]]] = (),
) -> None:
    """Count partitions until SIGTERM; `new_job(partition)` makes the job of a partition that is newly owned.

    `now_ms` is compared with append times to see when a tick is due: the wall clock of the broker's machines.
    `upkeep`: (period in s, blocking task) such as folding minutes, run by the one worker that owns partition 0.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)  # Faust makes the last part of the path only
    worker = CountingWorker(settings, new_job, now_ms, upkeep)
    # Faust's own worker handles SIGTERM and SIGINT and ends by SystemExit, its status telling whether it crashed.
    worker.app.Worker(loglevel=logging.WARNING, redirect_stdouts=False).execute_from_commandline()


def make_app(settings: WorkerSettings) -> faust.App:
    """A Faust application that fetches and keeps the group, and does nothing by itself."""
    return faust.App(
        settings.group,
        broker=[f"kafka://{address}" for address in settings.topic.bootstrap.split(",")],
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_commit_interval=3600.0,
        consumer_max_fetch_size=FETCH_BYTES_MAX,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=256,
        store="memory://",
        datadir=settings.folder,
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        web_bind="127.0.0.1",
    )


class CountingWorker:
    """Routes what Faust delivers to one `Lane` a partition, and ticks partitions that fall silent."""

    def __init__(
        self,
        settings: WorkerSettings,
        new_job: Callable[[int], PartitionJob],
        now_ms: Callable[[], int],
        upkeep: Sequence[tuple[float, Callable[[], object]]],
    ) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._upkeep = upkeep
        self._new_job = new_job
        self._lanes: dict[int, Lane] = {}
        self._resting: dict[int, PartitionJob] = {}
        self._writer: LogWriter | None = None
        self._background: list[asyncio.Task[None]] = []
        self.app = make_app(settings)
        channel = self.app.topic(settings.topic.name, acks=False, value_type=bytes, value_serializer="raw")
        self.app.agent(channel, concurrency=1, name="count")(self._count)
        # Faust types its signals for plain functions only.
        signals: Any = self.app
        signals.on_partitions_assigned.connect(self._assigned)
        signals.on_partitions_revoked.connect(self._revoked)
        signals.on_before_shutdown.connect(self._before_shutdown)

    async def _count(self, stream: Any) -> None:
        try:
            async for event in stream.events():
                message = event.message
                lane = self._lanes.get(message.partition)
                # A record of a partition that is not ours any more is the new owner's; one of a partition not ours yet
                # is read by the lane itself.
                if lane is not None:
                    append_ms = round(message.timestamp * 1000)
                    await lane.offer(Record(message.partition, message.offset, append_ms, message.value))
        except Exception as error:
            # Raised further, Faust would start the agent anew, past the message.
            _end_process(error)
            raise

    async def _assigned(self, _app: Any, assigned: Iterable[TP], *_: Any, **__: Any) -> None:
        for place in assigned:
            if place.topic == self._settings.topic.name and place.partition not in self._lanes:
                job = self._resting.pop(place.partition, None) or self._new_job(place.partition)
                lane = Lane(place.partition, job, lambda: KafkaLogReader(self._settings.topic), self._commit)
                lane.task.add_done_callback(self._ended)
                self._lanes[place.partition] = lane
        # What another worker owns now will have moved on when it comes back.
        self._resting.clear()
        if not self._background:
            work = [self._tick(), *(self._keep_up(every_s, task) for every_s, task in self._upkeep)]
            self._background = [asyncio.create_task(one) for one in work]
            for started in self._background:
                started.add_done_callback(self._ended)
        log.info("partitions assigned", partitions=sorted(self._lanes))

    async def _revoked(self, _app: Any, revoked: Iterable[TP], *_: Any, **__: Any) -> None:
        gone = [place.partition for place in revoked if place.partition in self._lanes]
        lanes = [self._lanes.pop(partition) for partition in gone]
        await asyncio.gather(*(lane.stop() for lane in lanes))
        self._resting = {lane.partition: lane.job for lane in lanes}

    async def _before_shutdown(self, _app: Any, *_: Any, **__: Any) -> None:
        for running in self._background:
            running.cancel()
        lanes, self._lanes = list(self._lanes.values()), {}
        await asyncio.gather(*(lane.stop() for lane in lanes))
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)

    async def _commit(self, partition: int, offset: int) -> None:
        place = TP(self._settings.topic.name, partition)
        consumer: Any = self.app.consumer
        await consumer._commit_offsets({place: offset})  # noqa: SLF001  the only commit without acks

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_CHECK_S)
            now_ms = self._now_ms()
            due = [lane.partition for lane in self._lanes.values() if lane.needs_tick(now_ms)]
            if not due:
                continue
            try:
                await asyncio.to_thread(self._append_ticks, due)
            except UnavailableError as error:
                log.warning("no tick appended", error=str(error))

    async def _keep_up(self, every_s: float, task: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(every_s)
            if UPKEEP_PARTITION not in self._lanes:
                continue
            try:
                await asyncio.to_thread(task)
            except UnavailableError as error:
                log.warning("upkeep waits", error=str(error))

    def _append_ticks(self, partitions: list[int]) -> None:
        if self._writer is None:
            self._writer = KafkaLogWriter(self._settings.topic)
        self._writer.append([(partition, TICK) for partition in partitions])

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _end_process(error)


def _end_process(error: BaseException) -> None:
    """End without any orderly stop: nothing may be committed or counted after this."""
    log.error("worker ends itself; the next start resumes by the ledger", error=repr(error), exc_info=error)
    with contextlib.suppress(ValueError):
        logging.shutdown()
    os._exit(EXIT_FAILED)
