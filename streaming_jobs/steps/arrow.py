"""Arrow columns as the store's tables want them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from streaming_jobs.steps.arrays import Int64s
from streaming_jobs.steps.histograms import CellMaps
from streaming_jobs.steps.interning import Texts

DAY_MS = 86_400_000
SECONDS_MAX = 2**32 - 1
"""Largest DateTime of the store, 2106."""
DAYS_MAX = 2**16 - 1


def text(texts: Texts, codes: Int64s) -> pa.Array:
    """Text as an Arrow dictionary of only the values that occur."""
    occurs = np.zeros(len(texts), np.bool_)
    occurs[codes] = True
    used = np.flatnonzero(occurs)
    position = np.cumsum(occurs) - 1
    return coded(texts.values(used), position[codes])


def coded(values: Sequence[str], codes: Int64s) -> pa.Array:
    """Text as an Arrow dictionary over distinct `values`."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values, pa.string()))


def constant(value: str, n: int) -> pa.Array:
    """The same text n times."""
    return coded([value], np.zeros(n, np.int64))


def datetimes(seconds: Int64s) -> pa.Array:
    """Epoch seconds as the store's DateTime; what it cannot hold is brought to its nearest end."""
    return pa.array(np.clip(seconds, 0, SECONDS_MAX).astype(np.uint32))


def append_day(append_ms: int, n: int) -> pa.Array:
    """The day of an append time, n times."""
    return pa.array(np.full(n, min(max(append_ms // DAY_MS, 0), DAYS_MAX), np.uint16))


def maps(cells: Sequence[CellMaps]) -> pa.Array:
    """The maps of several cubes, one after the other."""
    offsets = np.zeros(1 + sum(len(one.offsets) - 1 for one in cells), np.int32)
    np.cumsum(np.concatenate([np.diff(one.offsets) for one in cells]), out=offsets[1:])
    return pa.MapArray.from_arrays(
        pa.array(offsets),
        pa.array(np.concatenate([one.buckets for one in cells])),
        pa.array(np.concatenate([one.counts for one in cells])),
    )


def empty_maps(n: int) -> CellMaps:
    """n maps without an entry."""
    return CellMaps(np.zeros(n + 1, np.int32), np.zeros(0, np.uint16), np.zeros(0, np.int64))
