"""CPU of the whole line, µs a heartbeat by stage, through both runners, at 20 heartbeats a request.

    python benchmarks/bench_line.py [--seconds 20] [--rate 40000] [--runner embedded|kafka] [--check]   (CHECK=1 too)

`embedded` is `tocsin up`: a gateway process and a core with the jobs and chdb. `kafka` is a gateway, an Apache Kafka
broker, a Faust worker, a ClickHouse server and the query role, a process each. For each runner:

1. the load runs while marked heartbeats are timed until a graph shows them, which also warms everything up;
2. nobody sends, and every process's idle CPU is taken;
3. the load runs alone; each process's CPU until all of it is counted, less its idle share, is divided by the heartbeats
   acked;
4. log and store are compared row by row with what was acked.

The broker, the store (server, or the embedded engine with the calls into it) and the sender are apart; `rest` is
alerting, probe and query.

CPU time, not wall time, yet neighbours on the machine's cores and caches stretch that, too. So a bare ASGI + msgspec
handler is measured just before and after each runner, as in `bench_ingest.py`; figures are also given as ratios to it,
and `budget_here_us` is the budget times what the bare handler takes longer (`machine_slower`) than on the machine that
budgets were set on. A check holds the budgets as they stand, with `--scaled` those. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import bench_ingest
import line_processes
from line_freshness import MARK_EVERY_S, Marks
from line_load import HEARTBEATS, INTERVAL_MS, LATE_S_MAX, Group, Load, Sent, groups, now_ms
from line_processes import Line

from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.dev.process import wait_until
from tocsin.app.doctor import SETTLE_MS, ledger_report
from tocsin.app.logs import open_reader

BUDGET_US = {"embedded": 8.0, "kafka": 12.0}
GOAL_US = {"kafka": 5.0}
FRESHNESS_S_P95 = 15.0
PARTITIONS = {"embedded": 1, "kafka": 2}
RUNNERS: dict[str, Callable[[Path, int], AbstractContextManager[Line]]] = {
    "embedded": line_processes.embedded,
    "kafka": line_processes.distributed,
}
SETTLE_S = 4.0
IDLE_S = 8.0
MARKS_AFTER_S = 5.0
DRAIN_S = 60.0
REFERENCE_S = 1.5


def counted_until(line: Line, at_ms: int) -> None:
    """Wait until everything appended before `at_ms` is in the store."""
    wait_until(lambda: int(line.status()["complete_until_ms"]) >= at_ms, "the load to be counted", DRAIN_S, poll_s=0.5)


def cpu_of(line: Line, work: Callable[[], Any]) -> tuple[dict[str, float], float, Any]:
    """CPU seconds by stage and wall seconds of `work`, and its result."""
    before, began_s = line.cpu(), time.monotonic()
    result = work()
    after, seconds = line.cpu(), time.monotonic() - began_s
    return {name: after[name] - before[name] for name in after}, seconds, result


def loaded(line: Line, load: Load, seconds: float) -> tuple[Sent, int]:
    """Send, and wait until what was sent is counted; also returns when the last was acked (epoch ms)."""
    sent, at_ms = load.run(seconds), now_ms()
    counted_until(line, at_ms)
    return sent, at_ms


def measured(line: Line, audience: list[Group], seconds: float) -> tuple[dict[str, Any], int, int]:
    """Figures of a running line, the heartbeats acked in all, and when the last was (epoch ms)."""
    load = Load(line.gateway, audience)
    marks = Marks(line.gateway, line.query, max(1, int((seconds - MARKS_AFTER_S - 2) / MARK_EVERY_S)))
    thread, warm = load.start(seconds)
    time.sleep(MARKS_AFTER_S)
    marks.start()
    fresh = marks.result()
    thread.join()
    counted_until(line, now_ms())
    time.sleep(SETTLE_S)
    idle, idle_s, _ = cpu_of(line, lambda: time.sleep(IDLE_S))
    spent, wall_s, (sent, sent_until_ms) = cpu_of(line, lambda: loaded(line, load, seconds))
    net = {name: (cpu - idle[name] / idle_s * wall_s) / sent.acked * 1e6 for name, cpu in spent.items()}
    figures = {
        "heartbeats": sent.acked, "heartbeats_per_s": round(sent.acked / seconds), "partitions": line.config.partitions,
        "us_per_heartbeat": {
            "gateway_and_worker": round(net["gateway"] + net["worker"], 2),
            **{name: round(us, 2) for name, us in sorted(net.items())},
            "sender": round(sent.cpu_s / sent.acked * 1e6, 2),
        },
        "idle_cpu_share": {name: round(cpu / idle_s, 4) for name, cpu in sorted(idle.items())},
        "freshness_s": fresh.as_dict(), "answered_503": warm[0].busy + sent.busy,
        "late_s_max": round(sent.late_s_max, 3),
    }  # fmt: skip
    return figures, warm[0].acked + sent.acked + len(fresh.seconds) + fresh.unseen, sent_until_ms


def proof(line: Line, acked: int, until_ms: int) -> dict[str, Any]:
    """The ledger of a line at rest: its own equations, and raw rows and sums against what was acked."""
    store = ClickHouseStore(line.config.store_dsn)
    with contextlib.closing(store), contextlib.closing(open_reader(line.config)) as reader:
        found = ledger_report(store, reader, until_ms + SETTLE_MS, quiet=True)
        rows, distinct = store.query("SELECT count(), uniqExact(session_id, seq) FROM heartbeats")[0]
        summed = store.query("SELECT sum(heartbeats) FROM deltas WHERE cube = 'all'")[0][0]
    lost = max(acked - int(distinct), acked - int(summed), found.lost, 0)
    double = max(int(rows) - int(distinct), int(summed) - acked, found.double, 0)
    return {"acked": acked, "balanced": found.balanced, "lost": lost, "double": double, "problems": found.problems[:3]}


def run(runner: str, audience: list[Group], seconds: float) -> dict[str, Any]:
    """One runner's figures."""
    with tempfile.TemporaryDirectory(prefix="bench-line-") as folder:
        with RUNNERS[runner](Path(folder), PARTITIONS[runner]) as line:
            figures, acked, until_ms = measured(line, audience, seconds)
            if not line.core:
                figures["ledger"] = proof(line, acked, until_ms)
        if line.core:
            figures["ledger"] = proof(line, acked, until_ms)
    return figures


