"""The embedded runner: counts every partition of a log in one thread, and never loses: what the store does not take is
retried until it does, while lag grows and `status` says so.

It keeps nothing: started again it asks the store where to resume and re-reads the log's last W.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog
import tenacity

from streaming_jobs.assignment import Assignment, open_partition, step_back
from streaming_jobs.committer import Committer
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.log.port import LogReader, LogWriter
from tocsin.adapters.store.port import Store
from tocsin.model.cubes import Cube
from tocsin.model.errors import UnavailableError
from tocsin.model.records import TICK

READ_RECORDS = 256
POLL_S = 0.05
RETRY_S_MAX = 10.0

Upkeep = Callable[[], object]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition as last seen: the next offset to read, the first not yet committed, the log's end, append time of
    the last record read, and how far behind the clock that is while records wait (ms)."""

    partition: int
    next_offset: int = 0
    committed_offset: int = 0
    end_offset: int = 0
    watermark_ms: int = 0
    lag_ms: int = 0


@dataclass(frozen=True, slots=True)
class RunnerStatus:
    """For /readyz and /metrics. `error`: why the last attempt failed, empty where it did not."""

    partitions: tuple[PartitionStatus, ...]
    opened: bool = False
    error: str = ""
    committed: int = 0
    replayed: int = 0
    repaired: int = 0

    @property
    def lag_ms(self) -> int:
        """The largest lag."""
        return max((partition.lag_ms for partition in self.partitions), default=0)

    @property
    def lag_messages(self) -> int:
        """Records that wait, over all partitions."""
        return sum(max(0, one.end_offset - one.next_offset) for one in self.partitions)

    @property
    def watermark_ms(self) -> int:
        """The append time that every partition has passed."""
        return min((partition.watermark_ms for partition in self.partitions), default=0)


@dataclass(slots=True)
class _Upkeep:
    every_ms: int
    task: Upkeep
    due_ms: int = field(default=0)


class EmbeddedRunner:
    """Drives one engine a partition; `run` in one thread, `status` from any.

    `upkeep`: (period ms, task) run between reads, such as folding minutes; a task that raises `UnavailableError` is
    run again when next due.
    """

    def __init__(
        self,
        reader: LogReader,
        writer: LogWriter,
        store: Store,
        cubes: Sequence[Cube],
        settings: CountingSettings,
        now_ms: Callable[[], int],
        upkeep: Sequence[tuple[int, Upkeep]] = (),
        topic: str = "heartbeats",
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._cubes = tuple(cubes)
        self._settings = settings
        self._now_ms = now_ms
        self._committer = Committer(store, topic)
        self._upkeep = [_Upkeep(every_ms, task) for every_ms, task in upkeep]
        self._assigned: dict[int, Assignment] = {}
        self._statuses = {partition: PartitionStatus(partition) for partition in range(reader.partitions)}
        self._error = ""

    def status(self) -> RunnerStatus:
        """How far counting is."""
        stats = self._committer.stats
        partitions = tuple(self._statuses.values())
        opened = len(self._assigned) == len(partitions)
        return RunnerStatus(partitions, opened, self._error, stats.committed, stats.replayed, stats.repaired)

    def run(self, stop: threading.Event) -> None:
        """Count until `stop` is set; returns between two buckets. Raises what is neither the log nor the store away."""
        while not stop.is_set():
            if not self.step(stop):
                stop.wait(POLL_S)

    def step(self, stop: threading.Event) -> int:
        """Read every partition once; returns the number of records read."""
        read = 0
        for partition in self._statuses:
            read += self._retried(functools.partial(self._advance, partition, stop), stop)
        for upkeep in self._upkeep:
            self._keep_up(upkeep)
        return read

    def _advance(self, partition: int, stop: threading.Event) -> int:
        """Read a batch of one partition; on failure the same records are read again, from the store's knowledge."""
        assignment = self._assigned.get(partition)
        if assignment is None:
            assignment = open_partition(
                partition, self._reader, self._committer, self._cubes, self._settings, self._now_ms
            )
            self._assigned[partition] = assignment
            _log.info(
                "partition opened", partition=partition, offset=assignment.next_offset,
                re_read=assignment.warmed_records,
            )  # fmt: skip
        try:
            read = self._read(partition, assignment, stop)
        except UnavailableError:
            del self._assigned[partition]
            raise
        self._observe(partition)
        return read

    def _read(self, partition: int, assignment: Assignment, stop: threading.Event) -> int:
        records = self._reader.read(partition, assignment.next_offset, READ_RECORDS)
        for record in records:
            output = assignment.engine.push(record.offset, record.append_ms, record.payload)
            if output is not None and not self._commit(output, stop):
                return 0
            if assignment.engine.stepped_back_ms is not None:
                self._assigned[partition] = step_back(assignment, partition, self._reader, self._cubes, self._settings)
                return len(records)
        if not records and assignment.engine.needs_tick(self._now_ms()):
            self._writer.append([(partition, TICK)])
        return len(records)

    def _commit(self, output: BucketOutput, stop: threading.Event) -> bool:
        """Store a bucket, however long it takes; False where `stop` came first (the bucket is counted again)."""
        done = self._retried(lambda: self._committed(output), stop)
        if done:
            status = self._statuses[output.partition]
            self._statuses[output.partition] = replace(status, committed_offset=output.end_offset)
        return bool(done)

    def _committed(self, output: BucketOutput) -> int:
        self._committer.commit(output)
        return 1

    def _retried(self, attempt: Callable[[], int], stop: threading.Event) -> int:
        """`attempt` until it succeeds or `stop` is set (then 0), waiting up to `RETRY_S_MAX` between."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(UnavailableError),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=RETRY_S_MAX),
            stop=tenacity.stop_when_event_set(stop),
            sleep=tenacity.sleep_using_event(stop),
            before_sleep=self._failed,
            retry_error_callback=lambda _: 0,
        )
        result = int(retrying(attempt))
        self._error = ""
        return result

    def _failed(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        self._error = str(error)
        _log.warning("counting waits", error=self._error, attempt=state.attempt_number)

    def _keep_up(self, upkeep: _Upkeep) -> None:
        now = self._now_ms()
        if now < upkeep.due_ms:
            return
        upkeep.due_ms = now + upkeep.every_ms
        try:
            upkeep.task()
        except UnavailableError as error:
            _log.warning("upkeep waits", error=str(error))

    def _observe(self, partition: int) -> None:
        assignment = self._assigned[partition]
        end = self._reader.end(partition)
        watermark = assignment.engine.watermark_ms
        behind = end > assignment.next_offset and watermark > 0
        self._statuses[partition] = replace(
            self._statuses[partition],
            next_offset=assignment.next_offset,
            committed_offset=max(self._statuses[partition].committed_offset, assignment.position.offset),
            end_offset=end,
            watermark_ms=watermark,
            lag_ms=max(0, self._now_ms() - watermark) if behind else 0,
        )


def trimmer(
    trim: Callable[[int, int], None], reader: LogReader, status: Callable[[], RunnerStatus],
    keep_ms: int, now_ms: Callable[[], int],
) -> Upkeep:  # fmt: skip
    """Upkeep that forgets log records older than `keep_ms`, never past what the store has.

    `keep_ms` must be above the state's horizon and below the 39 days that ledger rows are looked at.
    """

    def run() -> None:
        for partition in status().partitions:
            old = reader.offset_at(partition.partition, now_ms() - keep_ms)
            trim(partition.partition, min(old, partition.committed_offset))

    return run
