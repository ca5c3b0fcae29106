"""Configuration and clock: defaults work, unknown keys are refused with the nearest, one clock is shared."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tocsin.app.clock import ConductedClock, RealClock
from tocsin.app.config import load
from tocsin.model.errors import ConfigError


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of the file holds until its variable says otherwise; flags win over both."""
    file = tmp_path / "tocsin.toml"
    file.write_text('partitions = 2\nhost = "127.0.0.2"\n')
    monkeypatch.setenv("TOCSIN_PARTITIONS", "3")
    config = load(file, {"port": 0})
    assert (config.partitions, config.host, config.port) == (3, "127.0.0.2", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitons = 2", "unknown key 'partitons'; did you mean 'partitions'"),
        ("partitions = 0", "partitions = 0"),
        ('cubes = ["all", "cdm"]', "'cdm' is no tag key"),
        ("keep_days = {heartbeat = 3}", "no table 'heartbeat' with a retention"),
        ("keep_days = {heartbeats = 0}", "keep_days.heartbeats = 0"),
        ("partitions = ", "reading the configuration"),
    ],
)
def test_a_bad_configuration_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    """The error says which key, which value and what to do."""
    file = tmp_path / "tocsin.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(file)


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped environment variable does not pass in silence."""
    monkeypatch.setenv("TOCSIN_PROT", "1")
    with pytest.raises(ConfigError, match="did you mean 'port'"):
        load()


def test_a_conducted_clock_is_shared_and_never_goes_back(tmp_path: Path) -> None:
    """What the conductor sets is what every other reader of the file sees; a smaller time is ignored."""
    conductor = ConductedClock(tmp_path / "clock", 1_000)
    reader = ConductedClock(tmp_path / "clock")
    conductor.set_ms(5_000)
    conductor.set_ms(4_000)
    assert reader.now_ms() == 5_000


def test_waiting_for_a_conducted_clock_ends_by_its_time_or_by_stop(tmp_path: Path) -> None:
    """A waiter goes on once the time is there, and gives up once it is told to stop."""
    clock, stop = ConductedClock(tmp_path / "clock", 0), threading.Event()
    threading.Timer(0.05, clock.set_ms, (60_000,)).start()
    assert clock.wait_until(60_000, stop)
    stop.set()
    assert not clock.wait_until(60_001, stop)


def test_the_real_clock_is_the_machines() -> None:
    """Without a conductor, time is real."""
    assert abs(RealClock().now_ms() - time.time() * 1000) < 5_000
    assert RealClock().wait_until(0, threading.Event())
