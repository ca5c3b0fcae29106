"""Configuration and clock: defaults work, unknown keys are refused with the nearest, a scaled clock catches up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tocsin.app.clock import Clock, starting_now
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


def test_a_scaled_clock_catches_up_and_is_real_time_then() -> None:
    """It starts behind, runs at its rate, and never passes real time."""
    real_ms = time.time_ns() // 1_000_000
    started = Clock(20.0, 3_600_000, real_ms - 60_000)
    assert abs(started.now_ms() - (real_ms - 60_000 - 3_600_000 + 1_200_000)) < 5_000
    caught_up = Clock(20.0, 3_600_000, real_ms - 600_000)
    assert caught_up.caught_up_ms <= real_ms
    assert abs(caught_up.now_ms() - real_ms) < 5_000


def test_real_seconds_until_a_time_follow_the_rate() -> None:
    """Ten virtual minutes at rate 20 take half a real minute; past times take none."""
    clock = starting_now(20.0, 3_600)
    assert clock.real_s(clock.now_ms() + 600_000) == pytest.approx(30, abs=1)
    assert clock.real_s(clock.now_ms() - 1) == 0
