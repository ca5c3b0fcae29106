"""From the local log through the embedded runner into the embedded store: equal to the oracle, also after SIGKILLs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming_jobs.committer import Committer, ledger_rows, raw_counts
from streaming_jobs.embedded import EmbeddedRunner
from streaming_jobs.engine import PartitionEngine, Position
from streaming_jobs.fold import Folder
from tests import oracle
from tests.jobs_runner import open_store, run_until
from tests.jobs_world import (
    RULES,
    SETTINGS,
    START_MS,
    add_rows,
    cells_of,
    count_all,
    log_of,
    sent_heartbeats,
    without_zeros,
)
from tests.oracle import CUBES, Cell, Sent
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.log.port import partition_of
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model import points
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.errors import UnavailableError
from tocsin.model.ledger import LedgerReport, report
from tocsin.model.records import TICK
from tocsin.model.tables import HISTOGRAM_COLUMNS, merge_expressions
from tocsin.model.tags import TAG_KEYS

PARTITIONS = 2
TICKS_MS = 40_000


class Line:
    """A written log, the oracle's answer to it, and the offsets that the last tick of each partition has."""

    def __init__(self, folder: Path, seed: int, sessions: int = 12) -> None:
        sent = sent_heartbeats(seed, sessions)
        parts: list[list[Sent]] = [[] for _ in range(PARTITIONS)]
        for one in sent:
            parts[partition_of(one.heartbeat["session_id"], PARTITIONS)].append(one)
        ticks = list(range(START_MS + 3, sent[-1].append_ms + 400_000, TICKS_MS))
        answers = [oracle.answer(part, ticks, RULES) for part in parts]
        self.ledger = {name: sum(one.ledger[name] for one in answers) for name in answers[0].ledger}
        self.cells = merged([one.cells for one in answers])
        self.endings = [ending for one in answers for ending in one.endings]
        self.sent, self.now_ms, self.ends = sent, 0, []
        self.log = LocalLog(folder / "log.sqlite", lambda: self.now_ms, PARTITIONS)
        for number, part in enumerate(parts):
            records = log_of(part, random.Random(seed), [*ticks, ticks[-1] + TICKS_MS], number)
            for record in records:
                self.now_ms = record.append_ms
                self.log.append([(number, record.payload)])
            self.ends.append(records[-1].offset)

    def runner(self, store: Any) -> EmbeddedRunner:
        """A runner over the log, at the time of its last record."""
        return EmbeddedRunner(self.log, self.log, store, DEFAULT_CUBES, SETTINGS, lambda: self.now_ms)

    def report(self, store: ClickHouseStore) -> LedgerReport:
        """The ledger of all that was to be counted."""
        return report(ledger_rows(store), {p: (0, end) for p, end in enumerate(self.ends)}, raw_counts(store))


def merged(parts: list[dict[Cell, dict[str, Any]]]) -> dict[Cell, dict[str, Any]]:
    """Cells of several partitions as one."""
    cells: dict[Cell, dict[str, Any]] = {}
    for part in parts:
        for cell, values in part.items():
            into = cells.setdefault(cell, {})
            for name, value in values.items():
                if isinstance(value, dict):
                    counts = into.setdefault(name, {})
                    for bucket, count in value.items():
                        counts[bucket] = counts.get(bucket, 0) + count
                else:
                    into[name] = max(into.get(name, 0), value) if "absmax" in name else into.get(name, 0) + value
    return without_zeros(cells)


def stored_cells(store: ClickHouseStore, table: str, where: str = "1") -> dict[Cell, dict[str, Any]]:
    """A table's sums by cell, merged by the store."""
    keys = ", ".join(("`cube`", *TAG_KEYS))
    rows = store.query_arrow(
        f"SELECT toString(`cube`) AS cube, toUnixTimestamp({table}.minute) AS minute, {', '.join(TAG_KEYS)},"
        f" {', '.join(merge_expressions())} FROM {table} WHERE `cube` != 'ledger' AND {where}"
        f" GROUP BY {keys}, {table}.minute SETTINGS prefer_column_name_to_alias = 1"
    )
    cells: dict[Cell, dict[str, Any]] = {}
    add_rows(cells, _maps_as_pairs(rows))
    return without_zeros(cells)


