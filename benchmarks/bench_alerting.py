"""CPU of one alerting tick: every shipped statistical rule over 10,000 slices, four weeks of history, four windows.

Prints one JSON line: µs a slice, tick and metric, split into the arithmetic of a tick, the once-a-minute baselines (a
sixth of them a tick), and the adding of new deltas. Usage: python benchmarks/bench_alerting.py [SLICES]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from alerting import evaluate
from alerting.arrays import HEARD, LIVE_MINUTES, History, LiveArrays, Rows, base_sums, signal_history
from alerting.budget import Budget
from alerting.incidents import Hits, Holds
from alerting.rules import KINDS
from alerting.ruleset import parse
from alerting.signals import signal_of
from tocsin.model.catalogue import METRICS

BUDGET_US = 2.0
NOW = 29_833_334
HISTORY_MINUTES = 80
ROUNDS = 5
TICKS_A_MINUTE = 6


def cpu_s(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median CPU seconds of a call."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return float(np.median(times))


def main(slices: int) -> dict[str, object]:
    """Measure and answer the line to print."""
    rng = np.random.default_rng(1)
    rules = parse((Path(__file__).parents[1] / "alerting" / "default_rules.yaml").read_text(), "default", METRICS)
    rules = tuple(rule for rule in rules if rule.metric in METRICS and KINDS[rule.kind].judge)
    signals = {rule.name: signal_of(rule.metric, rule.direction) for rule in rules}
    columns = tuple(dict.fromkeys([HEARD, *(name for signal in signals.values() for name in signal.columns())]))
    size = rng.lognormal(3.0, 1.5, slices)

    def draw(minutes: int) -> np.ndarray:
        return rng.poisson(size, (len(columns), minutes, slices)).astype(np.float32)

    live = LiveArrays(columns, (1, 5, 15, 60))
    for minute in range(NOW - LIVE_MINUTES + 1, NOW + 1):
        live.roll(minute)
        rows = Rows(np.full(slices, minute), np.arange(slices), draw(1)[:, 0].astype(float))
        live.add(rows)
    firsts = [NOW - week * 10_080 - 63 for week in range(1, 5)]
    history = History(columns, firsts, [draw(HISTORY_MINUTES) for _ in firsts], np.ones((4, slices), np.bool_))
    zone = ZoneInfo("UTC")
    windows = live.windows
    past = {name: signal_history(history, signal, windows) for name, signal in signals.items()}
    parents = np.zeros(slices, np.int64)
    dimensions = np.minimum(np.arange(slices), 2)
    members = np.ones(slices, np.bool_)
    explained = np.full(slices, -1, np.int64)
    hits = {rule.name: Hits(Holds()) for rule in rules}

    def rebase() -> dict[str, dict[int, object]]:
        return {
            rule.name: {w: base_sums(history, signals[rule.name], NOW, w, zone) for w in rule.windows} for rule in rules
        }

    bases = rebase()
    alphas = Budget().alphas(dimensions, len(rules))

    def tick() -> None:
        for rule in rules:
            judged = evaluate.judge(
                rule, signals[rule.name], live, bases[rule.name], past[rule.name], parents, members, alphas, NOW - 1,
                {}, explained,
            )  # fmt: skip
            hits[rule.name].update(judged.exceed, judged.strict, NOW * 60_000)

    delta = Rows(np.full(slices, NOW), np.arange(slices), draw(1)[:, 0].astype(float))
    tick()
    per = 1e6 / (slices * len(rules))
    tick_us = cpu_s(tick) * per
    rebase_us = cpu_s(rebase, 3) * per / TICKS_A_MINUTE
    add_us = cpu_s(lambda: live.add(delta)) * per
    total = tick_us + rebase_us + add_us
    return {
        "bench": "alerting", "slices": slices, "metrics": len(rules), "us_per_slice_tick_metric": round(total, 3),
        "tick_us": round(tick_us, 3), "baselines_us": round(rebase_us, 3), "deltas_us": round(add_us, 3),
        "budget_us": BUDGET_US, "ok": total <= BUDGET_US,
    }  # fmt: skip


if __name__ == "__main__":
    found = main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    print(json.dumps(found))
    sys.exit(0 if found["ok"] else 1)
