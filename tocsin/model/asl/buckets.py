"""Histogram buckets whose counts add: 276 bounds from 1 to 2^63 - 1, each a third of a power of four further.

Counts in these buckets, kept as series with the tag `percentile`, can be summed over tags, time and services, and a
percentile is read from the sum by straight interpolation within a bucket (as Netflix Spectator's
`PercentileBuckets`). Tag values are `T` (timers, in ns) or `D` (amounts) and the bucket's index in hex: `T005A`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tocsin.model.asl.lines import Floats
from tocsin.model.percentiles import BOUNDS as ARRAY

BOUNDS: tuple[int, ...] = tuple(int(bound) for bound in ARRAY)
LAST_BOUND = BOUNDS[-1]
COUNT = len(BOUNDS)
_EDGES: npt.NDArray[np.float64] = np.array((0, *BOUNDS), dtype=np.float64)
_UNITS = {"D": 1.0, "T": 1e9}
_TAG_LENGTH = 5
_ROUNDING = 1e-9
"""Percent by which sums of rates miss the share that their whole counts have."""


def index_of(value: int) -> int:
    """The bucket of a value: the first whose bound is above it."""
    if value <= 0:
        return 0
    if value <= 4:
        return value
    bit = value.bit_length() - 1
    power = 1 << (bit - bit % 2)
    first = _FIRST_OF_POWER.get(power, COUNT - 1)
    return min(first + (value - power) // (power // 3) + 1, COUNT - 1)


_FIRST_OF_POWER = {2**e: BOUNDS.index(2**e) for e in range(2, 62, 2)}


def bucket_tag(prefix: str, index: int) -> str:
    """`T005A`"""
    return f"{prefix}{index:04X}"


def bucket_range(tag: str) -> tuple[float, float] | None:
    """What a bucket covers, by its tag: seconds for timers, amounts as they are; None for a text that is no tag."""
    if len(tag) != _TAG_LENGTH or tag[0] not in _UNITS:
        return None
    try:
        index = int(tag[1:], 16)
    except ValueError:
        return None
    unit = _UNITS[tag[0]]
    return (_EDGES[index] / unit, _EDGES[index + 1] / unit) if index < COUNT else None


def percentiles(used: npt.NDArray[np.int64], counts: Floats, wanted: Floats) -> Floats:
    """Percentiles by time from counts by bucket and time.

    `used` holds the ascending indices of the buckets that `counts` (buckets, points) has; `wanted` ascending
    percentiles from 0 to 100. Gives (wanted, points); NaN where nothing was counted.
    """
    clean = np.where(np.isfinite(counts), counts, 0.0)
    total = np.where(clean > 0, clean, 0.0).sum(axis=0)
    with np.errstate(all="ignore"):
        share = 100.0 * np.cumsum(clean, axis=0) / total
    before = np.vstack([np.zeros((1, counts.shape[1])), share[:-1]])
    last_used = len(used) - 1 - np.argmax((clean > 0)[::-1], axis=0)
    columns = np.arange(counts.shape[1])
    out = np.empty((len(wanted), counts.shape[1]))
    for i, p in enumerate(wanted):
        reached = share >= p - _ROUNDING
        row = np.argmax(reached, axis=0)
        below, above = _EDGES[used[row]], _EDGES[used[row] + 1]
        with np.errstate(all="ignore"):
            part = (p - before[row, columns]) / (share[row, columns] - before[row, columns])
        value = np.where(np.isnan(part), 0.0, part * (above - below) + below)
        value = 0.0 * value if p == 0 else value
        value = np.where(reached.any(axis=0), value, _EDGES[used[last_used] + 1])
        out[i] = np.where(total > 0, value, np.nan)
    return out
