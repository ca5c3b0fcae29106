"""The laws of the log port, asserted over the embedded log and over a real Kafka broker."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tocsin.adapters.log.kafka import KafkaLogReader, KafkaLogWriter, KafkaTopic, ensure_topic
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.log.port import LogReader, LogWriter, Record, partition_of
from tocsin.model.errors import UnavailableError

PARTITIONS = 3


class Logs:
    """One log of `PARTITIONS` partitions, and as many writers and readers over it as a test wants."""

    def __init__(self, writer: Callable[[], LogWriter], reader: Callable[[], LogReader]) -> None:
        self._new_writer = writer
        self._new_reader = reader
        self._opened: list[LogWriter | LogReader] = []

    def writer(self) -> LogWriter:
        """A new writer."""
        made = self._new_writer()
        self._opened.append(made)
        return made

    def reader(self) -> LogReader:
        """A new reader."""
        made = self._new_reader()
        self._opened.append(made)
        return made

    def close(self) -> None:
        """Close all that was opened."""
        for one in self._opened:
            one.close()


def local_logs(folder: Path) -> Logs:
    """Logs over one SQLite file."""

    def opened() -> LocalLog:
        return LocalLog(folder / "log.db", lambda: time.time_ns() // 1_000_000, PARTITIONS)

    return Logs(opened, opened)


def kafka_logs(bootstrap: str) -> Logs:
    """Logs over a topic of its own."""
    topic = KafkaTopic(bootstrap, f"log-{uuid.uuid4().hex[:8]}")
    ensure_topic(topic, PARTITIONS)
    return Logs(lambda: KafkaLogWriter(topic), lambda: KafkaLogReader(topic))


@pytest.fixture(params=["local", pytest.param("kafka", marks=pytest.mark.kafka)])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Logs]:
    """Each adapter in turn."""
    if request.param == "local":
        made = local_logs(tmp_path)
    else:
        made = kafka_logs(request.getfixturevalue("kafka_server").status().bootstrap)
    yield made
    made.close()


def read_all(reader: LogReader, partition: int, offset: int = 0, records_max: int = 256) -> list[Record]:
    """Every record from `offset` to the end."""
    records: list[Record] = []
    while found := reader.read(partition, offset, records_max):
        records += found
        offset = found[-1].offset + 1
    return records


def test_what_append_returned_from_is_read_once_in_order_with_its_bytes(logs: Logs) -> None:
    """Law 1 and 2: another reader sees each payload once, in append order, byte for byte."""
    writer = logs.writer()
    sent = [bytes([n % 256]) * (1 + 37 * n) for n in range(50)]
    for one in sent:
        writer.append([(1, one)])
    records = read_all(logs.reader(), 1)
    assert [record.payload for record in records] == sent
    assert all(a.offset < b.offset for a, b in itertools.pairwise(records))
    assert {record.partition for record in records} == {1}


def test_one_append_spreads_over_partitions_and_keeps_order_within_each(logs: Logs) -> None:
    """Law 2: payloads of one call land in the partitions named, in order."""
    items = [(n % PARTITIONS, f"{n}".encode()) for n in range(60)]
    logs.writer().append(items)
    reader = logs.reader()
    for partition in range(PARTITIONS):
        expected = [payload for where, payload in items if where == partition]
        assert [record.payload for record in read_all(reader, partition)] == expected


def test_a_read_stops_at_records_max_and_goes_on_from_any_offset(logs: Logs) -> None:
    """Law 5: the reader has no memory; any offset can be read again, in any order."""
    logs.writer().append([(0, f"{n}".encode()) for n in range(30)])
    reader = logs.reader()
    whole = read_all(reader, 0)
    assert len(reader.read(0, whole[0].offset, records_max=7)) <= 7
    assert read_all(reader, 0, records_max=7) == whole
    for index in (25, 3, 17, 3):
        assert read_all(reader, 0, whole[index].offset) == whole[index:]


def test_records_carry_the_logs_stamp(logs: Logs) -> None:
    """Law 3: `append_ms` is the time of append, and does not fall while the clock does not."""
    writer = logs.writer()
    before_ms = time.time_ns() // 1_000_000
    for n in range(5):
        writer.append([(0, f"{n}".encode())])
    after_ms = time.time_ns() // 1_000_000
    stamps = [record.append_ms for record in read_all(logs.reader(), 0)]
    assert before_ms <= stamps[0] <= stamps[-1] <= after_ms
    assert stamps == sorted(stamps)


def test_offset_at_finds_the_first_record_of_a_time(logs: Logs) -> None:
    """Law 4: the first offset appended at or after the time; the end where none was."""
    writer = logs.writer()
    for n in range(12):
        writer.append([(2, f"{n}".encode())])
    reader = logs.reader()
    records = read_all(reader, 2)
    for wanted_ms in {record.append_ms for record in records}:
        first = next(record.offset for record in records if record.append_ms >= wanted_ms)
        assert reader.offset_at(2, wanted_ms) == first
    assert reader.offset_at(2, 0) == records[0].offset
    assert reader.offset_at(2, records[-1].append_ms + 1) == reader.end(2)


def test_start_and_end_enclose_the_records(logs: Logs) -> None:
    """`start` is the first kept offset, `end` lies past the last; an empty partition reads as nothing."""
    reader = logs.reader()
    assert reader.start(0) == reader.end(0)
    assert reader.read(0, reader.end(0)) == []
    logs.writer().append([(0, b"one"), (0, b"two")])
    records = read_all(reader, 0)
    assert reader.start(0) == records[0].offset
    assert reader.end(0) == records[-1].offset + 1
    assert reader.read(0, reader.end(0)) == []


def test_a_waiting_read_returns_when_a_record_comes(logs: Logs) -> None:
    """`wait_ms` bounds the wait for the first record: one that comes meanwhile is returned."""
    reader, writer = logs.reader(), logs.writer()
    assert reader.read(0, 0, wait_ms=30) == []
    appender = threading.Timer(0.1, lambda: writer.append([(0, b"late")]))
    appender.start()
    found = reader.read(0, 0, wait_ms=20_000)
    appender.join()
    assert [record.payload for record in found] == [b"late"]


def test_writers_at_once_lose_and_double_nothing(logs: Logs) -> None:
    """Law 1 and 2 with four threads on one writer and a second writer beside it."""
    shared = logs.writer()
    writers = [shared, shared, shared, logs.writer()]

    def run(number: int) -> None:
        for n in range(25):
            writers[number].append([(n % PARTITIONS, f"{number}:{n}".encode())])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = logs.reader()
    found = [record.payload.decode() for partition in range(PARTITIONS) for record in read_all(reader, partition)]
    assert sorted(found) == sorted(f"{number}:{n}" for number in range(len(writers)) for n in range(25))
    for number in range(len(writers)):
        of_one = [int(text.split(":")[1]) for text in found if text.startswith(f"{number}:")]
        assert all(of_one.index(n) < of_one.index(n + PARTITIONS) for n in range(25 - PARTITIONS))


def test_a_large_payload_comes_back_whole(logs: Logs) -> None:
    """A message of several megabytes is one record."""
    payload = bytes(range(256)) * 16 * 1024
    logs.writer().append([(0, payload), (0, b"after")])
    assert [record.payload for record in read_all(logs.reader(), 0)] == [payload, b"after"]


def test_a_closed_writer_refuses(logs: Logs) -> None:
    """Appending after `close` raises `UnavailableError` and stores nothing."""
    writer = logs.writer()
    writer.close()
    with pytest.raises(UnavailableError):
        writer.append([(0, b"x")])
    reader = logs.reader()
    assert reader.end(0) == reader.start(0)


def test_partitions_are_fixed_and_a_session_has_one(logs: Logs) -> None:
    """Law 6: writer and reader agree on the number; a session's partition depends on its id alone."""
    assert logs.writer().partitions == logs.reader().partitions == PARTITIONS
    homes = [partition_of(f"session-{n}", PARTITIONS) for n in range(300)]
    assert homes == [partition_of(f"session-{n}", PARTITIONS) for n in range(300)]
    assert {homes.count(partition) > 50 for partition in range(PARTITIONS)} == {True}
