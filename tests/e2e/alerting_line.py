"""Run as a program: a seeded audience, its faults, the engine's ticks; prints what was paged as JSON.

A process of its own, because a process can open one chdb path.
Arguments: SCENARIO SEED FOLDER; scenarios are the keys of `FAULTS`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from alerting.desk import Receiver
from alerting.engine import AlertEngine, EngineConfig, Flag
from alerting.incidents import Holds
from alerting.ruleset import parse
from tests.alerting_world import Fault, Live, World, fill_history
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.catalogue import METRICS

MINUTE_MS = 60_000
START_MS = 1_790_000_040_000 // MINUTE_MS * MINUTE_MS
KEEP_DAYS = dict.fromkeys(("deltas", "minutes", "heartbeats", "series"), 40_000)
"""The audience lives at a fixed time, long past: nothing of it may expire."""
WARM_STEPS = 6 * 20
TICKS = 6 * 18
STALLS = Fault({"cdn": "b", "device": "tv"}, stall=25.0)
FREEZE = Fault({"stream": "s05"}, freeze=0.4)
FAULTS: dict[str, list[Fault]] = {
    "quiet": [],
    "stall": [STALLS],
    "freeze": [FREEZE],
    "both": [STALLS, FREEZE],
    "start_failure": [Fault({"region": "jp"}, start_failed=0.4)],
    "av": [Fault({"stream": "s03"}, av_shift_ms=200.0)],
    "bitrate": [Fault({"cdn": "c"}, bitrate=0.4)],
    "drained": [STALLS],
    "no_history": [STALLS],
}


def main(scenario: str, seed: int, folder: Path) -> dict[str, Any]:
    """The scenario's pages, incidents at its end, flags, and false ticks before the onset."""
    store = ClickHouseStore(f"chdb://{folder / 'store'}", KEEP_DAYS)

    def insert(table: str, rows: pa.Table) -> None:
        store.insert(table, rows)

    world = World(seed)
    if scenario != "no_history":
        fill_history(world, insert, START_MS // MINUTE_MS)
    live = Live(world, insert, START_MS - WARM_STEPS * 10_000)
    for _ in range(WARM_STEPS):
        live.advance()
    rules = parse((Path("alerting") / "default_rules.yaml").read_text(), "default rules", METRICS)
    flags: list[Flag] = []
    state = SqliteState(folder / "state.sqlite")
    config = EngineConfig(
        base_url="http://tocsin.test", holds=Holds(close_ms=120_000), receivers=[Receiver("hook")], refine_ms=180_000
    )
    engine = AlertEngine(store, state, lambda: live.now_ms, rules, config, flags.append)
    opened_ms: dict[str, int] = {}
    cpu = 0.0
    for step in range(TICKS):
        if step == 18:
            world.faults = FAULTS[scenario]
        if scenario == "drained" and step == 48:
            world.faults = [replace(STALLS, stall=1.0, gone=True)]
        elif scenario != "drained" and step == 6 * 9:
            world.faults = []
        now = live.advance()
        began = time.process_time()
        report = engine.tick(now)
        cpu += time.process_time() - began
        for incident in report.opened:
            opened_ms[incident] = now - (START_MS + 18 * 10_000)
    with state.transaction() as tx:
        pages = [row.payload for row in reversed(tx.deliveries())]
        incidents = [row.doc for row in tx.incidents()]
        lines = {row["id"]: [[t.at_ms - START_MS, t.kind, t.text] for t in tx.timeline(row["id"])] for row in incidents}
    return {
        "pages": pages,
        "incidents": incidents,
        "timeline": lines,
        "opened_after_ms": opened_ms,
        "flags": [[flag.rule, list(flag.streams)] for flag in flags],
        "slices": len(engine.sensors.index),
        "tick_ms": cpu / TICKS * 1000,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
