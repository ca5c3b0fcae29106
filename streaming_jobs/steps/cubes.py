"""Step (g): the cells of the declared cubes, as exact integer sums.

A cell is a combination of the values of a cube's keys in one minute. Sums count a heartbeat under its own error code;
n and moments belong to the session-minute and stand under the empty one. Each tag set has one slice in each cube,
found once; per bucket the cells are numbered densely through a hash table and rows are added in int64, so sums stay
exact where floating-point bincounts would not (beyond 2^53), and no sort is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streaming_jobs.steps import histograms
from streaming_jobs.steps.arrays import Int32s, Int64s, rows_of
from streaming_jobs.steps.histograms import CellMaps, Observations
from streaming_jobs.steps.interning import Rows
from streaming_jobs.steps.session_minutes import UnitDeltas
from streaming_jobs.steps.tag_sets import TagSets
from streaming_jobs.steps.timeouts import Endings
from tocsin.model.catalogue import HISTOGRAMS, MEASURES
from tocsin.model.compiled import compiled
from tocsin.model.cubes import Cube
from tocsin.model.tables import MAX_COLUMNS, SUM_COLUMNS
from tocsin.model.tags import IDENTITY_KEYS

ROWS_IN_CACHE = 1_024
"""Rows added to all cubes before the next ones are: a quarter of a megabyte."""
_TIMEOUT_COLUMNS = tuple(SUM_COLUMNS.index(name) for name in ("ended", "timeouts"))


@dataclass(frozen=True, slots=True)
class Events:
    """Rows to sum: tag set, minute (epoch minutes), error code, weighted sums (n, SUM_COLUMNS), maxima
    (n, MAX_COLUMNS), and what each histogram observes."""

    tag_sets: Int64s
    minutes: Int64s
    errors: Int64s
    sums: Int64s
    maxima: Int64s
    observed: Mapping[str, Observations]


@dataclass(frozen=True, slots=True)
class Cells:
    """One cube's cells: a tag set that has each cell's key values, its minute, its error code (0 in cubes without
    that key), sums (c, SUM_COLUMNS), moments (c, MOMENT_COLUMNS), maxima (c, MAX_COLUMNS), a map a histogram."""

    cube: Cube
    tag_sets: Int64s
    minutes: Int64s
    errors: Int64s
    sums: Int64s
    moments: Int64s
    maxima: Int64s
    maps: Mapping[str, CellMaps]


def events_of(
    columns: Mapping[str, Int64s], tag_sets: Int64s, minutes: Int64s, errors: Int64s, endings: Sequence[Endings]
) -> Events:
    """Events of unique heartbeats (`columns` by batch column name, plus `expected`), and of sessions' time-outs."""
    n, m = len(minutes), sum(len(ending.minutes) for ending in endings)
    weights = columns["sample_k"]
    weighted = bool((weights != 1).any())
    by_measure = np.zeros((len(SUM_COLUMNS), n + m), np.int64)
    for index, name in enumerate(SUM_COLUMNS):
        by_measure[index, :n] = MEASURES[name].values(columns)
    if weighted:
        by_measure[:, :n] *= weights
    maxima = np.zeros((n + m, len(MAX_COLUMNS)), np.int64)
    for index, name in enumerate(MAX_COLUMNS):
        maxima[:n, index] = MEASURES[name].values(columns)
    at = n
    for ending in endings:
        for index in _TIMEOUT_COLUMNS:
            by_measure[index, at : at + len(ending.minutes)] = ending.signs * ending.sample_k
        at += len(ending.minutes)
    sums = np.empty((n + m, len(SUM_COLUMNS)), np.int64)
    rows_of(by_measure, sums)
    return Events(
        np.concatenate([tag_sets, *(ending.tag_sets for ending in endings)]),
        np.concatenate([minutes, *(ending.minutes for ending in endings)]),
        np.concatenate([errors, np.zeros(m, np.int64)]),
        sums,
        maxima,
        {name: histograms.observe(histogram.values(columns), weights) for name, histogram in HISTOGRAMS.items()},
    )


@compiled
def _number(keys: Int64s, table: Int64s, cells: Int64s, first: Int64s) -> int:
    """Dense numbers of distinct keys, in order of appearance; `table` holds 1 + number; returns how many."""
    mask = np.uint64(len(table) - 1)
    count = 0
    for i in range(len(keys)):
        mixed = np.uint64(keys[i]) * np.uint64(0x9E3779B97F4A7C15)
        at = (mixed ^ (mixed >> np.uint64(29))) & mask
        while True:
            found = table[at] - 1
            if found < 0:
                table[at] = count + 1
                first[count] = i
                cells[i] = count
                count += 1
                break
            if keys[first[found]] == keys[i]:
                cells[i] = found
                break
            at = (at + np.uint64(1)) & mask
    return count


