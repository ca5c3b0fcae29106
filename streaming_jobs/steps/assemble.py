"""Step (h): a counted bucket as rows for the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from streaming_jobs.steps import deltas as delta_rows
from streaming_jobs.steps import lateness, raw
from streaming_jobs.steps.arrays import Int64s
from streaming_jobs.steps.bucketing import Bucket
from streaming_jobs.steps.cubes import Cells, CubeSlices, Events, events_of, sum_cubes
from streaming_jobs.steps.interning import Texts
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.reading import Contents
from streaming_jobs.steps.session_minutes import UnitDeltas
from streaming_jobs.steps.settings import MINUTE_MS
from streaming_jobs.steps.tag_sets import TagSets
from streaming_jobs.steps.timeouts import Endings
from tocsin.model.tables import ROW_KINDS

_KIND_OF: Int64s = np.array([ROW_KINDS.index(kind) for kind in ("unique", "late", "future")], np.int64)
"""Row kind by IN_TIME, LATE, FUTURE."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the steps made of a bucket's heartbeats, in log order.

    Of all n: number columns, session ids, append times, tag sets, kinds (IN_TIME, LATE, FUTURE). `kept`: positions of
    those that are no duplicates; `unique`: of those that count; `rises`: what each of the latter adds to `expected`;
    `units`: changes of session-minutes.
    """

    numbers: Mapping[str, Int64s]
    session_ids: list[str]
    append_ms: Int64s
    tag_sets: Int64s
    kinds: Int64s
    kept: Int64s
    unique: Int64s
    units: UnitDeltas
    rises: Int64s


def taken(columns: Mapping[str, Int64s], rows: Int64s) -> dict[str, Int64s]:
    """The columns at `rows`, positions that rise."""
    if all(len(rows) == len(column) for column in columns.values()):
        return dict(columns)
    return {name: column[rows] for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class Summed:
    """A bucket's cells by cube, its ledger counts, and its error codes: of each heartbeat, with their texts."""

    cells: Sequence[Cells]
    counts: Mapping[str, int]
    errors: Texts
    error_codes: Int64s


def assemble(
    partition: int, bucket: Bucket, contents: Contents, counted: Counted, endings: Sequence[Endings],
    ending_ids: Sequence[list[str]], tag_sets: TagSets, cubes: Sequence[CubeSlices],
) -> BucketOutput:  # fmt: skip
    """All rows of a bucket; `ending_ids`: session ids of each of `endings`."""
    summed = sum_up(contents, counted, endings, tag_sets, cubes)
    return arrow_rows(partition, bucket, contents, counted, endings, ending_ids, tag_sets, summed)


def sum_up(
    contents: Contents, counted: Counted, endings: Sequence[Endings], tag_sets: TagSets, cubes: Sequence[CubeSlices]
) -> Summed:
    """The bucket's sums."""
    errors = Texts()
    error_codes = errors.of_batches(contents.batches, "error")
    events = _events(counted, error_codes, endings)
    cells = sum_cubes(cubes, events, counted.units, tag_sets)
    return Summed(cells, _ledger(contents, counted), errors, error_codes)


def arrow_rows(
    partition: int, bucket: Bucket, contents: Contents, counted: Counted, endings: Sequence[Endings],
    ending_ids: Sequence[list[str]], tag_sets: TagSets, summed: Summed,
) -> BucketOutput:  # fmt: skip
    """The bucket as Arrow tables."""
    rows = _raw_rows(bucket, contents, counted, endings, ending_ids, (summed.errors, summed.error_codes))
    return BucketOutput(
        partition, bucket.start_offset, bucket.end_offset, bucket.append_ms, bucket.last_append_ms,
        raw.heartbeats(partition, bucket, rows, tag_sets),
        delta_rows.deltas(partition, bucket, summed.cells, summed.counts, tag_sets, summed.errors),
        raw.series(partition, bucket, [batch for _, batch in contents.points]),
        raw.quarantine(partition, bucket, contents.unreadable),
        summed.counts,
    )  # fmt: skip


def _events(counted: Counted, error_codes: Int64s, endings: Sequence[Endings]) -> Events:
    columns = taken(counted.numbers, counted.unique) | {"expected": counted.rises}
    minutes = (columns["ts_ms"] + columns["shift_ms"]) // MINUTE_MS
    return events_of(columns, counted.tag_sets[counted.unique], minutes, error_codes[counted.unique], endings)


def _ledger(contents: Contents, counted: Counted) -> dict[str, int]:
    kinds = np.bincount(counted.kinds[counted.kept], minlength=3)
    received, unique = len(counted.session_ids), len(counted.kept)
    return {
        "messages": contents.messages,
        "received": received,
        "duplicates": received - unique,
        "unique": unique,
        "aggregated": len(counted.unique),
        "late": int(kinds[lateness.LATE]),
        "future": int(kinds[lateness.FUTURE]),
        "quarantined": len(contents.unreadable),
        "refused": contents.refused,
        "points": sum(len(batch) for _, batch in contents.points),
        "points_repeated": contents.points_repeated,
    }


def _raw_rows(
    bucket: Bucket, contents: Contents, counted: Counted, endings: Sequence[Endings],
    ending_ids: Sequence[list[str]], errors: tuple[Texts, Int64s],
) -> raw.RawRows:  # fmt: skip
    kept = counted.kept
    over = sum(len(ending.minutes) for ending in endings)
    signs = np.concatenate([ending.signs for ending in endings])
    ended_kinds = np.where(signs > 0, ROW_KINDS.index("timeout"), ROW_KINDS.index("resumed"))
    zeros = np.zeros(over, np.int64)
    numbers = {name: np.concatenate([column, zeros]) for name, column in taken(counted.numbers, kept).items()}
    numbers["sample_k"][len(kept) :] = np.concatenate([ending.sample_k for ending in endings])
    event_ms = numbers["ts_ms"][: len(kept)] + numbers["shift_ms"][: len(kept)]
    ids = counted.session_ids if len(kept) == len(counted.kinds) else [counted.session_ids[i] for i in kept.tolist()]
    return raw.RawRows(
        session_ids=[*ids, *(session_id for names in ending_ids for session_id in names)],
        kinds=np.concatenate([_KIND_OF[counted.kinds[kept]], ended_kinds]),
        minutes=np.concatenate([event_ms // MINUTE_MS, *(ending.minutes for ending in endings)]),
        append_ms=np.concatenate([counted.append_ms[kept], np.full(over, bucket.last_append_ms, np.int64)]),
        tag_sets=np.concatenate([counted.tag_sets[kept], *(ending.tag_sets for ending in endings)]),
        numbers=numbers,
        errors=raw.local_text(errors[0], np.concatenate([errors[1][kept], zeros])),
        sdk=_local_text(contents, "sdk", kept, zeros),
        error_messages=_local_text(contents, "error_message", kept, zeros, plain=True),
    )


def _local_text(contents: Contents, name: str, kept: Int64s, zeros: Int64s, *, plain: bool = False) -> pa.Array:
    texts = Texts()
    codes = texts.of_batches(contents.batches, name)
    return raw.local_text(texts, np.concatenate([codes[kept], zeros]), plain=plain)
