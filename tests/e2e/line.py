"""The line as the end-to-end tests drive it: an embedded run in this process, workers as processes, questions."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from query.source import StoreSource
from streaming_jobs.committer import Committer, ledger_rows
from streaming_jobs.embedded import EmbeddedRunner
from streaming_jobs.fold import Folder
from streaming_jobs.partition_job import PartitionJob
from streaming_jobs.steps.settings import CountingSettings
from tests.e2e.audience import Audience
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.log.port import LogReader
from tocsin.adapters.store.port import Store
from tocsin.app.dev import process as proc
from tocsin.model.asl.graph import GraphRequest, draw
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.times import MINUTE
from tocsin.model.asl.words import TOCSIN
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.ledger import LedgerReport, report
from tocsin.model.records import TICK

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
REQUESTS_A_BATCH = 12
SENDING_MS = 40_000
"""The audience's requests are spread over this time."""
FOLDING = CountingSettings(lateness_ms=1, future_ms=1, slack_ms=1, timeout_ms=50_000)
"""Nothing is on its way any more: minutes are final once the log has passed them."""
FOLD_WAIT_MS = 60_000
KEEP_DAYS = dict.fromkeys(("deltas", "minutes", "hours", "heartbeats", "sessions", "series", "quarantine"), 9_000)
"""Retention of the tests' stores: their logs may be of any day."""
SETTINGS = CountingSettings(bucket_ms=2_000, idle_tick_ms=2_000)


def queries() -> list[dict[str, Any]]:
    """The entries of queries.yaml."""
    loaded: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("queries.yaml").read_text(encoding="utf-8"))
    return loaded


class FakeClock:
    """The embedded log's clock, moved by the test."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        """The time it was set to."""
        return self.ms


def batches(audience: Audience) -> Iterable[list[tuple[int, bytes]]]:
    """The audience's requests in sending order, packed for the log a dozen at a time."""
    for at in range(0, len(audience.requests), REQUESTS_A_BATCH):
        yield audience.messages(audience.requests[at : at + REQUESTS_A_BATCH], PARTITIONS)


def fill_local_log(audience: Audience, path: Path, clock: FakeClock, span_ms: int) -> LocalLog:
    """An embedded log with the audience spread over `span_ms` from the clock's time on."""
    log = LocalLog(path, clock.now_ms, PARTITIONS)
    base_ms = clock.ms
    packed = list(batches(audience))
    for number, items in enumerate(packed):
        clock.ms = base_ms + span_ms * number // len(packed)
        log.append(items)
    return log


def run_embedded_line(log: LocalLog, clock: FakeClock, store: Store) -> None:
    """Count the whole log with the embedded runner, then let a minute pass so that ended playbacks can be folded."""
    runner = EmbeddedRunner(log, log, store, DEFAULT_CUBES, SETTINGS, clock.now_ms)
    stop = threading.Event()
    for wait_ms in (SETTINGS.bucket_ms, FOLD_WAIT_MS, SETTINGS.bucket_ms):
        while runner.step(stop):
            pass
        clock.ms += wait_ms
        log.append([(partition, TICK) for partition in range(PARTITIONS)])
    while runner.step(stop):
        pass
    fold(store)


def fold(store: Store) -> None:
    """Fold minutes and playbacks of a store in which everything that was sent is counted."""
    for settings in (SETTINGS, FOLDING):
        Folder(store, PARTITIONS, settings)()


def count_partition(
    job: PartitionJob, reader: LogReader, partition: int, end: int | None = None, records_max: int = 50
) -> None:
    """Resume a job and feed it from the log up to `end` (or the log's end)."""
    offset = job.resume(reader)
    stop = reader.end(partition) if end is None else end
    while offset < stop:
        records = reader.read(partition, offset, min(records_max, stop - offset))
        job.push(records)
        offset = records[-1].offset + 1


def new_job(partition: int, store: Store, now_ms: int, settings: CountingSettings = SETTINGS) -> PartitionJob:
    """A job of the settings that both runs share, or of others."""
    return PartitionJob(partition, Committer(store), DEFAULT_CUBES, settings, lambda: now_ms)


def start_worker(config: Mapping[str, str], log: Path, extra: Mapping[str, str] | None = None) -> proc.ServerProcess:
    """A Faust worker process of the role `jobs`, with the shared settings."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TOCSIN_")}
    env = own | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"} | dict(config) | dict(extra or {})
    program = str(Path(__file__).with_name("counting_worker.py"))
    return proc.spawn([sys.executable, program, str(SETTINGS.bucket_ms)], log, env)


def run_embedded(*arguments: str) -> str:
    """What `embedded_run.py` prints, run as a process of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("TOCSIN_")} | {"PYTHONPATH": str(ROOT)}
    program = str(Path(__file__).with_name("embedded_run.py"))
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def check_ledger(store: Store, reader: LogReader, ends: Mapping[int, int]) -> LedgerReport:
    """The ledger of a store against the log, up to the offsets given."""
    bounds = {partition: (reader.start(partition), end) for partition, end in ends.items()}
    return report(ledger_rows(store), bounds)


def ask(store: Store, entry: Mapping[str, Any], base_ms: int) -> list[tuple[Any, ...]]:
    """A store's answer as plain values; `base_ms` is the end of the audience's time."""
    if "expr" in entry:
        return _ask_expression(store, entry, base_ms)
    return [tuple(_plain(value) for value in row) for row in store.query(entry["sql"])]


def _ask_expression(store: Store, entry: Mapping[str, Any], base_ms: int) -> list[tuple[Any, ...]]:
    """Every point of every line: its tags, its minute in epoch seconds, its value."""
    end_ms = base_ms // MINUTE + 3
    source = StoreSource(store, DEFAULT_CUBES, lambda: end_ms * MINUTE)
    request = GraphRequest(entry["expr"], start=str((end_ms - 30) * MINUTE), end=str(end_ms * MINUTE), step="1m")
    graph = draw(request, Interpreter(TOCSIN), source, end_ms * MINUTE)
    points = [
        (*(line.tags[key] for key in entry["tags"]), (graph.grid.first_ms + at * MINUTE) // 1000 - 60, float(value))
        for line in graph.lines
        for at, value in enumerate(line.values)
        if not math.isnan(value)
    ]
    return sorted(points)


def assert_same(found: Sequence[tuple[Any, ...]], wanted: Sequence[tuple[Any, ...]], what: str) -> None:
    """Equal rows; integers exactly, ratios to 1e-12 relative."""
    assert len(found) == len(wanted), f"{what}: {len(found)} rows, not {len(wanted)}\n{found[:5]}\n{wanted[:5]}"
    for one, other in zip(found, wanted, strict=True):
        same = len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
        assert same, f"{what}: {one} is not {other}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return [tuple(item) for item in one] == [tuple(item) for item in other]
    if isinstance(one, float) or isinstance(other, float):
        both_missing = math.isnan(one) and math.isnan(other)
        return both_missing or bool(one == pytest.approx(other, rel=1e-12, abs=0))
    return bool(one == other)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [tuple(int(part) for part in item) for item in value]
    return value
