"""The development servers keep their data over SIGKILL, start once, and stop only what they started."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from typer.testing import CliRunner

from tocsin.app.dev import process as proc
from tocsin.app.dev.clickhouse import DATABASE, ClickHouseServer
from tocsin.app.dev.kafka import KafkaServer
from tocsin.cli.dev import app


@pytest.fixture
def own_clickhouse(tmp_path: Path) -> Iterator[ClickHouseServer]:
    """A ClickHouse server that the test may kill."""
    server = ClickHouseServer(tmp_path / "clickhouse")
    server.up()
    yield server
    server.down()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker that the test may kill."""
    server = KafkaServer(tmp_path / "kafka")
    server.up()
    yield server
    server.down()


def ask(server: ClickHouseServer, statement: str, **settings: str) -> str:
    """The server's answer to one statement as user tocsin."""
    dsn = httpx.URL(server.status().dsn)
    reply = httpx.post(
        server.status().url,
        content=statement,
        params={"database": DATABASE, **settings},
        auth=(dsn.username, dsn.password),
        timeout=30,
    )
    assert reply.status_code == httpx.codes.OK, reply.text
    return reply.text.strip()


def token(name: str) -> dict[str, str]:
    """Settings of an insert that counts once by its name."""
    return {"insert_deduplication_token": name, "async_insert": "0"}


def test_clickhouse_keeps_rows_and_insert_tokens_over_sigkill(own_clickhouse: ClickHouseServer) -> None:
    """A token that was used before SIGKILL still drops the second insert after the restart; a new token inserts."""
    ask(
        own_clickhouse,
        "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100",
    )
    insert = "INSERT INTO t SELECT number FROM numbers(10)"
    for _ in range(2):
        ask(own_clickhouse, insert, **token("one"))
    own_clickhouse.kill()
    assert not own_clickhouse.status().running
    own_clickhouse.up()
    ask(own_clickhouse, insert, **token("one"))
    assert ask(own_clickhouse, "SELECT count() FROM t") == "10"
    ask(own_clickhouse, insert, **token("two"))
    assert ask(own_clickhouse, "SELECT count() FROM t") == "20"


def test_clickhouse_lets_nobody_read_without_the_password(own_clickhouse: ClickHouseServer) -> None:
    """The passwordless user of clickhouse-local may neither read a table nor make one."""
    ask(own_clickhouse, "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    for statement in (f"SELECT * FROM {DATABASE}.t", "CREATE TABLE default.u (a UInt8) ENGINE = Memory"):
        reply = httpx.post(own_clickhouse.status().url, content=statement, timeout=30)
        assert not reply.is_success
        assert "Not enough privileges" in reply.text


def test_kafka_keeps_records_over_sigkill(own_kafka: KafkaServer) -> None:
    """A record acked before SIGKILL is read after the restart, at the same address."""
    bootstrap = own_kafka.status().bootstrap
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic("kept", 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    producer.send("kept", b"payload").get(timeout=30)
    producer.close()
    own_kafka.kill()
    assert not own_kafka.status().running
    assert own_kafka.up().bootstrap == bootstrap
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=30_000)
    partition = TopicPartition("kept", 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    assert next(consumer).value == b"payload"
    consumer.close()


def test_up_twice_starts_one_server(own_clickhouse: ClickHouseServer) -> None:
    """`up` on a running server returns the server that runs."""
    assert own_clickhouse.up() == own_clickhouse.status()
    assert ClickHouseServer(own_clickhouse.folder).up().pid == own_clickhouse.status().pid


def test_stop_spares_a_process_that_took_over_the_id(tmp_path: Path) -> None:
    """A record whose start time does not fit names no living process, and nothing is signalled."""
    process = proc.spawn(["sleep", "60"], tmp_path / "log")
    stranger = proc.ServerProcess(process.pid, process.start_ticks + 1)
    assert not stranger.alive()
    stranger.stop(signal.SIGKILL)
    assert process.alive()
    process.stop()
    assert not process.alive()


def test_status_of_a_server_never_started_says_so_with_its_own_exit_status(tmp_path: Path) -> None:
    """`status --json` prints one object and exits with 3 where nothing runs."""
    result = CliRunner().invoke(app, ["kafka", "status", "--folder", os.fspath(tmp_path), "--json"])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["running"] is False
