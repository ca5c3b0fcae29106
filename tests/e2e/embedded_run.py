"""Run as a program: the embedded line in a process of its own, because a process can open one chdb path.

answers SEED BASE_MS FOLDER   the audience of test_kafka_line through the embedded log and chdb; prints, as JSON, the
                              answer to each of queries.yaml
fill SEED LOG                 writes the log of test_replay: 14 minutes of an audience, three horizons of its settings
digest LOG STORE CUT_SEED     counts that log into a new store and prints a digest of every table; with a CUT_SEED the
                              counting stops at a random offset of each partition and a new job goes on from there
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import structlog

from streaming_jobs.partition_job import PartitionJob
from streaming_jobs.steps.settings import CountingSettings
from tests.e2e import audience as audiences
from tests.e2e import line
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.records import TICK

REPLAY_BASE_MS = 1_790_000_000_000
REPLAY_SPAN_MS = 14 * 60_000
REPLAY_SETTINGS = CountingSettings(
    bucket_ms=10_000, lateness_ms=180_000, future_ms=30_000, timeout_ms=60_000, slack_ms=20_000
)
DIGESTED = ("deltas", "heartbeats", "series", "quarantine")


def answers(seed: int, base_ms: int, folder: Path) -> list[Any]:
    """Count the audience, then ask every query."""
    audience = audiences.make(seed, base_ms)
    clock = line.FakeClock(base_ms)
    log = line.fill_local_log(audience, folder / "log.db", clock, line.SENDING_MS)
    store = ClickHouseStore(f"chdb://{folder / 'store'}", line.KEEP_DAYS)
    line.run_embedded_line(log, clock, store)
    found = [line.ask(store, entry, base_ms) for entry in line.queries()]
    log.close()
    store.close()
    return found


def fill(seed: int, path: Path) -> None:
    """Append the audience at the times it was sent, with poison in between, and a tick every 10 s."""
    audience = audiences.make(seed, REPLAY_BASE_MS, sessions=150, span_ms=REPLAY_SPAN_MS, silent_share=0.2)
    clock = line.FakeClock(audience.sent_ms[0])
    log = LocalLog(path, clock.now_ms, line.PARTITIONS)
    ticked_ms = clock.ms
    for number, (sent_ms, request) in enumerate(zip(audience.sent_ms, audience.requests, strict=True)):
        while ticked_ms + 10_000 <= sent_ms:
            ticked_ms = clock.ms = ticked_ms + 10_000
            log.append([(partition, TICK) for partition in range(line.PARTITIONS)])
        clock.ms = max(clock.ms, sent_ms)
        log.append(audience.messages([request], line.PARTITIONS))
        if number % 97 == 0:
            log.append([(number % line.PARTITIONS, b"TCH1 no message")])
    clock.ms += 200_000
    log.append([(partition, TICK) for partition in range(line.PARTITIONS)])
    log.close()


def digest(path: Path, store_path: Path, cut_seed: int | None) -> dict[str, Any]:
    """Count the log into a new store; rows and a checksum that is independent of their order, by table."""
    log = LocalLog(path, lambda: REPLAY_BASE_MS, line.PARTITIONS)
    store = ClickHouseStore(f"chdb://{store_path}", line.KEEP_DAYS)
    cuts = random.Random(cut_seed)
    for partition in range(line.PARTITIONS):
        if cut_seed is not None:
            cut = cuts.randrange(log.start(partition) + 1, log.end(partition))
            line.count_partition(_job(partition, store), log, partition, cut)
        line.count_partition(_job(partition, store), log, partition)
    found: dict[str, Any] = {}
    row_hash = "cityHash64(toString(tuple(*)))"
    for table in DIGESTED:
        checksums = f"SELECT count(), sum(row), groupBitXor(row) FROM (SELECT {row_hash} AS row FROM {table})"
        found[table] = [int(value) for value in store.query(checksums)[0]]
    timeouts = "SELECT sum(timeouts) FROM deltas WHERE cube = 'all'"
    found["timeouts"] = int(store.query(timeouts)[0][0])
    store.close()
    log.close()
    return found


def _job(partition: int, store: ClickHouseStore) -> PartitionJob:
    return line.new_job(partition, store, REPLAY_BASE_MS, REPLAY_SETTINGS)


def main() -> None:
    """See the module; the log goes to stderr."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    command, *arguments = sys.argv[1:]
    if command == "answers":
        print(json.dumps(answers(int(arguments[0]), int(arguments[1]), Path(arguments[2]))))
    elif command == "fill":
        fill(int(arguments[0]), Path(arguments[1]))
    else:
        cut_seed = int(arguments[2]) if len(arguments) > 2 else None
        print(json.dumps(digest(Path(arguments[0]), Path(arguments[1]), cut_seed)))


if __name__ == "__main__":
    main()