def _maps_as_pairs(rows: Any) -> Any:
    """sumMap gives a tuple of lists for some versions and a map for others: as a list of pairs."""
    for name in HISTOGRAM_COLUMNS:
        first = next((value for value in rows.column(name).to_pylist() if value), [])
        assert not isinstance(first, dict), f"{name} came as {first}"
    return rows


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """One log for the tests that only read it."""
    made = Line(tmp_path_factory.mktemp("line"), seed=7)
    yield made
    made.log.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, line: Line) -> Iterator[ClickHouseStore]:
    """A store that has counted the whole log once, and folded what is final."""
    opened = open_store(tmp_path_factory.mktemp("counted"))
    run_until(line.runner(opened), line.ends)
    yield opened
    opened.close()


def test_the_store_answers_what_the_oracle_says(line: Line, store: ClickHouseStore) -> None:
    """Every cell of every cube, two partitions; the ledger tiles the log, is even, and has the rows it says."""
    assert stored_cells(store, "deltas") == line.cells
    found = line.report(store)
    assert found.balanced, found.problems
    assert {name: found.totals[name] for name in line.ledger} == line.ledger
    assert {cell[0] for cell in line.cells} == set(CUBES)


def test_counting_again_stores_nothing(line: Line, store: ClickHouseStore) -> None:
    """A second runner finds everything stored; a bucket committed by force is known by its ledger row."""
    before = store.query("SELECT count() FROM deltas")
    runner = line.runner(store)
    run_until(runner, line.ends)
    assert runner.status().committed == 0
    output = count_all(line.log.read(0, 0, 400))[0]
    committer = Committer(store)
    committer.commit(output)
    assert (committer.stats.committed, committer.stats.replayed) == (0, 1)
    assert store.query("SELECT count() FROM deltas") == before


def test_final_minutes_are_folded_whole_and_only_once(line: Line, store: ClickHouseStore) -> None:
    """Folds hold exactly the final minutes; a repeated or interrupted fold changes nothing."""
    folder = Folder(store, PARTITIONS, SETTINGS)
    watermark = folder.watermark_ms()
    assert watermark is not None
    final = (watermark - SETTINGS.lateness_ms - SETTINGS.slack_ms) // 60_000
    folder()
    want = {cell: values for cell, values in line.cells.items() if cell[1] < final}
    assert len(want) > 100
    assert stored_cells(store, "minutes") == want
    store.command("TRUNCATE TABLE folds")
    store.command("INSERT INTO minutes SELECT * FROM minutes LIMIT 3")
    folder()
    assert stored_cells(store, "minutes") == want
    newest = store.query("SELECT toUnixTimestamp(max(minute)) FROM folds WHERE level = 'minutes'")
    assert newest == [(60 * (final - 1),)]


def test_ended_playbacks_are_folded_with_their_outcome(line: Line, store: ClickHouseStore) -> None:
    """One row a session that ended or timed out: totals of its counted heartbeats."""
    Folder(store, PARTITIONS, SETTINGS)()
    counted = store.query(
        "SELECT session_id, count(), sum(playing_ms), max(if(outcome > 0, 1, 0)) FROM heartbeats"
        " WHERE row_kind = 'unique' GROUP BY session_id"
    )
    signs = {session: 0 for session, *_ in counted}
    for session, _, sign in line.endings:
        signs[session] += sign
    want = {(session, n, playing) for session, n, playing, ended in counted if ended or signs[session] > 0}
    rows = store.query("SELECT session_id, heartbeats, playing_ms, outcome FROM sessions FINAL WHERE outcome != ''")
    assert {row[:3] for row in rows} == want
    assert any(row[3] == "timeout" for row in rows)
    assert any(row[3] != "timeout" for row in rows)


