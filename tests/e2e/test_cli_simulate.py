"""`tocsin simulate` against a running Tocsin, and `tocsin doctor --ledger` on what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_up import Up


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
    """The truth file's acknowledged heartbeats are the ledger's, over HTTP and from the stopped folder."""
    truth = tmp_path / "truth.json"
    sent = _tocsin(
        "simulate", "--url", up.url, "--viewers", "40", "--minutes", "0.3", "--truth", str(truth),
        "--fault", "cohort_stall:cdn=cdn-a",
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    written = json.loads(truth.read_bytes())
    assert written["sent"]["acked"] > 0
    assert [fault["cohort"] for fault in written["faults"]] == [{"cdn": "cdn-a"}]

    running = _tocsin("doctor", "--ledger", "--server", up.url, "--json")
    assert running.returncode == 0, running.stderr
    assert json.loads(running.stdout)["balanced"]
    assert up.end(signal.SIGTERM) == 0
    up.start()
    assert up.end(signal.SIGTERM) == 0
    stopped = _tocsin("doctor", "--ledger", "--json", data=up.folder / "data")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    proof = json.loads(stopped.stdout)
    assert (proof["balanced"], proof["lost"], proof["double"]) == (True, 0, 0)
