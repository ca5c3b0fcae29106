"""What `bench_query.py` asks about, written into an embedded store as jobs and folds leave it.

Published: 1,000 series of one name at one point a minute for a week, 10,080,000 points. Cubes: five weeks of minutes
and hours of `all` (1 cell a minute) and `cdn,device` (40), and of `title,cdn` (1,000) one week of minutes and five of
hours; the last half hour is still in `deltas`. The store makes the rows itself, by their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tocsin.adapters.store.port import Store
from tocsin.model.tables import LEDGER_CUBE

SERIES = 1_000
DAY_MINUTES = 1_440
WEEK_MINUTES = 7 * DAY_MINUTES
WEEKS = 5
IN_DELTAS_MINUTES = 30
NAME = "bench.load"
_TAGS = "map('device', concat('d', toString(i % 10)), 'title', concat('t', toString(i % 250)), 'node', toString(i))"
_PARTS = ("plays", "n", "playing_ms", "rebuffer_ms", "seek_wait_ms", "startup_wait_ms", "startup_ms")
_FULL_HOUR_MINUTES = 60


@dataclass(frozen=True, slots=True)
class FilledCube:
    """A cube: its keys as SQL over the number of a cell `i`, its cells, and for how many weeks minutes are kept."""

    name: str
    keys: dict[str, str]
    cells: int
    minute_weeks: int


CUBES = (
    FilledCube("all", {}, 1, WEEKS),
    FilledCube(
        "cdn,device",
        {"cdn": "concat('c', toString(i % 4))", "device": "concat('d', toString(intDiv(i, 4)))"},
        40,
        WEEKS,
    ),
    FilledCube(
        "title,cdn", {"title": "concat('t', toString(intDiv(i, 4)))", "cdn": "concat('c', toString(i % 4))"}, 1_000, 1
    ),
)


def fill(store: Store, end_minute: int) -> None:
    """Write everything up to `end_minute` (of the epoch, not included), which must end an hour."""
    for table, sql in _statements(end_minute):
        store.command(f"INSERT INTO {table} {sql}")
    for table in ("series", "minutes", "hours"):
        store.command(f"OPTIMIZE TABLE {table} FINAL")


def _statements(end: int) -> Iterator[tuple[str, str]]:
    for first in range(end - WEEK_MINUTES, end, DAY_MINUTES):
        yield _series(first, min(first + DAY_MINUTES, end))
    for cube in CUBES:
        for first in range(end - cube.minute_weeks * WEEK_MINUTES, end, DAY_MINUTES):
            yield _cells("minutes", cube, first, min(first + DAY_MINUTES, end - IN_DELTAS_MINUTES), 1)
        yield _cells("hours", cube, end - WEEKS * WEEK_MINUTES, end - _FULL_HOUR_MINUTES, _FULL_HOUR_MINUTES)
        yield _cells("deltas", cube, end - IN_DELTAS_MINUTES, end, 1)
    for level, last in (("minutes", end - IN_DELTAS_MINUTES - 1), ("hours", end - 2 * _FULL_HOUR_MINUTES)):
        yield "folds", f"VALUES ('{level}', {last * 60}, 1)"
    ledger = "cube, minute, log_partition, start_offset, end_offset, append_ms, append_day"
    yield (
        f"deltas ({ledger})",
        (f"VALUES ('{LEDGER_CUBE}', {end * 60}, 0, 0, 1, {(end + 1) * 60_000}, toDate({end * 60}))"),
    )


def _series(first: int, last: int) -> tuple[str, str]:
    return "series", (
        f"SELECT 0, minute, toDate(minute * 60), i, '{NAME}', cityHash64('series', i), {_TAGS}, 'rate',"
        f" (minute + 1) * 60000, 1 + cityHash64(number) % 1000 / 100 FROM {_numbers(SERIES, first, last, 1)}"
    )


def _cells(table: str, cube: FilledCube, first: int, last: int, each: int) -> tuple[str, str]:
    columns = ["cube", "minute", *cube.keys, *_PARTS, "startup_hist"]
    amounts = [f"{each} * (1 + toInt64(cityHash64(number, '{part}') % 10000))" for part in _PARTS]
    values = [f"'{cube.name}'", "minute * 60", *cube.keys.values(), *amounts]
    values.append(f"CAST(map(90, {3 * each}, 100, {2 * each}, 120, {each}), 'Map(UInt16, Int64)')")
    if table == "deltas":
        columns += ["append_day", "start_offset"]
        values += ["toDate(minute * 60)", "minute"]
    return f"{table} ({', '.join(columns)})", (
        f"SELECT {', '.join(values)} FROM {_numbers(cube.cells, first, last, each)}"
    )


def _numbers(cells: int, first: int, last: int, each: int) -> str:
    """Rows (number, i, minute): every cell at every `each`th minute from `first` up to `last`, not included."""
    count = len(range(first, last, each)) * cells
    return (
        f"(SELECT number, number % {cells} AS i, toInt64({first} + {each} * intDiv(number, {cells})) AS minute"
        f" FROM numbers({count}))"
    )