def test_old_deltas_go_and_ledger_rows_stay(tmp_path: Path, line: Line) -> None:
    """Deletion waits until a minute is folded and six hours old, and never touches the ledger."""
    child = f"""
from pathlib import Path
from streaming_jobs.fold import Folder
from tests.e2e.test_jobs_store import PARTITIONS, Line, stored_cells
from tests.jobs_runner import open_store, run_until
from tests.jobs_world import SETTINGS
from tocsin.model.records import TICK
folder = Path({str(tmp_path)!r})
line, store = Line(folder, 7, sessions=3), open_store(folder)
run_until(line.runner(store), line.ends)
ledger = store.query("SELECT count() FROM deltas WHERE `cube` = 'ledger'")
for hours in (1, 8):
    line.now_ms += hours * 3_600_000
    for partition in range(PARTITIONS):
        line.log.append([(partition, TICK)])
        line.log.append([(partition, TICK)])
    line.now_ms += 20_000
    ends = [line.log.end(p) for p in range(PARTITIONS)]
    line.log.append([(p, TICK) for p in range(PARTITIONS)])
    run_until(line.runner(store), ends)
    done = Folder(store, PARTITIONS, SETTINGS)()
    left = store.query("SELECT count() FROM deltas WHERE `cube` != 'ledger'")[0][0]
    print(hours, done.deleted > 0, left == 0, done.hours > 0)
assert stored_cells(store, "minutes") == line.cells
assert line.report(store).balanced
"""
    done = _python("-c", child)
    said = [row for row in done.stdout.splitlines() if row.endswith(("True", "False"))]
    assert said == ["1 False False True", "8 True True True"], done.stdout + done.stderr


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_a_runner_killed_between_inserts_again_and_again_counts_exactly_once(tmp_path: Path) -> None:
    """SIGKILL after the raw rows and before the deltas of a bucket, at several places; totals stay the oracle's."""
    line = Line(tmp_path, seed=11)
    ends = ",".join(str(end) for end in line.ends)
    arguments = ["-m", "tests.jobs_runner", str(tmp_path), str(PARTITIONS), str(line.now_ms), ends]
    kills, lag_at_kill = 0, 0
    for after in (1, 14, 30):
        flag = tmp_path / f"arrived-{after}"
        child = subprocess.Popen(
            [sys.executable, *arguments],
            env={
                **os.environ, "PYTHONPATH": str(Path.cwd()), "TOCSIN_FAILPOINT": "between-inserts",
                "TOCSIN_FAILPOINT_FILE": str(flag), "TOCSIN_FAILPOINT_AFTER": str(after),
            },
        )  # fmt: skip
        while not flag.exists() and child.poll() is None:
            try:
                child.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        assert child.returncode is None, "the runner ended before it reached the failpoint"
        child.kill()
        child.wait()
        kills += 1
    checked = _python("-c", _CHECK.format(folder=str(tmp_path), seed=11))
    assert checked.returncode == 0, checked.stderr[-2_000:]
    replayed, lag_at_kill = (int(word) for word in checked.stdout.splitlines()[-1].split())
    assert kills == 3
    assert lag_at_kill > 0, "void: nothing was left to count at the last kill"
    assert replayed > 0, "void: no bucket was found half stored"
    line.log.close()


_CHECK = """
from pathlib import Path
from tests.e2e.test_jobs_store import PARTITIONS, Line, stored_cells
from tests.jobs_runner import open_store, run_until
from tocsin.adapters.log.local import LocalLog
folder = Path({folder!r})
line = Line(folder / "again", {seed})
store = open_store(folder)
lag = line.report(store).lost
runner = line.runner(store)
run_until(runner, line.ends)
found = line.report(store)
assert found.balanced, found.problems
assert stored_cells(store, "deltas") == line.cells
print(runner.status().replayed, lag)
"""


class _Flaky:
    """A store that fails at chosen calls, before or after it has stored the rows."""

    def __init__(self, store: ClickHouseStore, seed: int) -> None:
        self._store, self._rng = store, random.Random(seed)
        self.failures = 0

    def insert(self, table: str, rows: Any, token: str = "") -> None:
        if self._rng.random() < 0.2:
            self.failures += 1
            raise UnavailableError("inserting: the store is away")
        self._store.insert(table, rows, token)
        if self._rng.random() < 0.2:
            self.failures += 1
            raise UnavailableError("inserting: the answer was lost")

    def query(self, *arguments: Any) -> Any:
        if self._rng.random() < 0.1:
            self.failures += 1
            raise UnavailableError("querying: the store is away")
        return self._store.query(*arguments)