@compiled
def _add_rows(totals: Int64s, cells: Int64s, rows: Int64s) -> None:
    width = rows.shape[1]
    for i in range(len(rows)):
        total, row = totals[cells[i]], rows[i]
        for j in range(width):
            total[j] += row[j]


@compiled
def _max_rows(totals: Int64s, cells: Int64s, rows: Int64s) -> None:
    for i in range(len(rows)):
        for j in range(rows.shape[1]):
            if rows[i, j] > totals[cells[i], j]:
                totals[cells[i], j] = rows[i, j]


@dataclass(frozen=True, slots=True)
class Placement:
    """The cell of each row, events before units; and of each cell a tag set that has its key values, its minute and
    its error code."""

    cells: Int64s
    tag_sets: Int64s
    minutes: Int64s
    errors: Int64s


class CubeSlices:
    """One cube's slices: the slice of each tag set."""

    def __init__(self, cube: Cube) -> None:
        self.cube = cube
        self._columns = [IDENTITY_KEYS.index(key) for key in cube.keys if key != "error"]
        self._by_error = "error" in cube.keys
        self._generation = -1
        self._forget()

    def _forget(self) -> None:
        self._rows = Rows(max(1, len(self._columns)))
        self._slice_of: Int64s = np.zeros(0, np.int64)

    def _learn(self, tag_sets: TagSets) -> None:
        if tag_sets.generation != self._generation:
            self._generation = tag_sets.generation
            self._forget()
        known = len(self._slice_of)
        if known == len(tag_sets):
            return
        new = tag_sets.codes[known:]
        codes: Int32s = np.zeros((len(new), 1), np.int32)
        if self._columns:
            codes = np.ascontiguousarray(new[:, self._columns])
        self._slice_of = np.concatenate([self._slice_of, self._rows.ids(codes)])

    def place(self, events: Events, units: UnitDeltas, tag_sets: TagSets) -> Placement:
        """The cell of each of the bucket's rows in this cube."""
        self._learn(tag_sets)
        rows = np.concatenate([events.tag_sets, units.tag_sets])
        minutes = np.concatenate([events.minutes, units.minutes])
        errors = np.zeros(len(rows), np.int64)
        if self._by_error:
            errors[: len(events.minutes)] = events.errors
        cells, first = _cells_of(self._slice_of[rows], minutes, errors)
        return Placement(cells, rows[first], minutes[first], errors[first])


def sum_cubes(cubes: Sequence[CubeSlices], events: Events, units: UnitDeltas, tag_sets: TagSets) -> list[Cells]:
    """Sum the bucket's events and unit deltas into the cells of all cubes; rows are added while they are in cache."""
    placed = [cube.place(events, units, tag_sets) for cube in cubes]
    n = len(events.minutes)
    of_events = [place.cells[:n] for place in placed]
    sums = _added(placed, of_events, events.sums)
    moments = _added(placed, [place.cells[n:] for place in placed], units.values)
    summed = []
    for index, (cube, place) in enumerate(zip(cubes, placed, strict=True)):
        maxima = np.zeros((len(place.minutes), len(MAX_COLUMNS)), np.int64)
        _max_rows(maxima, of_events[index], events.maxima)
        maps = {
            name: histograms.by_cell(observed, of_events[index], len(place.minutes))
            for name, observed in events.observed.items()
        } if cube.cube.histograms else {}  # fmt: skip
        summed.append(
            Cells(cube.cube, place.tag_sets, place.minutes, place.errors, sums[index], moments[index], maxima, maps)
        )
    return summed


def _added(placed: Sequence[Placement], cells: Sequence[Int64s], rows: Int64s) -> list[Int64s]:
    """The rows summed by cell, for each cube."""
    totals = [np.zeros((len(place.minutes), rows.shape[1]), np.int64) for place in placed]
    for low in range(0, len(rows), ROWS_IN_CACHE):
        part = rows[low : low + ROWS_IN_CACHE]
        for total, of in zip(totals, cells, strict=True):
            _add_rows(total, of[low : low + ROWS_IN_CACHE], part)
    return totals


def _cells_of(slices: Int64s, minutes: Int64s, errors: Int64s) -> tuple[Int64s, Int64s]:
    """(cell of each row, first row of each cell)."""
    if not len(slices):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    base, span = int(minutes.min()), int(minutes.max() - minutes.min()) + 1
    keys = (slices * (int(errors.max()) + 1) + errors) * span + (minutes - base)
    size = 1 << int(len(keys) * 2).bit_length()
    cells, first = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    count = _number(keys, np.zeros(size, np.int64), cells, first)
    return cells, first[:count]
