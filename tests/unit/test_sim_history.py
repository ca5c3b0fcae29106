"""The drawn history: equal to what the pipeline counts, the same in all cubes, and without a step at the seam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from player_sim import history, layout
from player_sim.audience import HOUR_MS, MINUTE_MS, World, WorldConfig
from player_sim.batches import batch_of
from player_sim.cells import CellSpace
from player_sim.history import RUN_IN_MS, HistorySettings, Window, played, received_ms, windows, write_history
from player_sim.hours import Bootstrap, SessionHours
from player_sim.layout import Records
from player_sim.player import Players
from streaming_jobs.steps.bucketing import Bucket, Message
from streaming_jobs.steps.counter import Counter
from streaming_jobs.steps.settings import CountingSettings
from tests.sim_support import AT_MS, kept, small_world
from tocsin.model import columnar
from tocsin.model.cubes import DEFAULT_CUBES, Cube
from tocsin.model.errors import InputError
from tocsin.model.tables import ADDITIVE_COLUMNS, HISTOGRAM_COLUMNS, MAX_COLUMNS, MINUTES, SUM_COLUMNS
from tocsin.model.tags import TAG_KEYS

LAG_MS = 400
SMALL = HistorySettings(
    weeks=1, window_weeks=1, before_ms=10 * MINUTE_MS, after_ms=10 * MINUTE_MS, last_ms=20 * MINUTE_MS,
    pool_sessions=500,
)  # fmt: skip
Cell = tuple[Any, ...]


class Tables:
    """A store that keeps what is inserted."""

    def __init__(self) -> None:
        self.parts: dict[str, list[pa.Table]] = {}

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        self.parts.setdefault(table, []).append(rows.replace_schema_metadata(None))

    def columns(self, table: str) -> dict[str, list[Any]]:
        """All rows of a table, by column."""
        columns: dict[str, list[Any]] = {}
        for part in self.parts[table]:
            for name, values in part.to_pydict().items():
                columns.setdefault(name, []).extend(values)
        return columns


def cells(
    rows: Mapping[str, list[Any]], minutes: set[int] | None = None
) -> dict[Cell, tuple[list[int], dict[Any, int]]]:
    """(cube, start in s, keys) to merged sums with maxima, and merged histograms; without cells that are all zero."""
    merged: dict[Cell, tuple[list[int], dict[Any, int]]] = {}
    keys = zip(rows["cube"], rows["minute"], *(rows[key] for key in TAG_KEYS), strict=True)
    for index, key in enumerate(keys):
        if key[0] == "ledger" or (minutes is not None and key[1] not in minutes):
            continue
        sums, seen = merged.setdefault(key, ([0] * (len(ADDITIVE_COLUMNS) + len(MAX_COLUMNS)), {}))
        for place, name in enumerate(ADDITIVE_COLUMNS):
            sums[place] += rows[name][index]
        for place, name in enumerate(MAX_COLUMNS, len(ADDITIVE_COLUMNS)):
            sums[place] = max(sums[place], rows[name][index])
        for name in HISTOGRAM_COLUMNS:
            for bucket, count in rows[name][index]:
                seen[name, bucket] = seen.get((name, bucket), 0) + count
    return {key: value for key, value in merged.items() if any(value[0])}


def counted_by_the_pipeline(world: World, rows: Records) -> dict[str, list[Any]]:
    """Deltas of the counting steps for these heartbeats, appended when received."""
    rows = rows[np.argsort(received_ms(rows["ts_ms"], LAG_MS), kind="stable")]
    append_ms = received_ms(rows["ts_ms"], LAG_MS)
    settings = CountingSettings()
    counter = Counter(0, DEFAULT_CUBES, settings)
    found: dict[str, list[Any]] = {}
    cuts = np.flatnonzero(np.diff(append_ms // settings.bucket_ms)) + 1
    for number, part in enumerate(np.split(np.arange(len(rows)), cuts)):
        batch = batch_of(world, rows[part], append_ms[part])
        last_ms = int(append_ms[part[-1]])
        bucket = Bucket(number, [Message(number, last_ms, columnar.encode(batch))])
        output = counter.count(bucket, last_ms, emit=True)
        assert output is not None
        for name, values in output.deltas.to_pydict().items():
            found.setdefault(name, []).extend(values)
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_history_is_what_the_pipeline_counts_from_the_same_players(seed: int) -> None:
    """Every sum, moment, maximum and histogram of every cell of every cube is the same integer, time-outs too."""
    world = small_world(seed, viewers=250.0)
    tables = Tables()
    space = CellSpace(world, DEFAULT_CUBES)
    writer = history.history_rows.TableWriter(tables, space, "minutes")  # type: ignore[arg-type]
    span = Window(AT_MS, AT_MS + 6 * MINUTE_MS)
    for start_ms, drawn in played(world, space, span, LAG_MS):
        writer.add(history._used(start_ms, drawn))
    writer.close()
    players = Players.stationary_at(world, span.start_ms - RUN_IN_MS)
    players.begin_reporting()
    live = kept(players.advance(span.end_ms + MINUTE_MS))
    minutes = {at // 1000 for at in range(span.start_ms, span.end_ms, MINUTE_MS)}
    expected = cells(counted_by_the_pipeline(world, live), minutes)
    found = cells(tables.columns("minutes"))
    assert found.keys() == expected.keys()
    for key in expected:
        assert found[key] == expected[key], key
    assert sum(sums[SUM_COLUMNS.index("timeouts")] for key, (sums, _) in found.items() if key[0] == "all") > 0


def test_the_history_of_a_seed_is_always_the_same_and_its_cubes_agree() -> None:
    """Two runs write the same rows; each cube sums to the same totals; folds count the rows that there are."""
    first, second = Tables(), Tables()
    for tables in (first, second):
        report = write_history(tables, small_world(), AT_MS + 12_345, DEFAULT_CUBES, settings=SMALL)  # type: ignore[arg-type]
    assert report.seam_ms == AT_MS
    for table in ("minutes", "hours", "folds"):
        assert first.columns(table) == second.columns(table)
    for table in ("minutes", "hours"):
        rows = first.columns(table)
        assert set(rows) == set(MINUTES.column_names)
        totals: dict[Cell, list[int]] = {}
        for (cube, start_s, *_), (sums, _) in cells(rows).items():
            total = totals.setdefault((start_s, cube), [0] * len(ADDITIVE_COLUMNS))
            for place in range(len(ADDITIVE_COLUMNS)):
                total[place] += sums[place]
        for (start_s, _), total in totals.items():
            assert total == totals[start_s, "all"]
        folds = first.columns("folds")
        at_level = [i for i, level in enumerate(folds["level"]) if level == table]
        assert sum(folds["rows"][i] for i in at_level) == len(rows["cube"])
        assert max(folds["minute"][i] for i in at_level) == max(rows["minute"])


def test_whole_hours_of_a_window_are_sums_of_its_minutes() -> None:
    """The hour table repeats what the minutes say, and five weeks of hours have no hole and no hour of the future."""
    tables = Tables()
    write_history(tables, small_world(), AT_MS, DEFAULT_CUBES, settings=SMALL)  # type: ignore[arg-type]
    minutes, hours = cells(tables.columns("minutes")), cells(tables.columns("hours"))
    window = windows(AT_MS, SMALL)[0]
    summed: dict[Cell, list[int]] = {}
    for (cube, start_s, *keys), (sums, _) in minutes.items():
        if window.start_ms <= start_s * 1000 < window.end_ms:
            total = summed.setdefault((cube, start_s - start_s % 3600, *keys), [0] * len(ADDITIVE_COLUMNS))
            for place in range(len(ADDITIVE_COLUMNS)):
                total[place] += sums[place]
    assert len(summed) > 50
    for key, total in summed.items():
        assert hours[key][0][: len(total)] == total
    starts = sorted({key[1] for key in hours})
    last = AT_MS // HOUR_MS * 3600 - 3600
    assert starts == list(range(last - 167 * 3600, last + 1, 3600))
    assert max(key[1] for key in minutes) == AT_MS // 1000 - 60


def test_drawn_hours_are_like_played_hours() -> None:
    """Over twelve hours that were not in the pool: volume, rates, moments and start-up of drawn ≈ played."""
    world = World(WorldConfig(seed=5, viewers=250.0, titles=12))
    space = CellSpace(world, DEFAULT_CUBES)
    pool = SessionHours(world, 1.0)
    at_ms = AT_MS - AT_MS % HOUR_MS
    for _ in played(world, space, Window(at_ms, at_ms + 4 * HOUR_MS), LAG_MS, pool):
        pass
    starts = [at_ms + hour * HOUR_MS for hour in (-40, -36, -31, -27, -22, -18)]
    drawn = np.zeros(len(ADDITIVE_COLUMNS))
    truth = np.zeros(len(ADDITIVE_COLUMNS))
    per_hour = []
    for cells_of_hour in Bootstrap(world, pool).hours(starts):
        drawn += cells_of_hour.sums[cells_of_hour.cells == 0].sum(axis=0)
        per_hour.append(cells_of_hour.sums[cells_of_hour.cells == 0, ADDITIVE_COLUMNS.index("n")].sum())
    for place, start_ms in enumerate(starts):
        hour = np.zeros(len(ADDITIVE_COLUMNS))
        for _, minute in played(world, space, Window(start_ms, start_ms + HOUR_MS), LAG_MS):
            hour += minute.sums[0]
        assert per_hour[place] == pytest.approx(hour[ADDITIVE_COLUMNS.index("n")], rel=0.2)
        truth += hour
    for name, tolerance in {
        "n": 0.06, "heartbeats": 0.06, "plays": 0.08, "ended": 0.08, "playing_ms": 0.06, "bits_kb": 0.1,
        "rebuffer_ms": 0.2, "rebuffer_k": 0.15, "rebuffer_sxx": 0.5, "rebuffer_syy": 0.06, "startup_ms": 0.15,
        "timeouts": 0.3, "frames_dropped": 0.25,
    }.items():  # fmt: skip
        place = ADDITIVE_COLUMNS.index(name)
        assert drawn[place] == pytest.approx(truth[place], rel=tolerance), name


def test_nothing_steps_at_the_seam() -> None:
    """Over six seeds: volume, starts, ends and stalls of the ten minutes before and after differ by chance alone."""
    names = ("n", "plays", "attempts", "ended", "rebuffer_k", "errors")
    changes: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(1, 7):
        world = World(WorldConfig(seed=seed, viewers=200.0, titles=12, season=0.0))
        space = CellSpace(world, DEFAULT_CUBES)
        by_minute = [
            minute.sums[0].copy() for _, minute in played(world, space, Window(AT_MS - 10 * MINUTE_MS, AT_MS), LAG_MS)
        ]
        live = Players.stationary_at(world, AT_MS)
        counted = counted_by_the_pipeline(world, _reported(live, AT_MS + 10 * MINUTE_MS))
        for name in names:
            before = sum(int(sums[ADDITIVE_COLUMNS.index(name)]) for sums in by_minute)
            after = sum(
                value
                for value, cube, start_s in zip(counted[name], counted["cube"], counted["minute"], strict=True)
                if cube == "all" and start_s < AT_MS // 1000 + 600
            )
            changes[name].append((after - before) / np.sqrt(before + after + 1))
    limits = {"n": 9.0}
    for name, seen in changes.items():
        assert abs(np.mean(seen)) < limits.get(name, 3.0) / np.sqrt(len(seen)) * 1.5, (name, seen)


def _reported(players: Players, until_ms: int) -> Records:
    players.begin_reporting()
    return kept(players.advance(until_ms))


def test_the_live_audience_begins_with_the_sessions_that_history_ends_with() -> None:
    """Who was on in the last seconds and did not end is on at the seam: nobody is cut off, nobody is new."""
    world = small_world(viewers=200.0)
    before = Players.stationary_at(world, AT_MS - 10 * MINUTE_MS)
    rows = kept(before.advance(AT_MS))
    last_minute = rows[rows["ts_ms"] >= AT_MS - 11_000]
    ended = set(rows["sid"][rows["outcome"] > 0].tolist())
    live = Players.stationary_at(world, AT_MS)
    state = live.sessions["state"]
    on = set(live.sessions["sid"][(state != layout.WAITING) & (state != layout.OVER)].tolist())
    seen = set(last_minute["sid"].tolist()) - ended
    assert len(on) > 50
    assert on <= seen
    assert len(seen - on) <= 3  # killed in the last seconds


def test_more_cells_than_memory_should_hold_are_refused() -> None:
    """A cube of everything is refused with what to change; an unknown key with its name."""
    with pytest.raises(InputError, match="fewer keys a cube"):
        CellSpace(small_world(), [Cube(("title", "cdn", "device", "region", "isp", "app", "player"))])


def test_keys_that_follow_from_others_can_be_cubed() -> None:
    """kind, mode, format, player_version, os and network are drawn as the live heartbeats have them."""
    world = small_world()
    cubes = (Cube(("kind", "mode", "format")), Cube(("player_version", "os", "network")))
    space = CellSpace(world, cubes)
    rows = kept(Players.stationary_at(world, AT_MS).advance(AT_MS + MINUTE_MS))
    batch = batch_of(world, rows, rows["ts_ms"])
    cells_of = space.cells_of(rows, np.zeros(len(rows), np.int64))
    for index, cube in enumerate(cubes):
        for key in cube.keys:
            values, codes = space.names_of[key]
            assert [values[code] for code in codes[cells_of[:, index]]] == batch.text[key].texts()
