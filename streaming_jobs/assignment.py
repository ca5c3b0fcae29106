"""Opens a partition: asks the store where to resume, and re-reads the log so that state is whole there.

Both runners start, and start again after a step of the log's clock, through here. The runner then reads from the
returned offset on, and must check that the first record delivered is the one wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streaming_jobs.committer import Committer
from streaming_jobs.engine import PartitionEngine, Position
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.log.port import LogReader
from tocsin.model.cubes import Cube

READ_RECORDS = 512
LEDGER_KEPT_MS = 39 * 86_400_000
"""Log older than this is not looked at: its ledger rows are about to expire, and must not be taken for a gap."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """An engine whose state is whole up to `next_offset`, from where its owner reads on.

    `position`: where it resumed, so the first offset that will be committed; `warmed_records`: records re-read.
    """

    engine: PartitionEngine
    position: Position
    warmed_records: int

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        return self.engine.next_offset


def open_partition(
    partition: int,
    reader: LogReader,
    committer: Committer,
    cubes: Sequence[Cube],
    settings: CountingSettings,
    now_ms: Callable[[], int],
) -> Assignment:
    """Resume `partition` at the first offset that the store lacks. Raises `UnavailableError`."""
    kept = reader.offset_at(partition, now_ms() - LEDGER_KEPT_MS)
    first = max(reader.start(partition), kept)
    return warm_up(partition, reader, committer.position(partition, first), cubes, settings)


def warm_up(
    partition: int, reader: LogReader, position: Position, cubes: Sequence[Cube], settings: CountingSettings
) -> Assignment:
    """An engine resumed at `position`, with everything before that pushed as far as state depends on it."""
    engine = PartitionEngine(partition, cubes, settings)
    engine.resume(position)
    offset = position.offset
    if position.anchor_ms is not None:
        wanted = reader.offset_at(partition, engine.warm_from(position.anchor_ms))
        offset = max(reader.start(partition), min(offset, wanted))
    warmed = 0
    while offset < position.offset:
        records = reader.read(partition, offset, min(READ_RECORDS, position.offset - offset))
        if not records:
            break  # what follows are markers of the log's own: nothing to read before the resume offset
        for record in records:
            if record.offset < position.offset:
                engine.push(record.offset, record.append_ms, record.payload)
                warmed += 1
        offset = records[-1].offset + 1
    return Assignment(engine, position, warmed)


def step_back(
    assignment: Assignment,
    partition: int,
    reader: LogReader,
    cubes: Sequence[Cube],
    settings: CountingSettings,
) -> Assignment:
    """A new engine after the log's clock stepped back by more than the slack, resumed at the open bucket's start.

    Everything that the old engine closed must be committed first.
    """
    opened, stepped = assignment.engine.open_bucket, assignment.engine.stepped_back_ms
    if opened is None or stepped is None:
        raise ValueError(f"re-reading partition {partition}: its engine saw no step of the log's clock")
    position = Position(opened.start_offset, stepped, assignment.position.stored)
    return warm_up(partition, reader, position, cubes, settings)
