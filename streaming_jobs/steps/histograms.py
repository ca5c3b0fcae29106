"""Distributions of a cell: counts by Atlas's 276 percentile buckets, so that percentiles add over cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streaming_jobs.steps.arrays import Int64s
from tocsin.model.compiled import compiled
from tocsin.model.percentiles import bucket_of_ms


@dataclass(frozen=True, slots=True)
class Observations:
    """What one histogram counts, sorted by bucket: `rows` into the events, percentile bucket and weight of each."""

    rows: Int64s
    buckets: Int64s
    weights: Int64s


@dataclass(frozen=True, slots=True)
class CellMaps:
    """For each cell a map bucket -> count, buckets rising: cell c has entries offsets[c] to offsets[c + 1]."""

    offsets: npt.NDArray[np.int32]
    buckets: npt.NDArray[np.uint16]
    counts: Int64s


def observe(values_ms: Int64s, weights: Int64s) -> Observations:
    """The observations among `values_ms`: shape (n,), negative where a heartbeat has none."""
    rows = np.flatnonzero(values_ms >= 0)
    buckets = bucket_of_ms(values_ms[rows])
    order = np.argsort(buckets.astype(np.int16), kind="stable")
    rows = rows[order]
    return Observations(rows, buckets[order], weights[rows])


@compiled
def _collect(
    cells: Int64s, buckets: Int64s, weights: Int64s, ends: Int64s, placed_buckets: Int64s, placed_counts: Int64s,
    fill: Int64s,
) -> None:  # fmt: skip
    """Counting sort by cell (input sorted by bucket), merging equal buckets; `fill` counts the entries of a cell."""
    for i in range(len(cells)):
        cell = cells[i]
        start = ends[cell - 1] if cell > 0 else 0
        at = start + fill[cell]
        if fill[cell] > 0 and placed_buckets[at - 1] == buckets[i]:
            placed_counts[at - 1] += weights[i]
        else:
            placed_buckets[at] = buckets[i]
            placed_counts[at] = weights[i]
            fill[cell] += 1


def by_cell(observations: Observations, event_cells: Int64s, cells: int) -> CellMaps:
    """The maps of `cells` cells, given the cell of each event."""
    of = event_cells[observations.rows]
    ends = np.cumsum(np.bincount(of, minlength=cells))
    buckets, counts = np.zeros(len(of), np.int64), np.zeros(len(of), np.int64)
    fill = np.zeros(cells, np.int64)
    _collect(of, observations.buckets, observations.weights, ends, buckets, counts, fill)
    used = counts > 0
    offsets = np.concatenate([[0], np.cumsum(fill)]).astype(np.int32)
    return CellMaps(offsets, buckets[used].astype(np.uint16), counts[used])
