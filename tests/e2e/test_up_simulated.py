"""`tocsin simulate` against a running Tocsin, and `tocsin doctor --ledger` on what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_up import Up
from tocsin.app.dev.process import wait_until


def _tocsin(*arguments: str, data: Path | None = None, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"TOCSIN_DATA": str(data)} if data else {})}
    return subprocess.run(
        [sys.executable, "-m", "tocsin.cli", *arguments],
        capture_output=True, text=True, timeout=timeout_s, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A running Tocsin."""
    one = Up(tmp_path)
    one.start()
    yield one
    one.close()


@pytest.mark.timeout(600)
def test_what_a_simulated_audience_sends_is_in_the_ledger(up: Up, tmp_path: Path) -> None:
    """The truth file's acknowledged heartbeats are the ledger's, over HTTP and from the stopped folder; a bucket that
    is taken out of the store afterwards is missed, and the command fails."""
    truth = tmp_path / "truth.json"
    sent = _tocsin(
        "simulate", "--url", up.url, "--viewers", "40", "--minutes", "0.3", "--truth", str(truth), "--json",
        "--fault", "stall:cdn=cdn-a",
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    acked = json.loads(sent.stdout)["sent"]["acked"]
    written = json.loads(truth.read_bytes())
    assert acked == written["sent"]["acked"] > 0
    assert [fault["cohort"] for fault in written["faults"]] == [{"cdn": "cdn-a"}]

    running = _tocsin("doctor", "--ledger", "--server", up.url, "--json")
    assert running.returncode == 0, running.stderr
    used = _tocsin("doctor", "--ledger", data=up.folder / "data")
    assert (used.returncode, "--server URL" in used.stderr) == (1, True), used.stderr
    assert up.end(signal.SIGTERM) == 0

    status, proof = _proof(up)
    assert (status, proof["balanced"], proof["lost"], proof["double"]) == (0, True, 0, 0)
    up.start()
    wait_until(lambda: _counted(up) == acked, "everything sent is counted", 120, poll_s=0.2)
    assert up.end(signal.SIGTERM) == 0
    status, proof = _proof(up)
    assert (status, proof["balanced"], proof["totals"]["received"]) == (0, True, acked)

    _tamper(up.folder / "data")
    status, proof = _proof(up)
    assert (status, proof["balanced"]) == (1, False)
    assert proof["lost"] > 0
    assert any("are in no bucket" in problem for problem in proof["problems"])


def _counted(up: Up) -> int:
    """Heartbeats in the running ledger."""
    return int(httpx.get(f"{up.url}/v1/ledger", timeout=30).json()["totals"]["received"])


def _proof(up: Up) -> tuple[int, dict[str, Any]]:
    """Exit status and proof of `tocsin doctor --ledger` over the stopped folder."""
    done = _tocsin("doctor", "--ledger", "--json", data=up.folder / "data")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def _tamper(data: Path) -> None:
    """Take the first bucket's ledger row out of the store, in a process of its own: each may open one store."""
    code = """
import sys
from tocsin.adapters.store.clickhouse import ClickHouseStore
store = ClickHouseStore(f"chdb://{sys.argv[1]}")
store.command("ALTER TABLE deltas DELETE WHERE cube = 'ledger' AND start_offset = 0 SETTINGS mutations_sync = 2")
store.close()
"""
    folder = str((data / "store").absolute())
    subprocess.run([sys.executable, "-c", code, folder], check=True, timeout=120, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("fault", ["cohort_stal:cdn=cdn-x", "cohort_stall:cdn", "cohort_stall:cdn=cdn-a,from=soon"])
def test_a_bad_fault_is_refused_before_anything_is_sent(fault: str) -> None:
    """An unknown kind or a mistyped cohort is one line and status 2."""
    done = _tocsin("simulate", "--fault", fault, "--minutes", "0.1")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
