"""The embedded runner over a log and an embedded store, as a program that a test may kill.

Arguments: folder, number of partitions, milliseconds that the runner's clock is ahead, offsets of all partitions that
end the run once committed (comma-separated).
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from streaming_jobs.embedded import EmbeddedRunner
from tests.jobs_world import SETTINGS
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.cubes import DEFAULT_CUBES

KEEP_DAYS = dict.fromkeys(("deltas", "heartbeats", "minutes", "hours", "sessions", "series", "quarantine"), 20_000)
"""Long enough for any date of a test, and short enough for the store's DateTime, which ends in 2106."""


def open_store(folder: Path) -> ClickHouseStore:
    """The embedded store of a test, which keeps old dates."""
    return ClickHouseStore(f"chdb://{folder / 'store'}", KEEP_DAYS)


def run_until(runner: EmbeddedRunner, ends: list[int]) -> None:
    """Count until each partition has committed up to its offset."""
    stop = threading.Event()
    while any(one.committed_offset < end for one, end in zip(runner.status().partitions, ends, strict=True)):
        if not runner.step(stop):
            stop.wait(0.01)


def main() -> None:
    """Run as a child process of a kill test."""
    folder, partitions, now_ms = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    log = LocalLog(folder / "log.sqlite", lambda: now_ms, partitions)
    store = open_store(folder)
    runner = EmbeddedRunner(log, log, store, DEFAULT_CUBES, SETTINGS, lambda: now_ms)
    run_until(runner, [int(end) for end in sys.argv[4].split(",")])
    store.close()
    log.close()


if __name__ == "__main__":
    main()
