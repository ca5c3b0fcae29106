"""A running Tocsin with two weeks of an audience's sums and a table of playbacks, as an analyst meets it.

Run as a program it fills the store of a folder that no Tocsin has open: `analyst_world.py FOLDER`. Hours and minutes of
the last whole three hours and of the same a week before: two CDNs and two devices; CDN b stalls three times as much as
a week ago. What is drawn follows from the minute alone, so tests know it.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests import cli_support
from tests.e2e.test_up import Up
from tocsin.adapters.store.clickhouse import ClickHouseStore

HOURS = 3
WEEK_MIN = 7 * 1440
PLAYING_MS = 600_000
SESSIONS = 60
CELLS = [(cdn, device) for cdn in ("a", "b") for device in ("tv", "web")]


def end_minute(now_s: float) -> int:
    """The end of the window, epoch minutes: the last whole hour."""
    return int(now_s) // 3600 * 60


def stalled_ms(cdn: str, device: str, minute: int, *, is_now: bool) -> int:
    """Stalled time of one cell and minute."""
    usual = 6_000 + 100 * (minute % 60) + (500 if device == "web" else 0)
    return usual * 3 if cdn == "b" and is_now else usual


def outcome(number: int) -> str:
    """How the numbered playback ended: one of six on CDN b fails."""
    return "failed" if number % 6 == 1 else "completed"


def fill(store: ClickHouseStore, now_s: float) -> None:
    """Minutes, hours and what says that they are folded; sessions."""
    end = end_minute(now_s)
    for last in (end, end - WEEK_MIN):
        cells = [cell for minute in range(last - HOURS * 60, last) for cell in _cells(minute, is_now=last == end)]
        store.insert("minutes", pa.Table.from_pylist(cells))
        hours = pa.Table.from_pylist([{**cell, "hour": cell["minute"].replace(minute=0)} for cell in cells])
        summed = hours.group_by(["cube", "hour", "cdn", "device"]).aggregate(
            [(name, "sum") for name in ("playing_ms", "rebuffer_ms", "plays", "n")]
        )
        store.insert("hours", summed.rename_columns([name.removesuffix("_sum") for name in _named(summed)]))
    store.command(f"INSERT INTO folds VALUES ('minutes', {(end - 1) * 60}, 1), ('hours', {(end - 60) * 60}, 1)")
    store.insert("sessions", pa.Table.from_pylist([_session(number, end * 60_000) for number in range(SESSIONS)]))


def _named(table: pa.Table) -> list[str]:
    return ["minute" if name == "hour" else name for name in table.column_names]


def _cells(minute: int, *, is_now: bool) -> Iterator[dict[str, Any]]:
    at = dt.datetime.fromtimestamp(minute * 60, dt.UTC)
    stalled = {cell: stalled_ms(*cell, minute, is_now=is_now) for cell in CELLS}
    shared = {"minute": at}
    yield {
        **shared, "cube": "all", "cdn": "", "device": "", "playing_ms": 4 * PLAYING_MS, "plays": 40, "n": 80,
        "rebuffer_ms": sum(stalled.values()),
    }  # fmt: skip
    for (cdn, device), rebuffer_ms in stalled.items():
        yield {
            **shared, "cube": "cdn,device", "cdn": cdn, "device": device, "playing_ms": PLAYING_MS, "plays": 10,
            "n": 20, "rebuffer_ms": rebuffer_ms,
        }  # fmt: skip


def _session(number: int, end_ms: int) -> dict[str, Any]:
    start_ms = end_ms - (number + 2) * 60_000
    return {
        "session_id": f"playback-{number:03d}", "start_ms": start_ms, "end_ms": start_ms + 60_000, "folded_ms": end_ms,
        "cdn": "ab"[number % 2], "device": "tv", "title": f"t{number % 3}", "outcome": outcome(number),
        "startup_ms": 500 + number, "heartbeats": 6, "sample_k": 1, "playing_ms": 55_000, "rebuffer_ms": 10 * number,
    }  # fmt: skip


@dataclass(frozen=True)
class World:
    """Where it runs, the time (epoch s) for which it was filled, a token that reads and a key that publishes."""

    url: str
    now_s: float
    token: str
    key: str = "publisher-1"

    @property
    def end_ms(self) -> int:
        """The end of the window, epoch ms."""
        return end_minute(self.now_s) * 60_000

    @property
    def environment(self) -> dict[str, str]:
        """What the commands of somebody with the token have in theirs."""
        return {"TOCSIN_TOKEN": self.token}


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """`tocsin up` over a filled folder, with a token."""
    data, now_s = folder / "data", time.time()
    command = [sys.executable, "-m", "tests.e2e.analyst_world", str(data), str(now_s)]
    subprocess.run(command, check=True, timeout=120, cwd=Path(__file__).resolve().parents[2])
    made = cli_support.run(
        "keys", "create", "analyst", "--scope", "query:read", "--scope", "alerts:read", "--json", cwd=folder,
        extra={"TOCSIN_DATA": str(data)},
    )  # fmt: skip
    up = Up(folder)
    (folder / "tocsin.toml").write_text(f'bulk_keys = ["{World.key}"]\n')
    try:
        up.start("--config", str(folder / "tocsin.toml"))
        yield World(up.url, now_s, json.loads(made.stdout)["token"])
    finally:
        up.close()


if __name__ == "__main__":
    (Path(sys.argv[1])).mkdir(parents=True)
    opened = ClickHouseStore(f"chdb://{(Path(sys.argv[1]) / 'store').absolute()}")
    fill(opened, float(sys.argv[2]))
    opened.close()
