"""Hours drawn by a weighted bootstrap of what sampled sessions did in an hour (see `history`).

The sums of an hour are Σ w·x over the pool, w Poisson: the same mean and variance as if that many sessions had come by
themselves, without playing them. All hours of a chunk are drawn at once as products of weights and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from player_sim.audience import HOUR_MS, MINUTE_MS, World
from player_sim.history_rows import Cells
from player_sim.layout import Int64s
from player_sim.rollup import Parts
from tocsin.model.compiled import compiled
from tocsin.model.errors import InputError

Floats = npt.NDArray[np.float64]

_HOURS_AT_ONCE = 56
_LAG_MINUTES = 15
"""Who is watching arrived some minutes ago: an hour's audience follows the arrivals of an hour this much earlier."""
_STREAM = 0x686F757273


@compiled
def _add_weighted(by_part: Floats, places: Int64s, values: Floats, maxima: Int64s, sums: Floats, tops: Int64s) -> None:
    """Whole numbers below 2^53 throughout, so sums in floating point are exact, and wider than in integers."""
    for hour in range(len(by_part)):
        for part in range(len(places)):
            weight = by_part[hour, part]
            if weight == 0.0:
                continue
            for cube in range(places.shape[1]):
                cell = places[part, cube]
                for column in range(values.shape[1]):
                    sums[hour, cell, column] += weight * values[part, column]
                for column in range(maxima.shape[1]):
                    tops[hour, cell, column] = max(tops[hour, cell, column], maxima[part, column])


class SessionHours:
    """The pool: parts of a sample of sessions (`share` of them, by their ids), merged by session, error and hour."""

    def __init__(self, world: World, share: float) -> None:
        self._world = world
        self.share = share
        self._hours: set[int] = set()
        self._kept: list[tuple[int, Parts]] = []

    def add(self, start_ms: int, parts: Parts) -> None:
        """Note the parts of a minute."""
        hour = start_ms // HOUR_MS
        self._hours.add(hour)
        kept = np.flatnonzero((parts.sid >> np.uint64(32)).astype(np.float64) < self.share * 2.0**32)
        place = np.full(len(parts.sid), -1, np.int64)
        place[kept] = np.arange(len(kept))
        seen = np.flatnonzero(place[parts.seen_part] >= 0)
        self._kept.append(
            (hour, Parts(
                parts.cells[kept], parts.sums[kept], parts.maxima[kept], parts.sid[kept], parts.error[kept],
                parts.stratum[kept], place[parts.seen_part[seen]], parts.seen_column[seen],
            ))
        )  # fmt: skip

    def merged(self) -> tuple[Parts, Int64s]:
        """(one part a session-hour and error, the number of its session-hour, both of shape (p, …))."""
        if not any(len(parts.sid) for _, parts in self._kept):
            raise InputError("drawing hours: no session was sampled; make the world, the windows or the pool larger")
        hours = np.concatenate([np.full(len(parts.sid), hour) for hour, parts in self._kept])
        every = _concatenated([parts for _, parts in self._kept])
        order = np.lexsort((every.error, every.sid, hours))
        sid, error, hour = every.sid[order], every.error[order], hours[order]
        new_session = np.concatenate([[True], (np.diff(hour) != 0) | (sid[1:] != sid[:-1])])
        starts = np.flatnonzero(new_session | np.concatenate([[True], np.diff(error) != 0]))
        group = np.empty(len(order), np.int64)
        group[order] = np.searchsorted(starts, np.arange(len(order)), side="right") - 1
        first = order[starts]
        sums = np.add.reduceat(every.sums[order], starts)
        maxima = np.maximum.reduceat(every.maxima[order], starts)
        parts = Parts(
            every.cells[first], sums, maxima, every.sid[first], every.error[first], every.stratum[first],
            group[every.seen_part], every.seen_column,
        )  # fmt: skip
        return parts, np.cumsum(new_session)[starts] - 1

    def season(self) -> Floats:
        """Expected arrivals over the pool's hours, by stratum (regions × devices)."""
        return np.asarray(seasons(self._world, np.array(sorted(self._hours), np.int64)).sum(axis=0))


