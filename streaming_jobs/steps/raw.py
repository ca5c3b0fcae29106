"""Step (h), rows as they came: raw heartbeats, published points, quarantined bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from streaming_jobs.steps import arrow
from streaming_jobs.steps.bucketing import Bucket
from streaming_jobs.steps.compiled import Int64s
from streaming_jobs.steps.interning import Texts
from streaming_jobs.steps.reading import Unreadable
from streaming_jobs.steps.settings import MINUTE_MS
from streaming_jobs.steps.tag_sets import TagSets
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.points import PointBatch
from tocsin.model.tables import HEARTBEATS, QUARANTINE, ROW_KINDS, SERIES
from tocsin.model.tags import IDENTITY_KEYS

_MINUTE_S = MINUTE_MS // 1000
_ARROW_OF: dict[str, pa.DataType] = {
    "UInt16": pa.uint16(), "UInt64": pa.uint64(), "Int64": pa.int64(), "Float64": pa.float64(), "Date": pa.uint16(),
    "String": pa.string(), "LowCardinality(String)": pa.string(),
    "Map(LowCardinality(String), String)": pa.map_(pa.string(), pa.string()),
}  # fmt: skip


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
    rows: list[tuple[object, ...]] = []
    day = int(arrow.append_day(bucket.append_ms, 1)[0].as_py())
    for batch in batches:
        known = [(one.name, one.series_id, list(one.tags), one.type) for one in batch.series]
        for code, ts_ms, value in zip(batch.codes.tolist(), batch.ts_ms.tolist(), batch.values.tolist(), strict=True):
            name, series_id, tags, kind = known[code]
            rows.append((partition, bucket.start_offset, day, len(rows), name, series_id, tags, kind, ts_ms, value))
    return _table(SERIES.columns, rows)


def quarantine(partition: int, bucket: Bucket, unreadable: Sequence[Unreadable]) -> pa.Table:
    """The table `quarantine`: the bytes of each unreadable message, whole."""
    day = int(arrow.append_day(bucket.append_ms, 1)[0].as_py())
    rows = [
        (partition, bucket.start_offset, one.message.offset, one.message.append_ms, day, one.reason,
         one.message.payload)
        for one in unreadable
    ]  # fmt: skip
    columns = tuple((name, "Bytes" if name == "payload" else kind) for name, kind in QUARANTINE.columns)
    return _table(columns, rows)


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[tuple[object, ...]]) -> pa.Table:
    types = [_ARROW_OF.get(kind, pa.binary()) for _, kind in columns]
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [pa.array(list(column), kind) for column, kind in zip(values, types, strict=True)]
    return pa.table(dict(zip((name for name, _ in columns), arrays, strict=True)))
