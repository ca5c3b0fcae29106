"""One audience through both runners, with kills on the way: the same answers, equal to pandas, nothing lost or double.

The distributed run is a real Kafka broker (4 partitions), real Faust workers and a real ClickHouse server. On the way
one worker is stopped between the two inserts of a bucket and killed, a second one joins and leaves, and the ClickHouse
server is killed while an insert runs. The test prints what it saw, and fails where nothing was at stake: no kill, no
lag at the kill, no bucket replayed, no duplicate removed.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from streaming_jobs import failpoint
from tests.e2e import audience as audiences
from tests.e2e import line, oracle
from tocsin.adapters.log.kafka import KafkaLogReader, KafkaLogWriter, KafkaTopic, ensure_topic
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.dev import process as proc
from tocsin.app.dev.clickhouse import ClickHouseServer
from tocsin.app.dev.kafka import KafkaServer
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.errors import UnavailableError

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(600)]
SEED = 11
QUERIES = line.queries()


@dataclass
class Seen:
    """What happened on the way; the first four prove that something was at stake."""

    kills: int = 0
    lag_at_kill: int = 0
    replayed_buckets: int = 0
    duplicates_removed: int = 0
    lost: int = 0
    double: int = 0
    gaps: int = 0
    overlaps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """What was seen on the way, the embedded store's answers in the order of queries.yaml, the server, the oracle."""

    seen: Seen
    embedded: list[Any]
    server: ClickHouseStore
    frames: dict[str, pd.DataFrame]
    base_ms: int


@dataclass
class Distributed:
    """Broker, store server and workers of one run."""

    kafka: KafkaServer
    clickhouse: ClickHouseServer
    folder: Path
    topic: KafkaTopic
    workers: list[proc.ServerProcess] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)

    def environment(self) -> dict[str, str]:
        """Configuration of a worker."""
        return {
            "TOCSIN_LOG": f"kafka://{self.topic.bootstrap}/{self.topic.name}",
            "TOCSIN_STORE": self.clickhouse.status().dsn,
            "TOCSIN_PORT": "0",
            "TOCSIN_PARTITIONS": str(line.PARTITIONS),
        }

    def start_worker(self, extra: dict[str, str] | None = None) -> proc.ServerProcess:
        """One more worker of the group."""
        worker = line.start_worker(self.environment(), self.log(len(self.workers)), extra)
        self.workers.append(worker)
        return worker

    def log(self, number: int) -> Path:
        """Log of the worker that was started as `number`."""
        return self.folder / f"worker-{number}.log"

    def report(self) -> str:
        """What the workers said last, for a failure."""
        return "\n".join(f"worker {n}: {proc.tail(self.log(n), 12)}" for n in range(len(self.workers)))

    def stop(self, worker: proc.ServerProcess, signum: int) -> None:
        """End a worker on purpose."""
        self.ended.add(worker.pid)
        worker.stop(signum, timeout_s=20)

    def wait(self, ready: Callable[[], bool], what: str, timeout_s: float = 90, poll_s: float = proc.POLL_S) -> None:
        """Wait for a condition while all workers live that should; a failure shows the workers' logs."""

        def checked() -> bool:
            for number, worker in enumerate(self.workers):
                if worker.pid not in self.ended and not worker.alive():
                    raise UnavailableError(f"worker {number} ended by itself: {proc.tail(self.log(number), 40)}")
            return ready()

        proc.wait_until(checked, what, timeout_s, self.report, poll_s)

    def stored_ends(self, store: ClickHouseStore) -> dict[int, int]:
        """Where the ledger ends, by partition."""
        rows = store.query(
            "SELECT log_partition, max(end_offset) FROM deltas WHERE cube = 'ledger' GROUP BY log_partition"
        )
        return {int(partition): int(end) for partition, end in rows}


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributed]:
    """Servers of this test's own: it kills them."""
    folder = tmp_path_factory.mktemp("line")
    kafka, clickhouse = KafkaServer(folder / "kafka"), ClickHouseServer(folder / "clickhouse")
    kafka.up()
    clickhouse.up()
    topic = KafkaTopic(kafka.status().bootstrap, f"heartbeats-{uuid.uuid4().hex[:6]}")
    ensure_topic(topic, line.PARTITIONS)
    made = Distributed(kafka, clickhouse, folder, topic)
    yield made
    for worker in made.workers:
        worker.stop(signal.SIGKILL)
    kafka.down(delete=True)
    clickhouse.down(delete=True)