def reference() -> dict[int, float]:
    """µs a heartbeat of a bare handler, by heartbeats a request."""
    return {size: bench_ingest.measure("bare", size, REFERENCE_S)["us_per_heartbeat"] for size in (1, HEARTBEATS)}


def judged(runner: str, figures: dict[str, Any], references: list[dict[int, float]]) -> dict[str, Any]:
    """The figures beside the reference, and the budget on this machine."""
    bare_us = {size: sum(one[size] for one in references) / len(references) for size in references[0]}
    slower = max(1.0, bare_us[1] / bench_ingest.REFERENCE_US)
    us = figures["us_per_heartbeat"]["gateway_and_worker"]
    return figures | {
        "reference_us": round(bare_us[HEARTBEATS], 2), "ratio_to_reference": round(us / bare_us[HEARTBEATS], 2),
        "machine_slower": round(slower, 2), "budget_us": BUDGET_US[runner],
        "budget_here_us": round(BUDGET_US[runner] * slower, 2), "within_budget": us <= BUDGET_US[runner],
        "within_budget_here": us <= BUDGET_US[runner] * slower,
    }  # fmt: skip


def missed(runner: str, figures: dict[str, Any], *, scaled: bool) -> list[str]:
    """What the runner's figures lack of what was promised, in words; `scaled`: by the budget on this machine."""
    budget_us = figures["budget_here_us" if scaled else "budget_us"]
    us, ledger, p95 = figures["us_per_heartbeat"], figures["ledger"], figures["freshness_s"]["p95"]
    found = []
    if us["gateway_and_worker"] > budget_us:
        found.append(f"{runner}: gateway and worker {us['gateway_and_worker']} µs, not {budget_us}")
    if not ledger["balanced"] or ledger["lost"] or ledger["double"]:
        found.append(f"{runner}: ledger {ledger}")
    if p95 is None or p95 > FRESHNESS_S_P95:
        found.append(f"{runner}: freshness {p95} s at the 95th percentile, not {FRESHNESS_S_P95}")
    if figures["late_s_max"] > LATE_S_MAX:
        found.append(f"{runner}: the rate was not held, a request was {figures['late_s_max']} s late")
    return found


def main() -> None:
    """Measure, print, and with a check fail where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=int, default=40_000, help="heartbeats a second")
    parser.add_argument("--runner", choices=sorted(RUNNERS), action="append")
    parser.add_argument("--check", action="store_true", default=os.environ.get("CHECK", "") not in ("", "0"))
    parser.add_argument("--scaled", action="store_true", help="judge by the budgets times this machine's slowness")
    options = parser.parse_args()
    began_s = time.monotonic()
    result: dict[str, Any] = {"bench": "line", "heartbeats_a_request": HEARTBEATS}
    audience = groups(round(options.rate * INTERVAL_MS / 1_000 / HEARTBEATS), seed=7)
    lacking: list[str] = []
    for runner in options.runner or RUNNERS:
        before = reference()
        figures = run(runner, audience, options.seconds)
        figures = judged(runner, figures, [before, reference()])
        print(f"{runner}: {figures}", flush=True)
        lacking += missed(runner, figures, scaled=options.scaled)
        result[runner] = figures
    result |= {"goal_us": GOAL_US, "missed": lacking, "within_figures": not lacking,
               "seconds": round(time.monotonic() - began_s, 1)}  # fmt: skip
    print(json.dumps(result))
    if options.check and lacking:
        sys.exit(1)


if __name__ == "__main__":
    main()
