"""Step (h), rows as they came: raw heartbeats, published points, quarantined bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from streaming_jobs.steps import arrow
from streaming_jobs.steps.arrays import Int64s
from streaming_jobs.steps.bucketing import Bucket
from streaming_jobs.steps.interning import Texts
from streaming_jobs.steps.reading import Unreadable
from streaming_jobs.steps.settings import MINUTE_MS
from streaming_jobs.steps.tag_sets import TagSets
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.points import PointBatch, Series
from tocsin.model.tables import HEARTBEATS, QUARANTINE, ROW_KINDS, SERIES
from tocsin.model.tags import IDENTITY_KEYS

_MINUTE_S = MINUTE_MS // 1000


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows of `heartbeats`: kinds index ROW_KINDS; `numbers` has BATCH_COLUMNS; error, sdk and message as text."""

    session_ids: list[str]
    kinds: Int64s
    minutes: Int64s
    append_ms: Int64s
    tag_sets: Int64s
    numbers: Mapping[str, Int64s]
    errors: pa.Array
    sdk: pa.Array
    error_messages: pa.Array


def heartbeats(partition: int, bucket: Bucket, rows: RawRows, tag_sets: TagSets) -> pa.Table:
    """The table `heartbeats`: one row a unique heartbeat (counted or not) or time-out."""
    n = len(rows.session_ids)
    columns: dict[str, pa.Array] = {
        "log_partition": pa.array(np.full(n, partition, np.uint16)),
        "start_offset": pa.array(np.full(n, bucket.start_offset, np.int64)),
        "append_ms": pa.array(rows.append_ms),
        "append_day": arrow.append_day(bucket.append_ms, n),
        "row_kind": arrow.coded(ROW_KINDS, rows.kinds),
        "minute": arrow.datetimes(rows.minutes * _MINUTE_S),
        "session_id": pa.array(rows.session_ids, pa.string()),
        "error": rows.errors,
        "sdk": rows.sdk,
        "error_message": rows.error_messages,
    }
    codes = tag_sets.codes[rows.tag_sets].astype(np.int64)
    for index, key in enumerate(IDENTITY_KEYS):
        columns[key] = arrow.text(tag_sets.texts(key), codes[:, index])
    for name in BATCH_COLUMNS:
        columns[name] = pa.array(rows.numbers[name])
    return pa.table({name: columns[name] for name in HEARTBEATS.column_names})


def local_text(values: Texts, codes: Int64s, *, plain: bool = False) -> pa.Array:
    """A text column of the bucket; `plain` for columns that are not of low cardinality."""
    array = arrow.text(values, codes)
    return array.dictionary_decode() if plain else array


def series(partition: int, bucket: Bucket, batches: Sequence[PointBatch]) -> pa.Table:
    """The table `series`: one row a published point, numbered within the bucket."""
    index: dict[int, int] = {}
    distinct: list[Series] = []
    parts = [np.zeros(0, np.int64)]
    for batch in batches:
        for one in batch.series:
            if index.setdefault(one.series_id, len(distinct)) == len(distinct):
                distinct.append(one)
        parts.append(np.array([index[one.series_id] for one in batch.series], np.int64)[batch.codes])
    codes = np.concatenate(parts)
    n = len(codes)
    columns: dict[str, pa.Array] = {
        "log_partition": pa.array(np.full(n, partition, np.uint16)),
        "start_offset": pa.array(np.full(n, bucket.start_offset, np.int64)),
        "append_day": arrow.append_day(bucket.append_ms, n),
        "ordinal": pa.array(np.arange(n)),
        "name": _shared_text([one.name for one in distinct], codes),
        "series_id": pa.array(np.array([one.series_id for one in distinct], np.uint64)[codes]),
        "tags": _tags(distinct).take(pa.array(codes)),
        "type": _shared_text([one.type for one in distinct], codes),
        "ts_ms": pa.array(np.concatenate([np.zeros(0, np.int64), *(batch.ts_ms for batch in batches)])),
        "value": pa.array(np.concatenate([np.zeros(0), *(batch.values for batch in batches)])),
    }
    return pa.table({name: columns[name] for name in SERIES.column_names})


def _shared_text(texts: Sequence[str], codes: Int64s) -> pa.Array:
    """Text of each row as a dictionary; many of `texts` are the same."""
    position: dict[str, int] = {}
    of_text = np.array([position.setdefault(text, len(position)) for text in texts], np.int64)
    return arrow.coded(list(position), of_text[codes])


def _tags(distinct: Sequence[Series]) -> pa.MapArray:
    """The tags of each series."""
    counts = np.array([len(one.tags) for one in distinct], np.int32)
    pairs = [pair for one in distinct for pair in one.tags]
    return pa.MapArray.from_arrays(
        pa.array(np.concatenate([np.zeros(1, np.int32), np.cumsum(counts, dtype=np.int32)])),
        pa.array([key for key, _ in pairs], pa.string()),
        pa.array([value for _, value in pairs], pa.string()),
    )


def quarantine(partition: int, bucket: Bucket, unreadable: Sequence[Unreadable]) -> pa.Table:
    """The table `quarantine`: the bytes of each unreadable message, whole."""
    n = len(unreadable)
    columns: dict[str, pa.Array] = {
        "log_partition": pa.array(np.full(n, partition, np.uint16)),
        "start_offset": pa.array(np.full(n, bucket.start_offset, np.int64)),
        "offset": pa.array([one.message.offset for one in unreadable], pa.int64()),
        "append_ms": pa.array([one.message.append_ms for one in unreadable], pa.int64()),
        "append_day": arrow.append_day(bucket.append_ms, n),
        "reason": pa.array([one.reason for one in unreadable], pa.string()),
        "payload": pa.array([one.message.payload for one in unreadable], pa.binary()),
    }
    return pa.table({name: columns[name] for name in QUARANTINE.column_names})
