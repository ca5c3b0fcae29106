"""Fixtures that start the real servers once a run: only tests that ask for one pay for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tocsin.app.dev.clickhouse import ClickHouseServer
from tocsin.app.dev.kafka import KafkaServer

# The suite runs with a fixed seed and no clock: a slow machine is no failure. `make soak` looks further.
settings.register_profile(
    "suite", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("soak", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A real Kafka broker; use topics of your own. Not for tests that kill it."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.up()
    yield server
    server.down(delete=True)


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A real ClickHouse server; use a database of your own. Not for tests that kill it."""
    server = ClickHouseServer(tmp_path_factory.mktemp("clickhouse"))
    server.up()
    yield server
    server.down(delete=True)
