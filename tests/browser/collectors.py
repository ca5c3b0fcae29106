"""Where the browser's heartbeats go: `tocsin up` as a person starts it, on an origin of its own.

What is asserted is what was stored, not what was sent: the rows come out of the store's table `heartbeats`, after the
graph API has shown that the end of the playback is counted.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tocsin.adapters.store.clickhouse import ClickHouseStore

KEY = "browser-test"
READY_WITHIN_S = 180.0
STORED_WITHIN_S = 180.0
"""Generous: in a fresh checkout the first bucket waits for the jobs' loops to be compiled."""
STOPPED_WITHIN_S = 90.0
POLL_S = 0.25


@dataclass
class Tocsin:
    """A running `tocsin up`, which keeps its data in `folder`."""

    base_url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def heartbeats_url(self) -> str:
        """Where players send to."""
        return f"{self.base_url}/v1/heartbeats"

    def wait_until_ready(self) -> None:
        """Until /readyz says so; fails where the process ends or takes too long."""
        self._until(lambda: httpx.get(f"{self.base_url}/readyz").is_success, READY_WITHIN_S, "be ready")

    def wait_until_ended(self, title: str) -> None:
        """Until a graph query counts the end of the playback of `title`: its last heartbeat is stored."""
        query = f"name,qoe.ended,:eq,title,{title},:eq,:and,:sum"
        params = {"q": query, "s": "e-10m", "e": "now", "format": "json"}

        def counted() -> bool:
            answer = httpx.get(f"{self.base_url}/api/v1/graph", params=params)
            values = [float(value) for row in answer.json()["values"] for value in row] if answer.is_success else []
            return any(value > 0 for value in values if not math.isnan(value))

        self._until(counted, STORED_WITHIN_S, f"count the end of title {title}")

    def stored(self, session_id: str) -> list[dict[str, Any]]:
        """The session's heartbeats; only after `stop`, since one process at a time can open the store."""
        store = ClickHouseStore(f"chdb://{(self.folder / 'store').absolute()}")
        try:
            sql = "SELECT * FROM heartbeats WHERE session_id = {session:String} AND row_kind = 'unique' ORDER BY seq"
            rows: list[dict[str, Any]] = store.query_arrow(sql, {"session": session_id}).to_pylist()
            return rows
        finally:
            store.close()

    def stop(self) -> None:
        """SIGTERM, which drains."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOPPED_WITHIN_S)

    def _until(self, holds: Any, within_s: float, what: str) -> None:
        give_up_at = time.monotonic() + within_s
        while True:
            assert self.process.poll() is None, f"`tocsin up` ended with status {self.process.returncode}"
            try:
                if holds():
                    return
            except httpx.TransportError as error:
                last: object = error
            else:
                last = "not yet"
            assert time.monotonic() < give_up_at, f"`tocsin up` did not {what} within {within_s} s: {last}"
            time.sleep(POLL_S)


@contextmanager
def tocsin_up(folder: Path) -> Iterator[Tocsin]:
    """Run `tocsin up` on a free port of 127.0.0.1 while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ, "TOCSIN_DATA": str(folder), "TOCSIN_PORT": str(port), "TOCSIN_WRITE_KEYS": f'["{KEY}"]',
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("tocsin")), "up"]
    with (folder / "up.log").open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    running = Tocsin(f"http://127.0.0.1:{port}", folder, process)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()
