"""Published points, over real HTTP, log, jobs and store: each is counted once, whatever is repeated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from ingest.settings import IngestSettings
from query.published_cache import PublishedCache
from streaming_jobs.committer import Committer, ledger_rows
from streaming_jobs.embedded import EmbeddedRunner
from streaming_jobs.engine import PartitionEngine, Position
from streaming_jobs.steps.output import BucketOutput
from tests.ingest_support import Serving, serving
from tests.jobs_runner import open_store, run_until
from tests.jobs_world import SETTINGS, count_all
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.asl.query_expr import AllOf
from tocsin.model.asl.source import FetchRequest
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.records import TICK
from tocsin.model.tables import LEDGER_COLUMNS

PARTITIONS = 2
MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
START_MS = 20_800 * DAY_MS
"""A midnight: what first points tell of the minute before lies in another day."""
MINUTES = 4
STEP_MS = 10_000
LATE_STEPS = 3
"""After so many steps a request comes a third time."""
MINUTES_SHOWN = FetchRequest(AllOf(), START_MS, START_MS + MINUTES * MINUTE_MS, MINUTE_MS)


@dataclass
class Clock:
    """The time of gateway and log, moved by the test."""

    ms: int = START_MS

    def now_ms(self) -> int:
        """The time."""
        return self.ms


@dataclass
class Line:
    """A log filled over HTTP, and what every series must show: by its node and type, a value a minute."""

    running: Serving
    clock: Clock
    ends: list[int]
    wanted: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def outputs(self, partition: int) -> list[BucketOutput]:
        """The buckets of a partition, as they are to be committed."""
        engine = PartitionEngine(partition, DEFAULT_CUBES, SETTINGS)
        engine.resume(Position(0))
        records = self.running.log.read(partition, 0, 10_000)
        return [output for one in records if (output := engine.push(one.offset, one.append_ms, one.payload))]

    def count(self, store: ClickHouseStore) -> EmbeddedRunner:
        """Count the whole log into a store."""
        log = self.running.log
        runner = EmbeddedRunner(log, log, store, DEFAULT_CUBES, SETTINGS, self.clock.now_ms)
        run_until(runner, self.ends)
        return runner


STEPS = range(1, MINUTES * 6 + 1)
READINGS = [30 * number if number < 15 else 10 * number for number in STEPS]
"""Of a counter that starts again once."""


def step(number: int) -> list[dict[str, Any]]:
    """A step's points of every type for three nodes; and once a minute, at its half, those of another name."""
    values = {"gauge": number, "rate": number % 5, "sum": 2, "counter": READINGS[number - 1]}
    points = [(f"n{node}", kind, value + node) for node in range(3) for kind, value in values.items()]
    if number % 6 == 3:
        points += [("slow", "rate", number), ("slow", "counter", 60 * (number // 6) ** 2)]
    return [
        {
            "tags": {"name": "slow" if node == "slow" else "load", "node": node, "atlas.dstype": kind},
            "timestamp": _time_ms(number), "value": value,
        }
        for node, kind, value in points
    ]  # fmt: skip


def wanted() -> dict[tuple[str, str], list[float]]:
    """What the minute before and the minutes must show, from the definition of each type."""
    rises = [0, *(max(after - before, 0) for before, after in itertools.pairwise(READINGS))]
    shown: dict[tuple[str, str], list[float]] = {}
    for node in range(3):
        rates = [number % 5 + node for number in STEPS]
        shown[f"n{node}", "gauge"] = [np.nan, *(6.0 * minute + node for minute in range(1, MINUTES + 1))]
        shown[f"n{node}", "sum"] = [np.nan, *([6.0 * (2 + node)] * MINUTES)]
        shown[f"n{node}", "rate"] = [rates[0] * 50 / 60, *np.reshape(rates, (MINUTES, 6)).mean(axis=1)]
        shown[f"n{node}", "counter"] = [np.nan, *(np.reshape(rises, (MINUTES, 6)).sum(axis=1) / 60)]
    # Half of each minute is the reading's of its half, the other half that of the next; rises by the second: 1, 3, 5.
    shown["slow", "rate"] = [3 / 2, (3 + 9) / 2, (9 + 15) / 2, (15 + 21) / 2, 21 / 2]
    shown["slow", "counter"] = [np.nan, 1 / 2, (1 + 3) / 2, (3 + 5) / 2, 5 / 2]
    return shown


def _time_ms(number: int) -> int:
    return START_MS + number * STEP_MS


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Every request is sent twice under its own name, a third time much later."""
    clock = Clock()
    folder = tmp_path_factory.mktemp("published")
    with serving(folder, IngestSettings(), PARTITIONS, now_ms=clock.now_ms) as running:
        for number in STEPS:
            clock.ms = _time_ms(number)
            for again in (number, number, number - LATE_STEPS):
                if again in STEPS:
                    _send(running, again)
        for more_ms in (10_000, 60_000):
            clock.ms += more_ms
            running.log.append([(partition, TICK) for partition in range(PARTITIONS)])
        ends = [running.log.end(partition) - 1 for partition in range(PARTITIONS)]
        yield Line(running, clock, ends, wanted())


def _send(running: Serving, number: int) -> None:
    headers = {"idempotency-key": f"step-{number}"}
    answer = httpx.post(f"{running.url}/api/v1/publish", json={"metrics": step(number)}, headers=headers)
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, line: Line) -> Iterator[ClickHouseStore]:
    """A store that has counted the log once."""
    opened = open_store(tmp_path_factory.mktemp("store"))
    line.count(opened)
    yield opened
    opened.close()


def rows_of(store: ClickHouseStore) -> list[tuple[Any, ...]]:
    """All rows of points, in the log's order."""
    return store.query("SELECT * FROM series ORDER BY log_partition, start_offset, ordinal")


def assert_shown(line: Line, cache: PublishedCache) -> None:
    """What a graph of the minutes shows is what every type's definition says."""
    lines = cache.read(AllOf(), MINUTES_SHOWN)
    shown = {
        (tags["node"], tags["atlas.dstype"]): values.tolist()
        for tags, values in zip(lines.tags, lines.values, strict=True)
    }
    assert shown.keys() == line.wanted.keys()
    for key, values in line.wanted.items():
        assert shown[key] == pytest.approx(values, nan_ok=True), key


def test_points_sent_again_count_once(line: Line, store: ClickHouseStore) -> None:
    """Requests came twice or three times: their points are stored once, and the ledger says what was dropped."""
    totals = dict.fromkeys(LEDGER_COLUMNS, 0)
    for row in ledger_rows(store):
        for name, count in row.counts.items():
            totals[name] += count
    sent = sum(len(step(number)) for number in STEPS)
    again = sent + sum(len(step(number)) for number in STEPS[:-LATE_STEPS])
    assert (totals["points"], totals["points_repeated"]) == (sent, again)
    assert len(rows_of(store)) == sent
    assert_shown(line, PublishedCache(store, line.clock.now_ms))


def test_a_log_counted_again_gives_the_same_rows(line: Line, store: ClickHouseStore) -> None:
    """From the start by a runner that knows nothing, and over any number of restarts."""
    before = rows_of(store)
    assert line.count(store).status().committed == 0
    store.command("TRUNCATE TABLE deltas")
    assert line.count(store).status().committed > 0
    assert rows_of(store) == before
    for partition in range(PARTITIONS):
        records = line.running.log.read(partition, 0, 10_000)
        once = [output.series for output in count_all(records)]
        restarted = [output.series for output in count_all(records, range(1, 30, 3))]
        assert restarted == once


def test_a_bucket_inserted_again_is_there_once(line: Line, store: ClickHouseStore) -> None:
    """By the same committer, by another one, and where its token is known but its rows are gone."""
    before = rows_of(store)
    outputs = [output for output in line.outputs(0) if output.series.num_rows]
    for committer in (Committer(store), Committer(store)):
        committer.commit(outputs[0])
        committer.commit(outputs[0])
    assert rows_of(store) == before
    store.command(f"DELETE FROM series WHERE log_partition = 0 AND start_offset = {outputs[0].start_offset}")
    store.command(f"DELETE FROM deltas WHERE log_partition = 0 AND start_offset = {outputs[0].start_offset}")
    Committer(store).commit(outputs[0])
    assert rows_of(store) == before


def test_what_is_read_while_points_come_is_what_is_read_at_the_end(line: Line, store: ClickHouseStore) -> None:
    """A cache that reads after every bucket mends what it has read, over midnight too."""
    for table in ("series", "deltas"):
        store.command(f"TRUNCATE TABLE {table}")
    clock = Clock(line.clock.ms)
    cache = PublishedCache(store, clock.now_ms)
    committer = Committer(store)
    outputs = [output for partition in range(PARTITIONS) for output in line.outputs(partition)]
    for output in sorted(outputs, key=lambda one: one.start_offset):
        committer.commit(output)
        cache.read(AllOf(), MINUTES_SHOWN)
        clock.ms += 2_000
    assert_shown(line, cache)
