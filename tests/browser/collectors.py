"""Where the browser's heartbeats go: the real gateway in front of the real embedded log, on an origin of its own.

What is asserted is what was stored, not what was sent: rows come back out of the log, with the columns of
`tocsin.model.heartbeat.BATCH_COLUMNS`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from ingest.gateway import Gateway
from ingest.settings import IngestSettings, WriteKey
from tocsin.adapters.log.local import LocalLog
from tocsin.app.clock import Clock
from tocsin.model import columnar
from tocsin.model.records import HEARTBEATS, kind_of

KEY = "browser-test"


class Collector(Protocol):
    """Takes heartbeats at `url` with `KEY`; knows what it has stored."""

    url: str

    def stored(self, session_id: str) -> list[dict[str, int]]:
        """The stored heartbeats of one session, in order of seq, duplicates removed."""
        ...


@dataclass
class GatewayCollector:
    """The gateway of `ingest` over a `LocalLog`."""

    url: str
    log: LocalLog

    def stored(self, session_id: str) -> list[dict[str, int]]:
        """Read the log from its start."""
        rows: dict[int, dict[str, int]] = {}
        for record in self.log.read(0, self.log.start(0), records_max=10_000):
            if kind_of(record.payload) != HEARTBEATS:
                continue
            batch = columnar.decode(record.payload)
            for row, owner in enumerate(batch.session_ids):
                if owner == session_id:
                    numbers = {name: int(column[row]) for name, column in batch.numbers.items()}
                    rows[numbers["seq"]] = numbers
        return [rows[seq] for seq in sorted(rows)]


@contextmanager
def gateway(folder: Path) -> Iterator[GatewayCollector]:
    """Run the gateway on a free port of 127.0.0.1 while the block runs."""
    log = LocalLog(folder / "log.sqlite", Clock().now_ms)
    settings = IngestSettings(keys=(WriteKey(KEY, "browser"),))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Gateway(log, Clock().now_ms, settings, FastAPI()), log_level="warning"))
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),), daemon=True)
    thread.start()
    try:
        yield GatewayCollector(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/heartbeats", log)
    finally:
        server.should_exit = True
        thread.join(30)
        log.close()
