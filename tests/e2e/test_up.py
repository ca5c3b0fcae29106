"""`tocsin up` as an operator meets it: killed and started again it counts once; told to stop it stops cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import cli_support
from tests.ingest_support import envelope, event
from tocsin.adapters.state.keys import KeyRows
from tocsin.adapters.store.clickhouse import ClickHouseStore

READY_WITHIN_S = 180.0
STOPPED_WITHIN_S = 90.0
POLL_S = 0.1


class Up:
    """One `tocsin up` on a folder; started as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.sent_ms = time.time_ns() // 1_000_000
        """When every heartbeat of the test was made: one that is sent again is the same heartbeat."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> int:
        """Start it on a free port and wait until it is ready; returns its pid."""
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tocsin.cli", "up", "--port", str(port), *arguments]
        with (self.folder / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, "TOCSIN_DATA": str(self.folder / "data")}, stdout=log, stderr=log
            )
        _until(lambda: _answers(f"{self.url}/readyz"), READY_WITHIN_S, "tocsin up is ready")
        return self._process.pid

    def send(self, first: int, count: int) -> None:
        """Heartbeats of `count` sessions, acknowledged."""
        now_ms = time.time_ns() // 1_000_000
        events = [event(0, f"session-{number:05d}", ts_ms=self.sent_ms) for number in range(first, first + count)]
        answer = httpx.post(f"{self.url}/v1/heartbeats", json=envelope(*events, sent_ts_ms=now_ms))
        assert answer.status_code == 200, answer.text
        assert answer.json()["accepted"] == count

    def close(self) -> None:
        """Leave nothing running, whatever the test came to."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOPPED_WITHIN_S)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).is_success
    except httpx.HTTPError:
        return False


def _until(holds: Callable[[], bool], within_s: float, what: str) -> None:
    give_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_at, f"not in time: {what}"
        time.sleep(POLL_S)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A Tocsin that is not started yet."""
    one = Up(tmp_path)
    yield one
    one.close()


@pytest.mark.timeout(600)
def test_killed_and_started_again_it_counts_once(up: Up) -> None:
    """What was acknowledged before a SIGKILL is counted after the restart, what is sent again is not counted twice, the
    gateway does not outlive its parent, and SIGTERM ends with status 0."""
    up.start()
    up.send(0, 300)
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    _until(lambda: not _answers(f"{up.url}/healthz"), STOPPED_WITHIN_S, "the gateway ends with its parent")

    up.start()
    up.send(200, 200)
    ledger = f"{up.url}/v1/ledger"
    _until(lambda: httpx.get(ledger).json()["totals"]["received"] == 500, 180, "everything sent is counted")
    proof = httpx.get(ledger).json()
    assert (proof["balanced"], proof["lost"], proof["double"]) == (True, 0, 0), proof
    assert proof["totals"]["duplicates"] == 100
    figures = {
        sample.name: sample.value
        for family in text_string_to_metric_families(httpx.get(f"{up.url}/metrics").text)
        for sample in family.samples
    }
    assert figures["tocsin_ingest_heartbeats_accepted_total"] == 200
    assert figures["tocsin_core_store_up"] == 1
    assert up.end(signal.SIGTERM) == 0

    store = ClickHouseStore(f"chdb://{(up.folder / 'data' / 'store').absolute()}")
    try:
        rows = store.query("SELECT count(), uniqExact(session_id) FROM heartbeats WHERE row_kind = 'unique'")
        ((sessions,),) = store.query("SELECT sum(attempts) FROM deltas WHERE `cube` = 'all'")
    finally:
        store.close()
    assert rows == [(400, 400)]
    assert sessions == 400


def test_with_tokens_everybody_needs_one(up: Up) -> None:
    """Through the gateway as at the core: 401 without, 200 with; a write is noted under the token's name. Heartbeats go
    on, the gateway goes on asking the core, and a token that is revoked ends within seconds."""
    data = up.folder / "data"
    made = cli_support.run(
        "keys", "create", "ann", "--scope", "query:read", "--scope", "silences:write", "--json", cwd=up.folder,
        extra={"TOCSIN_DATA": str(data)},
    )  # fmt: skip
    ann = json.loads(made.stdout)
    headers = {"Authorization": f"Bearer {ann['token']}"}
    up.start()
    up.send(0, 10)
    status = f"{up.url}/v1/status"
    assert httpx.get(status).status_code == 401
    assert httpx.get(status, headers=headers).status_code == 200
    assert httpx.get(f"{up.url}/v1/incidents", headers=headers).status_code == 403
    silence = {"match": {"rule": "rebuffering"}, "ends_ms": up.sent_ms + 3_600_000}
    answer = httpx.post(f"{up.url}/v1/silences", json=silence, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["by"] == "ann"
    rows = KeyRows(data / "state.db")
    assert [(row.who, row.what, row.status) for row in rows.audit(1)] == [("ann", "POST /v1/silences", 201)]
    assert rows.revoke_token(ann["id"], up.sent_ms)
    rows.close()
    _until(lambda: httpx.get(status, headers=headers).status_code == 401, 10, "the token is refused")
    assert up.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("command", ["up", "query"])
def test_no_network_without_a_token(tmp_path: Path, command: str) -> None:
    """Bound to every address and without a token nothing starts: one line says how to make one."""
    extra = {"TOCSIN_HOST": "0.0.0.0", "TOCSIN_WRITE_KEYS": '["k"]', "TOCSIN_STORE": "http://127.0.0.1:1/x"}  # noqa: S104
    done = cli_support.run(command, cwd=tmp_path, extra=extra)
    assert done.returncode == 2
    assert "tocsin keys create" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_mistyped_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """A configuration error is one line, status 2, and nothing is started."""
    file = tmp_path / "tocsin.toml"
    file.write_text("lateness = 900\n")
    done = subprocess.run(
        [sys.executable, "-m", "tocsin.cli", "up", "--config", str(file)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "did you mean 'lateness_s'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
