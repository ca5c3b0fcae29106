"""What the tests of the gateway share: heartbeats as players write them, and a real server on a free port."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from ingest import server
from ingest.app import build
from ingest.gateway import Asgi, Gateway
from ingest.settings import IngestSettings
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.log.port import LogWriter
from tocsin.model import columnar, records
from tocsin.model.columnar import HeartbeatBatch

NOW_MS = 1_790_000_000_000


def event(seq: int = 0, session_id: str = "session-0001", **fields: Any) -> dict[str, Any]:
    """A good heartbeat of ten seconds of playing."""
    return {
        "session_id": session_id,
        "seq": seq,
        "ts_ms": NOW_MS - 1_000,
        "interval_ms": 10_000,
        "reason": "interval",
        "state": "playing",
        "playhead_ms": 10_000 * seq,
        "playing_ms": 10_000,
        **fields,
    }


def envelope(*events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An envelope of today's schema around `events`."""
    return {
        "schema": "tocsin.heartbeat/1",
        "sent_ts_ms": NOW_MS,
        "sdk": {"name": "test", "version": "1"},
        "sample_rate": 1,
        "tags": {"content.id": "title-1", "cdn.name": "cdn-a"},
        "events": list(events),
        **fields,
    }


class Serving:
    """A running gateway: `url` for clients, `log` for what was stored."""

    def __init__(self, url: str, log: LocalLog, gateway: Gateway, server_: uvicorn.Server, port: int) -> None:
        self.url = url
        self.log = log
        self.gateway = gateway
        self.server = server_
        self.port = port

    def payloads(self, kind: bytes) -> list[bytes]:
        """Payloads of one kind in all partitions."""
        return [
            record.payload
            for partition in range(self.log.partitions)
            for record in self.log.read(partition, 0, 100_000)
            if record.payload[:4] == kind
        ]

    def heartbeats(self) -> HeartbeatBatch | None:
        """All heartbeats stored, None where there is none."""
        batches = [columnar.decode(payload) for payload in self.payloads(records.HEARTBEATS)]
        return columnar.concat(batches) if batches else None

    def refused(self) -> dict[str, int]:
        """The ledger's refusals by reason."""
        total: dict[str, int] = {}
        for payload in self.payloads(records.REFUSED):
            for reason, count in msgspec.msgpack.decode(payload[4:]).items():
                total[reason] = total.get(reason, 0) + count
        return total


@contextlib.contextmanager
def serving(
    folder: Path,
    settings: IngestSettings | None = None,
    partitions: int = 2,
    wrap: Callable[[LocalLog], LogWriter] = lambda log: log,
    now_ms: Callable[[], int] = lambda: NOW_MS,
    fallback: Asgi | None = None,
) -> Iterator[Serving]:
    """A gateway over a new local log in `folder`, on a free port, drained at the end."""
    log = LocalLog(folder / "log.sqlite", now_ms, partitions)
    settings = settings or IngestSettings()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        settings = replace(settings, port=port)
        gateway = build(wrap(log), now_ms, settings, fallback)
        running = uvicorn.Server(server.config(gateway, settings))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not running.started and thread.is_alive():
            thread.join(0.01)
        try:
            yield Serving(f"http://127.0.0.1:{port}", log, gateway, running, port)
        finally:
            running.should_exit = True
            thread.join(60)
            log.close()
    assert not thread.is_alive()