class Sender(threading.Thread):
    """Sends the audience over `line.SENDING_MS / 1000`."""

    def __init__(self, audience: audiences.Audience, topic: KafkaTopic) -> None:
        super().__init__()
        self._packed = list(line.batches(audience))
        self._topic = topic

    def run(self) -> None:
        """Append batch by batch, paced."""
        writer = KafkaLogWriter(self._topic)
        began_s = time.monotonic()
        for number, items in enumerate(self._packed):
            due_s = began_s + line.SENDING_MS / 1000 * number / len(self._packed)
            with contextlib.suppress(ValueError):
                time.sleep(due_s - time.monotonic())
            writer.append(items)
        writer.close()


def kill_between_inserts(run: Distributed, worker: proc.ServerProcess, flag: Path, seen: Seen) -> set[tuple[int, int]]:
    """SIGKILL the worker that stands between raw and deltas; returns the buckets that it has left half stored."""
    run.wait(flag.exists, "the worker at the failpoint")
    store, reader = ClickHouseStore(run.clickhouse.status().dsn), KafkaLogReader(run.topic)
    ends = run.stored_ends(store)
    seen.lag_at_kill = sum(reader.end(p) - ends.get(p, reader.start(p)) for p in range(line.PARTITIONS))
    reader.close()
    run.stop(worker, signal.SIGKILL)
    seen.kills += 1
    half = store.query(
        "SELECT DISTINCT log_partition, start_offset FROM heartbeats WHERE (log_partition, start_offset) NOT IN "
        "(SELECT log_partition, start_offset FROM deltas WHERE cube = 'ledger')"
    )
    store.close()
    return {(int(partition), int(start)) for partition, start in half}


def join_and_leave(run: Distributed) -> None:
    """A second worker takes its share, stores a few buckets and leaves by SIGTERM."""
    number = len(run.workers)
    second = run.start_worker()
    run.wait(lambda: "partition opened" in run.log(number).read_text(), "the second worker's share")
    store = ClickHouseStore(run.clickhouse.status().dsn)
    before = store.query("SELECT count() FROM deltas WHERE cube = 'ledger'")[0][0]
    run.wait(
        lambda: store.query("SELECT count() FROM deltas WHERE cube = 'ledger'")[0][0] >= before + 8, "buckets of both"
    )
    store.close()
    run.stop(second, signal.SIGTERM)


def kill_store_in_an_insert(run: Distributed, seen: Seen) -> None:
    """SIGKILL the ClickHouse server when it shows a running insert, and start it again."""
    store = ClickHouseStore(run.clickhouse.status().dsn)
    running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'"
    run.wait(lambda: bool(store.query(running)[0][0]), "an insert to kill", 60, poll_s=0)
    run.clickhouse.kill()
    seen.kills += 1
    with pytest.raises(UnavailableError):
        store.query("SELECT 1")
    store.close()
    run.clickhouse.up()