def _concatenated(parts: Sequence[Parts]) -> Parts:
    offsets = np.cumsum([0, *(len(part.sid) for part in parts[:-1])]).tolist()
    return Parts(
        cells=np.concatenate([part.cells for part in parts]),
        sums=np.concatenate([part.sums for part in parts]),
        maxima=np.concatenate([part.maxima for part in parts]),
        sid=np.concatenate([part.sid for part in parts]),
        error=np.concatenate([part.error for part in parts]),
        stratum=np.concatenate([part.stratum for part in parts]),
        seen_part=np.concatenate([part.seen_part + offset for part, offset in zip(parts, offsets, strict=True)]),
        seen_column=np.concatenate([part.seen_column for part in parts]),
    )


def seasons(world: World, hours: Int64s) -> Floats:
    """Mean arrivals a minute that make the audience of each epoch hour: shape (hours, regions × devices)."""
    steps = np.arange(0, HOUR_MS // MINUTE_MS, 5) - _LAG_MINUTES
    minutes = (hours[:, None] * 60 + steps[None, :]).ravel()
    return np.asarray(world.intensity(minutes).reshape(len(hours), len(steps), -1).mean(axis=1))


class Bootstrap:
    """Draws hours from a pool."""

    def __init__(self, world: World, pool: SessionHours) -> None:
        self._world = world
        parts, self._session = pool.merged()
        self._sessions = int(self._session[-1]) + 1
        first = np.searchsorted(self._session, np.arange(self._sessions))
        self._stratum = parts.stratum[first]
        self._per_arrival = 1.0 / (pool.share * np.maximum(pool.season(), 1e-12))
        self._maxima = parts.maxima
        self._values = parts.sums.astype(np.float64)
        self._used, places = np.unique(parts.cells, return_inverse=True)
        self._places = places.reshape(parts.cells.shape)
        self._seen, self._columns = self._seen_by_cell(parts)

    def _seen_by_cell(self, parts: Parts) -> tuple[sparse.csr_array, Int64s]:
        """(entries of histograms by used cell and column: parts → counts; the columns in use)."""
        columns, column = np.unique(parts.seen_column, return_inverse=True)
        cubes = parts.cells.shape[1]
        rows = self._places[parts.seen_part] * len(columns) + column[:, None]
        entries = sparse.coo_array(
            (np.ones(rows.size), (rows.ravel(), np.repeat(parts.seen_part, cubes))),
            shape=(len(self._used) * len(columns), len(parts.sid)),
        )
        return entries.tocsr(), columns

    def hours(self, starts_ms: Sequence[int]) -> Iterator[Cells]:
        """The cells of each hour."""
        for at in range(0, len(starts_ms), _HOURS_AT_ONCE):
            chunk = np.array(starts_ms[at : at + _HOURS_AT_ONCE], np.int64)
            by_part = self._weights(chunk // HOUR_MS)[:, self._session]
            sums, maxima = self._draw(by_part)
            seen = (self._seen @ np.ascontiguousarray(by_part.T)).T
            for index, start_ms in enumerate(chunk.tolist()):
                yield self._cells(start_ms, sums[index], maxima[index], seen[index])

    def _cells(self, start_ms: int, sums: Floats, maxima: Int64s, seen: Floats) -> Cells:
        rows = np.flatnonzero(sums.any(axis=1))
        entries = np.flatnonzero(seen)
        row_of = np.searchsorted(rows, entries // len(self._columns))
        return Cells(
            start_s=np.full(len(rows), start_ms // 1000, np.int64),
            cells=self._used[rows],
            sums=np.rint(sums[rows]).astype(np.int64),
            maxima=maxima[rows],
            seen_row=row_of,
            seen_column=self._columns[entries % len(self._columns)],
            seen_count=np.rint(seen[entries]).astype(np.int64),
        )

    def _weights(self, hours: Int64s) -> Floats:
        """How often each session-hour of the pool is taken in each hour: shape (hours, sessions)."""
        means = seasons(self._world, hours) * self._per_arrival
        weights = np.empty((len(hours), self._sessions))
        for index, hour in enumerate(hours.tolist()):
            rng = np.random.default_rng([self._world.seed, _STREAM, hour])
            weights[index] = rng.poisson(means[index][self._stratum])
        return weights

    def _draw(self, by_part: Floats) -> tuple[Floats, Int64s]:
        """(sums, maxima) by hour and used cell, given how often each part is taken."""
        sums = np.zeros((len(by_part), len(self._used), self._values.shape[1]))
        maxima = np.zeros((len(by_part), len(self._used), self._maxima.shape[1]), np.int64)
        _add_weighted(by_part, self._places, self._values, self._maxima, sums, maxima)
        return sums, maxima
