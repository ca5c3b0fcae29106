"""Step (d): exact figures over session-minutes as signed deltas, so that they are plain sums ever after.

The unit is a session's minute under one set of identity tags (a change of CDN within a minute makes two units). Its
first heartbeat adds 1 to n. When a bucket takes its X from x to x', ΣX² gets x'² − x², and likewise ΣY², ΣXY, ΣX, ΣY
and k (units with X > 0). Sums of such deltas over buckets, partitions, tags and time are the sums over final units:
distinct sessions and moments without a sketch, and late heartbeats merge into them. Source: design/counting.md point 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from streaming_jobs.steps.arrays import Int32s, Int64s, grown, rows_of
from tocsin.model.catalogue import MEASURES, MOMENTS
from tocsin.model.compiled import compiled

_FIRST_UNITS = 1024
_UNITS: Int64s = np.array([(moments.x_unit, moments.y_unit) for moments in MOMENTS.values()], np.int64)
WIDTH = 2 * len(MOMENTS)
"""Raw sums kept a unit: X and Y of each of MOMENTS, in order."""
DELTA_WIDTH = 1 + 6 * len(MOMENTS)
"""n, then k sx sy sxx syy sxy of each: MOMENT_COLUMNS of the tables."""


@dataclass(frozen=True, slots=True)
class UnitDeltas:
    """What a bucket changes, one row a unit touched: tag set, minute (epoch minutes), deltas (t, DELTA_WIDTH)."""

    tag_sets: Int64s
    minutes: Int64s
    values: Int64s


def _column(columns: Mapping[str, Int64s], name: str) -> Int64s:
    return MEASURES[name].values(columns) if name in MEASURES else columns[name]


def sums_of(columns: Mapping[str, Int64s], n: int) -> Int64s:
    """X and Y of each heartbeat for each of MOMENTS, not yet divided by their units: shape (n, WIDTH)."""
    by_moment, result = np.empty((WIDTH, n), np.int64), np.empty((n, WIDTH), np.int64)
    for index, moments in enumerate(MOMENTS.values()):
        by_moment[2 * index] = _column(columns, moments.x)
        by_moment[2 * index + 1] = _column(columns, moments.y[0])
        for name in moments.y[1:]:
            by_moment[2 * index + 1] += _column(columns, name)
    rows_of(by_moment, result)
    return result


@compiled
def _add(
    sessions: Int64s, slots: Int64s, minutes: Int64s, tag_sets: Int64s, added: Int64s, head: Int32s, units: Int64s,
    sums: Int64s, free: Int32s, counts: Int64s, touched: Int64s, before: Int64s,
) -> int:  # fmt: skip
    """`units`: rows (tag set, next, 1 + index into touched or 0); `counts`: [free entries, used entries].

    Fills `touched` with rows (entry, minute, is new) and `before` with the sums at the bucket's start.
    """
    n_touched = 0
    width = added.shape[1]
    for i in range(len(sessions)):
        session, slot = sessions[i], slots[i]
        at = np.int64(head[slot, session])
        while at >= 0 and units[at, 0] != tag_sets[i]:
            at = units[at, 1]
        is_new = at < 0
        if is_new:
            if counts[0] > 0:
                counts[0] -= 1
                at = np.int64(free[counts[0]])
            else:
                at = counts[1]
                counts[1] += 1
            units[at, 0], units[at, 1], units[at, 2] = tag_sets[i], head[slot, session], 0
            sums[at, :] = 0
            head[slot, session] = at
        if units[at, 2] == 0:
            touched[n_touched, 0], touched[n_touched, 1], touched[n_touched, 2] = at, minutes[i], is_new
            before[n_touched, :] = sums[at, :]
            n_touched += 1
            units[at, 2] = n_touched
        for j in range(width):
            sums[at, j] += added[i, j]
    return n_touched


@compiled
def _deltas(touched: Int64s, before: Int64s, sums: Int64s, units: Int64s, divisors: Int64s, out: Int64s) -> None:
    for t in range(len(touched)):
        at = touched[t, 0]
        units[at, 2] = 0
        out[t, 0] = touched[t, 2]
        for m in range(len(divisors)):
            x0, x1 = before[t, 2 * m], sums[at, 2 * m]
            y0, y1 = before[t, 2 * m + 1], sums[at, 2 * m + 1]
            if divisors[m, 0] != 1:
                x0, x1 = x0 // divisors[m, 0], x1 // divisors[m, 0]
            if divisors[m, 1] != 1:
                y0, y1 = y0 // divisors[m, 1], y1 // divisors[m, 1]
            column = 1 + 6 * m
            out[t, column] = np.int64(x1 > 0) - np.int64(x0 > 0)
            out[t, column + 1] = x1 - x0
            out[t, column + 2] = y1 - y0
            out[t, column + 3] = x1 * x1 - x0 * x0
            out[t, column + 4] = y1 * y1 - y0 * y0
            out[t, column + 5] = x1 * y1 - x0 * y0


@compiled
def _release(column: Int32s, units: Int64s, free: Int32s, n_free: int) -> int:
    for session in range(len(column)):
        at = np.int64(column[session])
        while at >= 0:
            free[n_free] = at
            n_free += 1
            at = units[at, 1]
        column[session] = -1
    return n_free


class SessionMinutes:
    """Running sums of the units of open minutes."""

    def __init__(self) -> None:
        self._head: Int32s = np.zeros((0, 0), np.int32)
        self._units: Int64s = np.zeros((_FIRST_UNITS, 3), np.int64)
        self._sums: Int64s = np.zeros((_FIRST_UNITS, WIDTH), np.int64)
        self._free: Int32s = np.zeros(_FIRST_UNITS, np.int32)
        self._counts: Int64s = np.zeros(2, np.int64)

    def fit(self, sessions: int, slots: int) -> None:
        """Make room."""
        if self._head.shape != (slots, sessions):
            self._head = grown(self._head, (slots, sessions), -1)

    def expire(self, slots: list[int]) -> None:
        """Forget the minutes of `slots`."""
        for slot in slots:
            self._counts[0] = _release(self._head[slot], self._units, self._free, int(self._counts[0]))

    def tag_sets_used(self) -> Int64s:
        """Tag sets that a unit refers to, with repeats."""
        used = np.ones(int(self._counts[1]), np.bool_)
        used[self._free[: self._counts[0]]] = False
        return self._units[: self._counts[1], 0][used]

    def renumber(self, new_tag_set: Int64s) -> None:
        """Replace each tag set by `new_tag_set[tag set]`."""
        used = self._units[: self._counts[1], 0]
        used[:] = new_tag_set[used]

    def add(self, sessions: Int64s, slots: Int64s, minutes: Int64s, tag_sets: Int64s, added: Int64s) -> UnitDeltas:
        """Add unique heartbeats, in log order, with `added` of `sums_of`."""
        n = len(sessions)
        if self._counts[1] + n > len(self._units):
            capacity = 2 * int(self._counts[1] + n)
            self._units = grown(self._units, (capacity, 3), 0)
            self._sums = grown(self._sums, (capacity, WIDTH), 0)
            self._free = grown(self._free, (capacity,), 0)
        touched, before = np.empty((n, 3), np.int64), np.empty((n, WIDTH), np.int64)
        count = _add(
            sessions, slots, minutes, tag_sets, added, self._head, self._units, self._sums, self._free,
            self._counts, touched, before,
        )  # fmt: skip
        touched = touched[:count]
        values = np.empty((count, DELTA_WIDTH), np.int64)
        changed = self._units[touched[:, 0], 0]
        _deltas(touched, before, self._sums, self._units, _UNITS, values)
        return UnitDeltas(changed, touched[:, 1].copy(), values)