@pytest.fixture(scope="module")
def result(distributed: Distributed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """Both runs done."""
    began_s = time.monotonic()
    seen = Seen()
    base_ms = time.time_ns() // 1_000_000
    audience = audiences.make(SEED, base_ms)
    frames = oracle.frames(audience.rows, audience.requests)
    embedded = json.loads(
        line.run_embedded("answers", str(SEED), str(base_ms), str(tmp_path_factory.mktemp("embedded")))
    )
    server = count_distributed(audience, distributed, seen)
    check_totals(server, frames, seen)
    seen.seconds = round(time.monotonic() - began_s, 1)
    print("\n" + json.dumps(asdict(seen)))
    yield Result(seen, embedded, server, frames, base_ms)
    server.close()


def count_distributed(audience: audiences.Audience, run: Distributed, seen: Seen) -> ClickHouseStore:
    """The audience through Kafka, two Faust workers and the ClickHouse server, with everything that goes wrong."""
    flag = run.folder / "failpoint"
    stopping = {
        "TOCSIN_FAILPOINT": failpoint.BETWEEN_INSERTS,
        "TOCSIN_FAILPOINT_FILE": str(flag),
        "TOCSIN_FAILPOINT_AFTER": "6",
    }
    first = run.start_worker(stopping)
    sender = Sender(audience, run.topic)
    sender.start()
    half_stored = kill_between_inserts(run, first, flag, seen)
    run.start_worker()
    join_and_leave(run)
    kill_store_in_an_insert(run, seen)
    sender.join()
    reader = KafkaLogReader(run.topic)
    ends = {partition: reader.end(partition) for partition in range(line.PARTITIONS)}
    store = ClickHouseStore(run.clickhouse.status().dsn)
    run.wait(lambda: all(run.stored_ends(store).get(p, 0) >= end for p, end in ends.items()), "the whole log counted")
    close_minute(run, store)
    proven = line.check_ledger(store, reader, run.stored_ends(store))
    reader.close()
    assert proven.problems == ()
    seen.gaps, seen.overlaps = proven.as_dict()["gaps"], proven.as_dict()["overlaps"]
    seen.duplicates_removed = proven.totals["duplicates"]
    ledger = store.query("SELECT log_partition, start_offset FROM deltas WHERE cube = 'ledger'")
    seen.replayed_buckets = len(half_stored & {(int(partition), int(start)) for partition, start in ledger})
    return store


def close_minute(run: Distributed, store: ClickHouseStore) -> None:
    """Ticks carry every partition past the minute in which sending ended; then the workers leave and all is folded."""
    passed_ms = (time.time_ns() // 60_000_000_000 + 1) * 60_000
    newest = "SELECT log_partition, max(append_ms) FROM deltas WHERE cube = 'ledger' GROUP BY log_partition"
    run.wait(lambda: min(int(ms) for _, ms in store.query(newest)) >= passed_ms, "ticks past the minute")
    for worker in run.workers:
        run.stop(worker, signal.SIGTERM)
    line.fold(store)


def check_totals(store: ClickHouseStore, frames: dict[str, pd.DataFrame], seen: Seen) -> None:
    """Heartbeats lost and stored twice, by (session, seq, minute), against what was sent."""
    rows = store.query("SELECT session_id, seq, toUnixTimestamp(minute), count() FROM heartbeats GROUP BY ALL")
    stored = {(session, int(seq), int(minute)): int(n) for session, seq, minute, n in rows}
    sent = set(frames["unique"][["session_id", "seq", "minute"]].itertuples(index=False, name=None))
    seen.lost = len(sent - stored.keys())
    seen.double = sum(n - 1 for n in stored.values()) + len(stored.keys() - sent)


def test_something_was_at_stake_and_nothing_was_lost(result: Result) -> None:
    """Void unless there were kills, lag at the kill, a replayed bucket and duplicates; then all must be exact."""
    seen = result.seen
    assert seen.kills >= 2
    assert seen.lag_at_kill > 0
    assert seen.replayed_buckets > 0
    assert seen.duplicates_removed > 0
    assert (seen.lost, seen.double, seen.gaps, seen.overlaps) == (0, 0, 0, 0)


@pytest.mark.parametrize("number", range(len(QUERIES)), ids=[entry["id"] for entry in QUERIES])
def test_both_stores_answer_as_the_oracle_does(result: Result, number: int) -> None:
    """The same rows from chdb, from the ClickHouse server, and from pandas."""
    wanted = oracle.answer(QUERIES[number], result.frames)
    line.assert_same(result.embedded[number], wanted, "embedded")
    line.assert_same(line.ask(result.server, QUERIES[number], result.base_ms), wanted, "distributed")


def test_there_are_enough_queries_over_every_cube_and_table() -> None:
    """At least twenty, and every table and cube of the default set is asked."""
    text = " ".join(entry.get("sql", "") for entry in QUERIES)
    assert len(QUERIES) >= 20
    for cube in DEFAULT_CUBES:
        assert f"cube = '{cube.name}'" in text
    for table in ("deltas", "heartbeats", "sessions", "minutes"):
        assert f"FROM {table}" in text
