"""What the points of published series come to in a step: the rules of each type, on whole columns.

| type | a step's value |
| --- | --- |
| gauge | the last point's |
| sum | the sum of all points |
| rate | the mean over time: a point holds from the one before it, but no longer than a step |
| counter | so its rises by the second; a reading older than two steps is no start of one, and a fall counts nothing |

A step is (s, s + 1] minutes of the epoch. Of several points at one time the last counts, in the log's order, but for
sums, which are added. The mean is over the whole step: a sender whose step is 10 s and who counted 30 in one of them
gives 0.5 for that minute. These are Atlas's rules (NormalizationCache.scala), but as a function of the points alone: it
does not matter when they came or in which order, and a minute that goes on has what came so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tocsin.model.asl.lines import Floats
from tocsin.model.asl.times import MINUTE

REACH_SLOTS = 2
"""Steps around a point of a rate or counter whose values may depend on it."""
_Ids = npt.NDArray[np.uint64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Values by series and slot; slot s holds points in (s, s + 1] minutes of the epoch. Arrays of one length."""

    ids: _Ids
    slots: _Ints
    values: Floats


def merge(kind: str, ids: _Ids, times: _Ints, values: Floats) -> Cells:
    """The values of the series of one type by slot.

    Rows (series, epoch ms, value) are ascending by series and time, those at one time in the log's order.
    """
    if kind == "sum":
        slots = _slot(times)
        starts = np.flatnonzero(_begins(ids, slots))
        return Cells(ids[starts], slots[starts], np.add.reduceat(values, starts) if len(starts) else values)
    last = np.flatnonzero(_ends(ids, times))
    ids, times, values = ids[last], times[last], values[last]
    if kind == "gauge":
        slots = _slot(times)
        kept = np.flatnonzero(_ends(ids, slots))
        return Cells(ids[kept], slots[kept], values[kept])
    since = _previous(ids, times)
    if kind == "counter":
        risen = np.flatnonzero(times - since <= 2 * MINUTE)
        rises = np.maximum(values[risen] - values[risen - 1], 0.0)
        ids, times, since = ids[risen], times[risen], since[risen]
        return _weighted(ids, times, since, rises / ((times - since) / 1000))
    return _weighted(ids, times, np.maximum(since, times - MINUTE), values)


def _weighted(ids: _Ids, times: _Ints, since: _Ints, values: Floats) -> Cells:
    """Values that hold over (since, time], each spread over the steps in there by its share of them."""
    parts = []
    for back in range(REACH_SLOTS + 1):
        slots = _slot(times) - back
        shares = (np.minimum(times, (slots + 1) * MINUTE) - np.maximum(since, slots * MINUTE)) / MINUTE
        inside = np.flatnonzero(shares > 0)
        parts.append((ids[inside], slots[inside], values[inside] * shares[inside]))
    ids, slots, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((slots, ids))
    ids, slots = ids[order], slots[order]
    starts = np.flatnonzero(_begins(ids, slots))
    return Cells(ids[starts], slots[starts], np.add.reduceat(values[order], starts) if len(starts) else values)


def _slot(times: _Ints) -> _Ints:
    return (times - 1) // MINUTE


def _begins(ids: _Ids, of: _Ints) -> npt.NDArray[np.bool_]:
    """Where a pair differs from the one before."""
    begins = np.ones(len(ids), np.bool_)
    begins[1:] = (ids[1:] != ids[:-1]) | (of[1:] != of[:-1])
    return begins


def _ends(ids: _Ids, of: _Ints) -> npt.NDArray[np.bool_]:
    """Where a pair differs from the one after."""
    ends = np.ones(len(ids), np.bool_)
    ends[:-1] = (ids[1:] != ids[:-1]) | (of[1:] != of[:-1])
    return ends


def _previous(ids: _Ids, times: _Ints) -> _Ints:
    """The time of the series' point before, a very early one where there is none."""
    before = np.full(len(times), -(2**62), np.int64)
    same = ids[1:] == ids[:-1]
    before[1:][same] = times[:-1][same]
    return before
