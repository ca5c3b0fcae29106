"""Step (h), deltas: the cells of all cubes and the bucket's ledger row as one Arrow table, hence one insert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from streaming_jobs.steps import arrow
from streaming_jobs.steps.arrays import Int64s
from streaming_jobs.steps.bucketing import Bucket
from streaming_jobs.steps.cubes import Cells
from streaming_jobs.steps.interning import Texts
from streaming_jobs.steps.settings import MINUTE_MS
from streaming_jobs.steps.tag_sets import TagSets
from tocsin.model.tables import (
    DELTAS,
    HISTOGRAM_COLUMNS,
    LEDGER_COLUMNS,
    LEDGER_CUBE,
    MAX_COLUMNS,
    MOMENT_COLUMNS,
    SUM_COLUMNS,
)
from tocsin.model.tags import IDENTITY_KEYS, TAG_KEYS


def deltas(
    partition: int, bucket: Bucket, cubes: Sequence[Cells], counts: Mapping[str, int], tag_sets: TagSets, errors: Texts
) -> pa.Table:
    """Rows of the table `deltas`; the last one is the ledger row, in the minute of the bucket's append time."""
    lengths = [len(cells.minutes) for cells in cubes]
    n = sum(lengths) + 1
    minutes = np.concatenate([*(cells.minutes for cells in cubes), [bucket.append_ms // MINUTE_MS]])
    columns: dict[str, pa.Array] = {
        "log_partition": pa.array(np.full(n, partition, np.uint16)),
        "start_offset": pa.array(np.full(n, bucket.start_offset, np.int64)),
        "end_offset": pa.array(np.full(n, bucket.end_offset, np.int64)),
        "append_ms": pa.array(np.full(n, bucket.append_ms, np.int64)),
        "append_day": arrow.append_day(bucket.append_ms, n),
        "cube": arrow.coded(
            [*(cells.cube.name for cells in cubes), LEDGER_CUBE], np.repeat(np.arange(len(cubes) + 1), [*lengths, 1])
        ),
        "minute": arrow.datetimes(minutes * (MINUTE_MS // 1000)),
    }
    for key in TAG_KEYS:
        columns[key] = _tag(key, cubes, tag_sets, errors)
    columns |= _matrix(SUM_COLUMNS, [cells.sums for cells in cubes])
    columns |= _matrix(MOMENT_COLUMNS, [cells.moments for cells in cubes])
    columns |= _matrix(MAX_COLUMNS, [cells.maxima for cells in cubes])
    for name in HISTOGRAM_COLUMNS:
        found = [cells.maps.get(name, arrow.empty_maps(len(cells.minutes))) for cells in cubes]
        columns[name] = arrow.maps([*found, arrow.empty_maps(1)])
    for name in LEDGER_COLUMNS:
        values = np.zeros(n, np.int64)
        values[-1] = counts[name]
        columns[f"ledger_{name}"] = pa.array(values)
    return pa.table({name: columns[name] for name in DELTAS.column_names})


def _tag(key: str, cubes: Sequence[Cells], tag_sets: TagSets, errors: Texts) -> pa.Array:
    texts = errors if key == "error" else tag_sets.texts(key)
    codes = [np.zeros(1, np.int64)]
    for cells in reversed(cubes):
        if key not in cells.cube.keys:
            codes.append(np.zeros(len(cells.minutes), np.int64))
        elif key == "error":
            codes.append(cells.errors)
        else:
            codes.append(tag_sets.codes[cells.tag_sets, IDENTITY_KEYS.index(key)].astype(np.int64))
    return arrow.text(texts, np.concatenate(codes[::-1]))


def _matrix(names: Sequence[str], parts: Sequence[Int64s]) -> dict[str, pa.Array]:
    """One column a name from matrices (c, names), with a last row of zeros for the ledger."""
    rows = np.concatenate([*parts, np.zeros((1, len(names)), np.int64)])
    by_column = np.ascontiguousarray(rows.T)
    return {name: pa.array(by_column[index]) for index, name in enumerate(names)}