def test_a_store_that_fails_now_and_then_gets_everything_once(
    tmp_path: Path, line: Line, store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inserts that fail before or after storing are retried; the token or a look keeps them single."""
    monkeypatch.setattr("streaming_jobs.embedded.RETRY_S_MAX", 0.01)
    store.command("TRUNCATE TABLE deltas")
    store.command("TRUNCATE TABLE heartbeats")
    flaky = _Flaky(store, 3)
    run_until(EmbeddedRunner(line.log, line.log, flaky, DEFAULT_CUBES, SETTINGS, lambda: line.now_ms,
                             topic="flaky"), line.ends)  # fmt: skip
    assert flaky.failures > 20
    assert stored_cells(store, "deltas") == line.cells
    assert line.report(store).balanced


def test_a_bucket_whose_token_is_known_but_whose_rows_are_gone_is_stored(line: Line, store: ClickHouseStore) -> None:
    """The hole of plain MergeTree: the rows are counted, and inserted under a new token."""
    outputs = count_all(line.log.read(0, 0, 400))
    output = next(one for one in outputs if one.counts["unique"])
    committer = Committer(store, topic="hole")
    where = f"log_partition = 0 AND start_offset = {output.start_offset}"
    counts = f"SELECT (SELECT count() FROM deltas WHERE {where}), (SELECT count() FROM heartbeats WHERE {where})"
    for table in ("deltas", "heartbeats"):
        store.command(f"DELETE FROM {table} WHERE {where}")
    committer.commit(output)
    want = store.query(counts)
    for table in ("deltas", "heartbeats"):
        store.command(f"DELETE FROM {table} WHERE {where}")
    again = Committer(store, topic="hole")
    assert again.position(0, 0).offset == output.start_offset
    again.commit(output)
    assert again.stats.repaired == 2
    assert store.query(counts) == want
    assert want[0] == (output.deltas.num_rows, output.raw.num_rows)


def test_a_gap_is_filled_and_counting_goes_on_after_it(line: Line, store: ClickHouseStore) -> None:
    """Buckets missing in the middle are counted again, with state re-read; those after it are not touched."""
    cells = stored_cells(store, "deltas")
    rows = store.query(
        "SELECT start_offset FROM deltas WHERE `cube` = 'ledger' AND log_partition = 1 ORDER BY start_offset"
    )
    gone = f"log_partition = 1 AND start_offset IN ({rows[8][0]}, {rows[9][0]}, {rows[30][0]})"
    for table in ("deltas", "heartbeats"):
        store.command(f"DELETE FROM {table} WHERE {gone}")
    assert not line.report(store).balanced
    runner = line.runner(store)
    run_until(runner, line.ends)
    assert runner.status().committed == 3
    assert stored_cells(store, "deltas") == cells
    assert line.report(store).balanced


def test_published_points_reach_the_store_once(store: ClickHouseStore) -> None:
    """Also where their bucket is committed twice."""
    point = points.encode(points.batch([points.Point("x.gauge", {"a": "b"}, START_MS, 4.5)]))
    records = [(10_000, START_MS, point), (10_001, START_MS + 60_000, TICK)]
    engine = PartitionEngine(9, DEFAULT_CUBES, SETTINGS)
    engine.resume(Position(10_000))
    outputs = [output for output in (engine.push(*one) for one in records) if output is not None]
    for committer in (Committer(store, "points"), Committer(store, "points")):
        committer.commit(outputs[0])
    assert store.query("SELECT name, value, type FROM series WHERE name = 'x.gauge'") == [("x.gauge", 4.5, "gauge")]
    assert cells_of(outputs) == {}
    store.command("DELETE FROM deltas WHERE log_partition = 9")
