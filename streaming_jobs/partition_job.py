"""Drives one partition's engine: push, commit with patience, re-read after a step of the log's clock. For both runners.

Blocking. Whoever owns the partition calls `resume` once, then `push` with every record from the returned offset on, in
order; after `UnavailableError` the job is of no use and its owner starts over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import tenacity

from streaming_jobs.assignment import Assignment, open_partition, step_back
from streaming_jobs.committer import Committer
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.log.port import LogReader, Record
from tocsin.model.cubes import Cube
from tocsin.model.errors import UnavailableError

COMMIT_PATIENCE_S = 120.0
"""How long a bucket's insert is tried again before the job gives up."""
READ_RECORDS = 512
log = structlog.get_logger(__name__)


class PartitionJob:
    """Counts one partition into one store. `waiting_for`: why the store does not take a bucket now, else empty."""

    def __init__(
        self,
        partition: int,
        committer: Committer,
        cubes: Sequence[Cube],
        settings: CountingSettings,
        now_ms: Callable[[], int],
        commit_patience_s: float = COMMIT_PATIENCE_S,
    ) -> None:
        self._partition = partition
        self._committer = committer
        self._cubes = cubes
        self._settings = settings
        self._now_ms = now_ms
        self._patience_s = commit_patience_s
        self._reader: LogReader | None = None
        self._assignment: Assignment | None = None
        self._stored_end: int | None = None
        self.waiting_for = ""

    @property
    def watermark_ms(self) -> int:
        """Append time of the last record pushed; 0 where none was."""
        return self._assignment.engine.watermark_ms if self._assignment is not None else 0

    @property
    def next_offset(self) -> int:
        """The offset wanted next."""
        return self._opened().engine.next_offset

    def resume(self, reader: LogReader) -> int:
        """Make the state whole and return the first offset wanted; `reader` is used until the next `resume`.

        State that is still whole (the partition was given up and came back, and nobody counted meanwhile) is kept.
        """
        self._reader = reader
        if self._assignment is not None and self._stored_end is not None:
            position = self._committer.position(self._partition, reader.start(self._partition))
            if position.offset == self._stored_end and not position.stored:
                return self.next_offset
        self._assignment = open_partition(
            self._partition, reader, self._committer, self._cubes, self._settings, self._now_ms
        )
        self._stored_end = self._assignment.next_offset
        log.info(
            "partition opened",
            partition=self._partition,
            offset=self._assignment.next_offset,
            warmed_records=self._assignment.warmed_records,
        )
        return self.next_offset

    def push(self, records: Sequence[Record]) -> int | None:
        """Count consecutive records; returns the end offset of the last bucket that this stored, None where none."""
        before = self._stored_end
        for record in records:
            self._push_one(record)
        return self._stored_end if self._stored_end != before else None

    def needs_tick(self, now_ms: int) -> bool:
        """True where the owner must append a tick; see `PartitionEngine.needs_tick`."""
        return self._opened().engine.needs_tick(now_ms)

    def _push_one(self, record: Record) -> None:
        engine = self._opened().engine
        output = engine.push(record.offset, record.append_ms, record.payload)
        if output is not None:
            self._commit(output)
            self._stored_end = output.end_offset
        if engine.stepped_back_ms is not None:
            self._start_over_from_step(record.offset + 1)

    def _start_over_from_step(self, end: int) -> None:
        reader = self._reader
        if reader is None:
            raise ValueError(f"pushing to partition {self._partition}: resume it first")
        assignment = self._opened()
        log.warning("the log's clock stepped back", partition=self._partition, to_ms=assignment.engine.stepped_back_ms)
        self._assignment = step_back(assignment, self._partition, reader, self._cubes, self._settings)
        while self.next_offset < end:
            records = reader.read(self._partition, self.next_offset, min(READ_RECORDS, end - self.next_offset))
            if not records:
                return
            self.push(records)

    def _commit(self, output: BucketOutput) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(UnavailableError),
            stop=tenacity.stop_after_delay(self._patience_s),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=5.0),
            before_sleep=self._say_that_it_waits,
            reraise=True,
        )
        retrying(self._committer.commit, output)
        self.waiting_for = ""

    def _say_that_it_waits(self, state: tenacity.RetryCallState) -> None:
        self.waiting_for = str(state.outcome.exception() if state.outcome else "")
        log.warning(
            "bucket not stored yet", partition=self._partition, attempt=state.attempt_number, error=self.waiting_for
        )

    def _opened(self) -> Assignment:
        if self._assignment is None:
            raise ValueError(f"using partition {self._partition}: resume it first")
        return self._assignment
