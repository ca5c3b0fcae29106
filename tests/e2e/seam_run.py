"""Run as a program: for each seed, drawn history, then a live audience counted and watched; prints incidents as JSON.

Live heartbeats go as columnar messages through the counting engine of one partition into the store of the history, from
which alerting, with the shipped rules, judges every 10 s of virtual time: a demonstration without HTTP, and without
faults until the end, where one CDN stalls so that it shows whether anything would have been noticed at all.
A program, because a process can open one chdb path.
Arguments: FOLDER CASES, where CASES is `Case`s by commas; one line of JSON a case.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alerting.arrays import LIVE_MINUTES
from alerting.baseline import MARGIN_MINUTES
from alerting.engine import AlertEngine
from alerting.sensors import HISTORY_BACK_MINUTES, HORIZON_MINUTES
from player_sim import layout
from player_sim.audience import HOUR_MS, MINUTE_MS, World, WorldConfig
from player_sim.batches import batch_of
from player_sim.faults.cohort_stall import CohortStall
from player_sim.faults.kinds import Cohort, Fault
from player_sim.history import HistorySettings, write_history
from player_sim.influence import Faults
from player_sim.player import Players
from streaming_jobs.committer import Committer, ledger_rows
from streaming_jobs.engine import PartitionEngine
from streaming_jobs.fold import Folder
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.alerts import read_rules
from tocsin.model.columnar import encode
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.records import TICK
from tocsin.model.tables import TABLES

START_MS = 1_790_000_040_000
SEED_STEP_MS = 7 * HOUR_MS + 13 * MINUTE_MS
"""Seeds begin at other hours of the day and days of the week."""
STEP_MS = 1_000
TICK_MS = 10_000
BUCKET_MS = 10_000
"""Longer than in service, to spare the store: a tick sees nothing of what is between."""
FOLD_MS = 5 * MINUTE_MS
LAG_STEP_MS, LAG_STEPS = 5_000, 4
"""Jobs are behind by another 0 to 15 s, by seed: in service they are never quite up to date."""
KEEP_DAYS = {table.name: 40_000 for table in TABLES}
"""The audience lives at a fixed time: nothing of it may expire."""


@dataclass(frozen=True, slots=True)
class Case:
    """A world's seed and size, and its minutes of live time: without faults at first, while one CDN stalls then."""

    seed: int
    viewers: float
    quiet_minutes: int
    stalled_minutes: int

    @property
    def minutes(self) -> int:
        """All live time."""
        return self.quiet_minutes + self.stalled_minutes

    @staticmethod
    def of(text: str) -> Case:
        """From `SEED:VIEWERS:MINUTES:MINUTES`."""
        return Case(*(int(part) for part in text.split(":")))

    def __str__(self) -> str:
        return f"{self.seed}:{self.viewers:.0f}:{self.quiet_minutes}:{self.stalled_minutes}"


class Line:
    """Counts a live audience into a store; buckets appear there `lag_ms` after they close."""

    def __init__(self, store: ClickHouseStore, topic: str, lag_ms: int) -> None:
        settings = CountingSettings(bucket_ms=BUCKET_MS)
        self._committer = Committer(store, topic)
        self._engine = PartitionEngine(0, DEFAULT_CUBES, settings)
        self._engine.resume(self._committer.position(0, 0))
        self._folder = Folder(store, 1, settings)
        self._lag_ms = lag_ms
        self._offset = 0
        self._closed: deque[tuple[int, BucketOutput]] = deque()

    def append(self, now_ms: int, payload: bytes) -> None:
        """A message of the log."""
        output = self._engine.push(self._offset, now_ms, payload)
        self._offset += 1
        if output is not None:
            self._closed.append((now_ms + self._lag_ms, output))

    def work(self, now_ms: int) -> None:
        """Commit what is due at `now_ms`; fold now and then."""
        while self._closed and self._closed[0][0] <= now_ms:
            self._committer.commit(self._closed.popleft()[1])
        if now_ms % FOLD_MS == 0:
            self._folder()


def history_settings(minutes: int) -> HistorySettings:
    """As much history as alerting looks at in a run of `minutes`; it reads no hours, so none of those."""
    return HistorySettings(
        weeks=0,
        before_ms=(HISTORY_BACK_MINUTES + MARGIN_MINUTES) * MINUTE_MS,
        after_ms=(minutes + HORIZON_MINUTES + MARGIN_MINUTES) * MINUTE_MS,
        last_ms=LIVE_MINUTES * MINUTE_MS,
    )


def messages(world: World, fault: Fault, seam_ms: int, end_ms: int) -> Iterator[tuple[int, bytes]]:
    """What the live audience sends after the seam: (time of arrival in epoch ms, payload) second by second."""
    players = Players.stationary_at(world, seam_ms)
    players.begin_reporting()
    played = Faults((fault,), players)
    for now_ms in range(seam_ms + STEP_MS, end_ms + STEP_MS, STEP_MS):
        rows = layout.joined(list(played.advance(now_ms)), layout.HEARTBEAT)
        if len(rows):
            yield now_ms, encode(batch_of(world, rows, np.full(len(rows), now_ms, np.int64)))
        else:
            yield now_ms, TICK


def run(store: ClickHouseStore, folder: Path, case: Case) -> dict[str, Any]:
    """One case from an empty store to its incidents."""
    for table in TABLES:
        store.command(f"TRUNCATE TABLE {table.name}")
    began_s = time.process_time()
    world = World(WorldConfig(seed=case.seed, viewers=case.viewers))
    at_ms = START_MS + case.seed * SEED_STEP_MS
    seam_ms = write_history(store, world, at_ms, DEFAULT_CUBES, settings=history_settings(case.minutes)).seam_ms
    quiet_until_ms = seam_ms + case.quiet_minutes * MINUTE_MS
    fault = CohortStall(start_ms=quiet_until_ms, end_ms=2 * quiet_until_ms, cohort=Cohort.of(cdn=world.cdns[0]))
    line = Line(store, f"seed-{case.seed}", case.seed % LAG_STEPS * LAG_STEP_MS)
    with contextlib.closing(SqliteState(folder / f"state-{case.seed}.db")) as state:
        engine = AlertEngine(store, state, clock_is_passed_in, read_rules(None))
        troubles: set[str] = set()
        for now_ms, payload in messages(world, fault, seam_ms, seam_ms + case.minutes * MINUTE_MS):
            line.append(now_ms, payload)
            line.work(now_ms)
            if now_ms % TICK_MS == 0:
                tick = engine.tick(now_ms)
                troubles |= {tick.error} if tick.error else {"stale"} if tick.stale else set()
        with state.transaction() as tx:
            incidents = [row.doc for row in tx.incidents()]
    return {
        "seed": case.seed,
        "counted": sum(row.counts["unique"] for row in ledger_rows(store)),
        "troubles": sorted(troubles),
        "before": [incident for incident in incidents if incident["opened_ms"] < quiet_until_ms],
        "after": [incident for incident in incidents if incident["opened_ms"] >= quiet_until_ms],
        "cpu_s": round(time.process_time() - began_s, 1),
    }


def clock_is_passed_in() -> int:
    """The engine's own clock, which nothing here may ask: every tick is given its time."""
    raise AssertionError("the engine read its clock though its tick was given the time")


def main(folder: Path, cases: str) -> None:
    """Run the cases one after the other over one store."""
    store = ClickHouseStore(f"chdb://{folder / 'store'}", KEEP_DAYS)
    for text in cases.split(","):
        print(json.dumps(run(store, folder, Case.of(text))), flush=True)
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
