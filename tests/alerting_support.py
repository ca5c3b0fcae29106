"""What the tests of paging share: a receiver on a real port, an incident, a store that has nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa

from alerting.incidents import Incident, Measured

EVIDENCE = Measured("qoe.rebuffer.ratio", "1", 5, {"cdn": "b"}, 0.05, 0.008, 0.006, 0.01, 900.0, 1e-12, 6.3, 44.0)


def incident(incident_id: str = "inc1", **fields: Any) -> Incident:
    """A firing rebuffering incident of one CDN."""
    base: dict[str, Any] = {
        "id": incident_id, "rule": "rebuffering", "metric": "qoe.rebuffer.ratio", "severity": "page",
        "cohort": {"cdn": "b"}, "opened_ms": 1_000, "onset_ms": 500, "updated_ms": 1_000, "summary": "Playback stalls",
        "evidence": EVIDENCE,
    }  # fmt: skip
    return Incident(**{**base, **fields})


@dataclass
class Received:
    """One request that reached the receiver."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ReceiverServer:
    """An HTTP server that answers `answer(request number)` and keeps what came."""

    url: str
    answer: Callable[[int], int]
    got: list[Received] = field(default_factory=list)


@contextmanager
def receiver(answer: Callable[[int], int] = lambda _: 200) -> Iterator[ReceiverServer]:
    """A receiver on a free port of the loopback."""
    found = ReceiverServer("", answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {key.lower(): value for key, value in self.headers.items()}
            found.got.append(Received(self.path, headers, body))
            self.send_response(found.answer(len(found.got) - 1))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class EmptyStore:
    """A store whose every table is empty."""

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Nothing is kept."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """No rows."""
        return []

    def query_columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Sequence[Any]]:
        """No columns."""
        return {}

    def query_arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """No rows."""
        return pa.table({})

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Nothing happens."""

    def close(self) -> None:
        """Nothing to release."""
