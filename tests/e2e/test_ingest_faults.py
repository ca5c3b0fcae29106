"""The log away, full or stuck; too much in flight; a defect; SIGTERM: no 2xx without an ack, and nobody hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest import batcher, columns
from ingest.settings import IngestSettings
from tests.ingest_support import Serving, envelope, event, serving
from tocsin.adapters.log.local import LocalLog
from tocsin.model import columnar, records
from tocsin.model.errors import UnavailableError


class Faulty:
    """A log writer over a real one that can be made to fail or to hold on."""

    def __init__(self, log: LocalLog) -> None:
        self._log = log
        self.away = False
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def partitions(self) -> int:
        """As the log's."""
        return self._log.partitions

    def append(self, items: Sequence[tuple[int, bytes]]) -> None:
        """Append, unless told to fail; waits while told to."""
        self.entered.set()
        assert self.go_on.wait(30)
        if self.away:
            raise UnavailableError("appending to the log: disk full; free some space")
        self._log.append(items)

    def close(self) -> None:
        """Nothing of its own to close."""


class Fault:
    """Gives tests the `Faulty` writer that `serving` wraps."""

    writer: Faulty

    def wrap(self, log: LocalLog) -> Faulty:
        """To be passed to `serving`."""
        self.writer = Faulty(log)
        return self.writer


def post(running: Serving, *events: dict[str, Any]) -> httpx.Response:
    """POST heartbeats."""
    return httpx.post(f"{running.url}/v1/heartbeats", json=envelope(*events), timeout=30)


def test_without_the_logs_ack_there_is_no_2xx(tmp_path: Path) -> None:
    """A log that is away gives 503 with Retry-After and a /readyz that says so; it is found back without a restart."""
    fault = Fault()
    with serving(tmp_path, wrap=fault.wrap) as running:
        fault.writer.away = True
        answer = post(running, event(0), event(1, playing_ms=99_999))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        ready = httpx.get(f"{running.url}/readyz")
        assert (ready.status_code, ready.json()["log"]) == (503, "away")
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        fault.writer.away = False
        assert httpx.get(f"{running.url}/readyz").status_code == 200
        assert post(running, event(0), event(1, playing_ms=99_999)).json()["accepted"] == 1
        stored = running.heartbeats()
        assert stored is not None
        assert len(stored) == 1
        # What was answered 503 was neither accepted nor refused: it comes again.
        assert running.refused() == {"law": 1}


def test_refusals_are_logged_once_the_log_is_back(tmp_path: Path) -> None:
    """Bodies refused while the log is away are answered at once, and their counts reach the log later."""
    fault = Fault()
    with serving(tmp_path, wrap=fault.wrap) as running:
        fault.writer.away = True
        for _ in range(3):
            assert httpx.post(f"{running.url}/v1/heartbeats", content=b"[").status_code == 400
        assert post(running, event(0)).status_code == 503
        fault.writer.away = False
        assert post(running, event(0)).status_code == 200
        assert running.refused() == {"body": 3}


def test_bytes_in_flight_are_bounded(tmp_path: Path) -> None:
    """While the log holds on, what is beyond the bound is 503 at once; what was within it is acked in the end."""
    fault = Fault()
    with serving(tmp_path, IngestSettings(in_flight_bytes_max=2_000), wrap=fault.wrap) as running:
        fault.writer.go_on.clear()
        with ThreadPoolExecutor(4) as pool:
            within = [pool.submit(post, running, event(number)) for number in range(3)]
            assert fault.writer.entered.wait(20)
            while running.gateway.stats.in_flight_heartbeats < 3:
                assert httpx.get(f"{running.url}/healthz").status_code == 200
            large = post(running, *[event(number) for number in range(20)])
            assert large.status_code == 503
            fault.writer.go_on.set()
            assert {future.result().status_code for future in within} == {200}
        assert running.gateway.stats.in_flight_bytes == 0
        stored = running.heartbeats()
        assert stored is not None
        assert sorted(stored.numbers["seq"].tolist()) == [0, 1, 2]


def test_a_stuck_append_is_given_up(tmp_path: Path) -> None:
    """An append that does not come back is answered 503 in bounded time, and the next one has a fresh thread."""
    fault = Fault()
    with serving(tmp_path, IngestSettings(append_timeout_s=0.3), wrap=fault.wrap) as running:
        fault.writer.go_on.clear()
        assert post(running, event(0)).status_code == 503
        fault.writer.go_on.set()
        assert post(running, event(1)).status_code == 200


def test_one_request_that_cannot_be_recorded_hurts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a defect break the making of records, only the request that causes it is answered 500."""
    plain = columns.build

    def breaks(placed: Sequence[columns.Placed], tagger: Any) -> columnar.HeartbeatBatch:
        if any("session-evil" in each.part.rows.session_ids for each in placed):
            raise ValueError("made up by the test")
        return plain(placed, tagger)

    monkeypatch.setattr(batcher, "build", breaks)
    fault = Fault()
    with serving(tmp_path, wrap=fault.wrap) as running, ThreadPoolExecutor(4) as pool:
        fault.writer.go_on.clear()
        first = pool.submit(post, running, event(0))
        assert fault.writer.entered.wait(20)
        # These three wait for the first append and so share the next batch.
        good = [pool.submit(post, running, event(1), event(2, playing_ms=99_999)) for _ in range(2)]
        evil = pool.submit(post, running, event(0, session_id="session-evil"))
        while running.gateway.stats.in_flight_heartbeats < 6:
            assert httpx.get(f"{running.url}/healthz").status_code == 200
        fault.writer.go_on.set()
        assert first.result().status_code == 200
        assert [one.result().json()["accepted"] for one in good] == [1, 1]
        assert evil.result().status_code == 500
        assert running.refused() == {"law": 2}


SERVE = """
import sys
from pathlib import Path
from ingest.app import serve
from ingest.settings import IngestSettings
from tocsin.adapters.log.local import LocalLog

class Slow(LocalLog):
    def append(self, items):
        print("appending", flush=True)
        sys.stdin.readline()
        super().append(items)

serve(Slow(Path(sys.argv[1]), lambda: 1_790_000_000_000), lambda: 1_790_000_000_000,
      IngestSettings(uds=sys.argv[2]), log_level="info")
print("served", flush=True)
"""


def test_sigterm_answers_what_is_in_flight_and_ends(tmp_path: Path) -> None:
    """A request that waits for the log at SIGTERM gets its 200, its heartbeats are stored, and `serve` returns."""
    path, uds = tmp_path / "log.sqlite", str(tmp_path / "gateway.sock")
    child = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path), uds],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        for line in child.stderr:
            if "running on" in line:
                break
        transport = httpx.HTTPTransport(uds=uds)
        with (
            httpx.Client(transport=transport, base_url="http://gateway", timeout=30) as client,
            ThreadPoolExecutor(1) as pool,
        ):
            answer = pool.submit(client.post, "/v1/heartbeats", content=json.dumps(envelope(event(0))))
            assert child.stdout.readline() == "appending\n"
            child.send_signal(signal.SIGTERM)
            for line in child.stderr:
                if "Waiting for" in line:
                    break
            child.stdin.write("\n")
            child.stdin.flush()
            assert answer.result().json()["accepted"] == 1
        assert child.stdout.readline() == "served\n"
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()
    log = LocalLog(path, lambda: 0)
    assert [record.payload[:4] for record in log.read(0, 0)] == [records.HEARTBEATS]
    log.close()
