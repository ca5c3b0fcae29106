"""Workers that join, leave and die take every record once, and stop within seconds."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import signal
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin.adapters.log.kafka import KafkaLogReader, KafkaLogWriter, KafkaTopic, ensure_topic
from tocsin.app.dev import process as proc
from tocsin.app.dev.kafka import KafkaServer

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
BUCKET_MS = 500


class Group:
    """Worker processes of one consumer group over one topic, and the database they write to."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.topic = KafkaTopic(bootstrap, f"t-{uuid.uuid4().hex[:8]}")
        self.database = folder / "store.db"
        self.folder = folder
        self.workers: list[proc.ServerProcess] = []
        ensure_topic(self.topic, PARTITIONS)

    def start(self) -> proc.ServerProcess:
        """One more worker."""
        program = str(Path(__file__).with_name("recording_worker.py"))
        arguments = [self.topic.bootstrap, self.topic.name, "g-" + self.topic.name, str(BUCKET_MS), str(self.database)]
        env = dict(os.environ) | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        worker = proc.spawn([sys.executable, program, *arguments], self.log(len(self.workers)), env)
        self.workers.append(worker)
        return worker

    def log(self, number: int) -> Path:
        """Log of the worker started as `number`."""
        return self.folder / f"worker-{number}.log"

    def query(self, sql: str) -> list[tuple[int, ...]]:
        """Rows of the workers' database; none before the first bucket."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as store:
            try:
                return store.execute(sql).fetchall()
            except sqlite3.OperationalError:
                return []

    def stored(self) -> int:
        """Records stored so far."""
        found = self.query("SELECT count(*) FROM records")
        return int(found[0][0]) if found else 0

    def wait_stored(self, count: int, timeout_s: float = 60) -> None:
        """Until so many records are stored."""
        proc.wait_until(lambda: self.stored() >= count, f"{count} records", timeout_s, self.report)

    def report(self) -> str:
        """How far it came, and what the workers said last."""
        logs = "\n".join(proc.tail(self.log(n), 8) for n in range(len(self.workers)))
        return f"{self.stored()} records stored. {logs}"

    def partitions_seen_since(self, rows: int) -> set[int]:
        """Partitions of buckets stored after the first `rows` ones."""
        return {row[0] for row in self.query("SELECT partition FROM buckets ORDER BY rowid")[rows:]}

    def close(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.stop(signal.SIGKILL)


@pytest.fixture
def group(kafka_server: KafkaServer, tmp_path: Path) -> Iterator[Group]:
    """A topic and no worker yet."""
    made = Group(kafka_server.status().bootstrap, tmp_path)
    yield made
    made.close()


class Feed:
    """A thread that appends numbered records until it is stopped."""

    def __init__(self, topic: KafkaTopic) -> None:
        self.sent = 0
        self._writer = KafkaLogWriter(topic)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            items = [((self.sent + n) % PARTITIONS, f"{self.sent + n}".encode()) for n in range(PARTITIONS)]
            self._writer.append(items)
            self.sent += PARTITIONS

    def stop(self) -> int:
        """Stop, and say how many were sent."""
        self._stop.set()
        self._thread.join()
        self._writer.close()
        return self.sent


def assert_each_once(group: Group, sent: int) -> None:
    """Every record stored once, and the intervals tile each partition from its start."""
    counts = collections.Counter(int(row[0]) for row in group.query("SELECT payload FROM records"))
    assert sorted(counts) == list(range(sent))
    assert set(counts.values()) == {1}
    reader = KafkaLogReader(group.topic)
    for partition in range(PARTITIONS):
        intervals = group.query(f'SELECT start, "end" FROM buckets WHERE partition = {partition} ORDER BY start')
        assert intervals[0][0] == reader.start(partition)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(intervals))
    reader.close()


def test_workers_that_join_leave_and_die_take_each_record_once(group: Group) -> None:
    """A second worker joins, leaves by SIGTERM in time, joins again and is killed: nothing is lost or repeated."""
    group.start()
    feed = Feed(group.topic)
    try:
        group.wait_stored(200)
        second = group.start()
        proc.wait_until(lambda: "partitions assigned" in group.log(1).read_text(), "the second's share", 60)
        group.wait_stored(group.stored() + 800)
        began_s = time.monotonic()
        second.stop(signal.SIGTERM, timeout_s=20)
        stopped_s = time.monotonic() - began_s
        group.wait_stored(group.stored() + 800)
        third = group.start()
        proc.wait_until(lambda: "partitions assigned" in group.log(2).read_text(), "the third's share", 60)
        group.wait_stored(group.stored() + 400)
        third.stop(signal.SIGKILL)
        rows = len(group.query("SELECT partition FROM buckets"))
        proc.wait_until(lambda: group.partitions_seen_since(rows) == set(range(PARTITIONS)), "all partitions again", 60)
    finally:
        sent = feed.stop()
    group.wait_stored(sent)
    assert_each_once(group, sent)
    assert stopped_s < 5
    assert group.workers[0].alive()


def test_a_silent_partition_is_closed_by_a_tick(group: Group) -> None:
    """A record that nothing follows is stored all the same, because the owner appends a tick."""
    writer = KafkaLogWriter(group.topic)
    group.start()
    writer.append([(partition, f"{partition}".encode()) for partition in range(PARTITIONS)])
    writer.close()
    group.wait_stored(PARTITIONS)
    assert_each_once(group, PARTITIONS)


def test_a_worker_whose_store_fails_ends_itself_and_the_next_one_goes_on(group: Group) -> None:
    """An exception in a job ends the process with status 70; nothing is lost for the next start."""
    group.database.mkdir()
    worker = group.start()
    writer = KafkaLogWriter(group.topic)
    writer.append([(n % PARTITIONS, f"{n}".encode()) for n in range(40)])
    writer.close()
    proc.wait_until(lambda: not worker.alive(), "the worker's end", 60)
    assert "worker ends itself" in group.log(0).read_text()
    group.database.rmdir()
    group.start()
    group.wait_stored(40)
    assert_each_once(group, 40)
