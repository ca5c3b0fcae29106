"""Heartbeat metrics read from cubes: recent minutes from `deltas`, complete ones from `minutes` and `hours`.

A minute is taken from one table, so that nothing counts twice: up to the newest fold from `minutes` (from `hours` where
the step is made of whole hours), after it from `deltas`; a fold that was cut short is not looked at, as its minutes lie
after the newest one. Where only the hour is left, its mean stands for each of its minutes.
A minute M (its start) is the point at M + 60 s, as the language stamps an interval by its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from query.conditions import Bound
from query.families import SECONDS, SeriesFamily
from tocsin.adapters.store.port import Store
from tocsin.model.asl.buckets import bucket_tag
from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.limits import range_that_fits
from tocsin.model.asl.lines import Floats, Tags
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import HOUR, MINUTE
from tocsin.model.cubes import Cube
from tocsin.model.tables import HISTOGRAM_COLUMNS, MAX_COLUMNS

CELLS_MAX = 4_000_000
"""Rows that one read may bring from the store."""
_UNITS = {"minutes": MINUTE, "hours": HOUR}
_HOURLY = "CAST(range(60), 'Array(UInt32)')"


@dataclass(frozen=True, slots=True)
class RawLines:
    """Lines before aggregation: tags, values at `step_ms` and whether each is a gauge."""

    tags: list[Tags]
    values: Floats
    gauges: list[bool]
    step_ms: int


def pushes_down(request: FetchRequest, family: SeriesFamily) -> bool:
    """Whether the store can sum over cells and over the step: sums of rates do, extremes and counts look at cells."""
    return request.aggregate == "sum" and request.cf in ("avg", "sum") and not family.is_max


def group_keys(request: FetchRequest, family: SeriesFamily, cube_keys: Sequence[str]) -> tuple[str, ...]:
    """The columns that tell lines apart: those of `by` where the store sums, else all of the cube."""
    if pushes_down(request, family):
        return tuple(k for k in cube_keys if k in (request.by or ()))
    return tuple(cube_keys)


@dataclass(frozen=True, slots=True)
class Folded:
    """Up to where `minutes` and `hours` have whole sums: ends of the newest folded minute and hour, epoch ms."""

    minutes_end_ms: int
    hours_end_ms: int

    @classmethod
    def read(cls, store: Store) -> Folded:
        """As the store has it now; 0 where nothing is folded."""
        newest = {
            str(level): int(at)
            for level, at in store.query("SELECT level, toUnixTimestamp(max(minute)) FROM folds GROUP BY level")
        }
        ends = {level: at * 1000 + unit for level, unit in _UNITS.items() if (at := newest.get(level))}
        return cls(ends.get("minutes", 0), ends.get("hours", 0))


def read_cells(
    store: Store,
    families: Sequence[SeriesFamily],
    cube: Cube,
    condition: Query,
    request: FetchRequest,
    folded: Folded,
) -> list[RawLines]:
    """The lines of some families over the grid of a request, in one read: all push down or none does, and one with a
    histogram comes alone."""
    step = request.step_ms if pushes_down(request, families[0]) else MINUTE
    first = request.start_ms - request.step_ms
    bound = Bound({key: key for key in cube.keys})
    where = bound.sql(condition)
    keys = group_keys(request, families[0], cube.keys)
    histogram = families[0].histogram
    columns = (histogram,) if histogram else tuple(dict.fromkeys(part for f in families for part in f.parts))
    rows = _rows(bound, cube, columns, (first, request.end_ms), folded, whole_hours=step % HOUR == 0)
    by = "".join(f", {key}" for key in keys)
    slot = f"intDiv(toUnixTimestamp(minute) - {first // 1000}, {step // 1000})"
    if histogram:
        sql = (
            f"SELECT slot{by}, pair.1 AS bucket, sum(pair.2) AS v0 FROM (SELECT {slot} AS slot{by}, "
            f"arrayJoin(CAST({histogram}, 'Array(Tuple(UInt16, Float64))')) AS pair FROM ({rows}) WHERE {where})"
            f" GROUP BY slot{by}, bucket"
        )
    else:
        values = ", ".join(f"{family.value} AS v{i}" for i, family in enumerate(families))
        sql = f"SELECT {slot} AS slot{by}, {values} FROM ({rows}) WHERE {where} GROUP BY slot{by}"
    found = store.query_columns(f"{sql} LIMIT {CELLS_MAX}", bound.parameters)
    if len(found["slot"]) == CELLS_MAX:
        _refuse(store, sql, bound.parameters, cube, request, step)
    labels = [found[key] for key in keys]
    if histogram:
        keys = (*keys, "percentile")
        labels.append([bucket_tag("T", int(b)) for b in found["bucket"]])
    cells = Cells(keys, labels, np.asarray(found["slot"], dtype=np.int64), (request.end_ms - first) // step, step)
    return [
        cells.lines(f, np.asarray(found[f"v{i}"], dtype=np.float64) * per_second(f, request, step))
        for i, f in enumerate(families)
    ]


def _refuse(
    store: Store, sql: str, parameters: Mapping[str, object], cube: Cube, request: FetchRequest, step: int
) -> NoReturn:
    """Say how many cells a read takes, and from when on they fit: whole hours are read, as they are kept."""
    by_slot = store.query(f"SELECT slot, count() FROM ({sql}) GROUP BY slot ORDER BY slot DESC", parameters)
    first = request.start_ms - request.step_ms
    amounts = [(first + int(slot) * step, int(count)) for slot, count in by_slot]
    remedy = range_that_fits(request, amounts, CELLS_MAX - 1, step, whole_ms=max(HOUR, request.step_ms))
    total = sum(count for _, count in amounts)
    raise AslLimitError(
        f"too many cells: '{request.query}' takes {total} of cube {cube.name}, at most {CELLS_MAX - 1} are read; "
        f"{remedy}"
    )


def per_second(family: SeriesFamily, request: FetchRequest, step: int) -> float:
    """What a sum over cells is multiplied by: a rate divides by the seconds it was summed over."""
    return 1.0 if family.is_max else family.scale / _span_seconds(request, step)


def _span_seconds(request: FetchRequest, step: int) -> float:
    """Seconds that a summed value is divided by: the whole step for an average, one minute for a sum of rates."""
    return SECONDS if step == MINUTE or request.cf == "sum" else step / 1000.0


def _rows(
    bound: Bound, cube: Cube, columns: Sequence[str], span_ms: tuple[int, int], folded: Folded, *, whole_hours: bool
) -> str:
    """Cells of the range, each minute from one table."""
    first_ms, end_ms = span_ms
    cube_name = bound.bind(cube.name)
    low, high = _time(first_ms), _time(end_ms)
    inside = f"cube = {cube_name} AND minute >= {low} AND minute < {high}"
    span = f"cube = {cube_name} AND minute >= {_time(first_ms // HOUR * HOUR)} AND minute < {high}"
    keys = "".join(f", {key}" for key in cube.keys)
    wanted = keys + "".join(f", {_float(column)} AS {column}" for column in columns)
    tables = ("minutes", "deltas") if end_ms > folded.minutes_end_ms else ("minutes",)
    finer = " UNION ALL ".join(f"SELECT toStartOfHour(minute) FROM {table} WHERE {span}" for table in tables)
    if whole_hours:
        hours = f"{inside} AND (minute < {_time(folded.hours_end_ms)} OR minute NOT IN ({finer}))"
        outside = f" AND toStartOfHour(minute) NOT IN (SELECT DISTINCT minute FROM hours WHERE {hours})"
        parts = [f"SELECT minute{wanted} FROM hours FINAL WHERE {hours}"]
    else:
        outside = ""
        left = f"{span} AND minute NOT IN ({finer})"
        no_hours = 0 < folded.hours_end_ms <= first_ms
        parts = [] if no_hours else [_spread_hours(keys, columns, left, f"minute >= {low} AND minute < {high}")]
    minutes = f"SELECT minute{wanted} FROM minutes FINAL WHERE {inside}{outside}"
    if end_ms > folded.minutes_end_ms:
        whole = f"minute < {_time(folded.minutes_end_ms)}"
        minutes += f" AND ({whole} OR minute NOT IN (SELECT DISTINCT minute FROM deltas WHERE {inside}))"
        parts.append(f"SELECT minute{wanted} FROM deltas WHERE {inside}{outside} AND NOT {whole}")
    return " UNION ALL ".join([*parts, minutes])


def _time(ms: int) -> str:
    return f"toDateTime({ms // 1000}, 'UTC')"


def _spread_hours(keys: str, columns: Sequence[str], hours: str, inside: str) -> str:
    """Hours of which no minute is left, each sixty times with a sixtieth of its sums."""
    names = "".join(f", {column}" for column in columns)
    shares = "".join(f", {_sixtieth(column)} AS {column}" for column in columns)
    return (
        f"SELECT minute{keys}{names} FROM (SELECT hour + 60 * arrayJoin({_HOURLY}) AS minute{keys}{names} FROM "
        f"(SELECT minute AS hour{keys}{shares} FROM hours FINAL WHERE {hours})) WHERE {inside}"
    )


def _sixtieth(column: str) -> str:
    if column in HISTOGRAM_COLUMNS:
        return f"mapApply((k, v) -> (k, v / 60), {_float(column)})"
    return _float(column) if column in MAX_COLUMNS else f"{column} / 60"


def _float(column: str) -> str:
    """A measure as floating point, so that whole and spread sums have one type."""
    return f"CAST({column}, 'Map(UInt16, Float64)')" if column in HISTOGRAM_COLUMNS else f"toFloat64({column})"


class Cells:
    """Cells as rows of a result: `labels[j][i]` is the value of `keys[j]` in row i, `slots[i]` its point."""

    def __init__(
        self,
        keys: Sequence[str],
        labels: Sequence[Sequence[Any]],
        slots: npt.NDArray[np.int64],
        points: int,
        step_ms: int,
    ) -> None:
        index: dict[tuple[Any, ...], int] = {}
        rows = np.empty(len(slots), dtype=np.int64)
        for i, label in enumerate(zip(*labels, strict=True) if labels else [()] * len(slots)):
            rows[i] = index.setdefault(label, len(index))
        self._keys, self._labels, self._step = tuple(keys), list(index), step_ms
        self._flat, self._points = rows * points + slots, points

    def lines(self, family: SeriesFamily, values: Floats) -> RawLines:
        """One line a label from values that are already aggregated: each cell has one row."""
        matrix = np.full(len(self._labels) * self._points, np.nan)
        matrix[self._flat] = values
        return self._made(family, matrix)

    def summed(self, family: SeriesFamily, values: Floats) -> RawLines:
        """One line a label from values of which several belong to a cell: sums, or maxima for such a family."""
        size = len(self._labels) * self._points
        if family.is_max:
            matrix = np.full(size, -np.inf)
            np.maximum.at(matrix, self._flat, values)
            return self._made(family, np.where(np.isneginf(matrix), np.nan, matrix))
        sums = np.bincount(self._flat, weights=values, minlength=size)
        seen = np.bincount(self._flat, minlength=size)
        return self._made(family, np.where(seen > 0, sums, np.nan))

    def _made(self, family: SeriesFamily, matrix: Floats) -> RawLines:
        tags: list[Tags] = [
            {**family.fixed, **{k: str(v) for k, v in zip(self._keys, label, strict=True) if v != ""}}
            for label in self._labels
        ]
        shape = (len(self._labels), self._points)
        return RawLines(tags, matrix.reshape(shape), [family.is_max] * len(tags), self._step)
