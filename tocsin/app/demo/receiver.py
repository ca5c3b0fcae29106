"""The on-call end of the webhook: a real HTTP server that checks each page's signature and keeps what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from alerting.pagers.webhook import verify

BODY_BYTES_MAX = 4 * 1024 * 1024


class Inbox:
    """Pages as they came, once each: a key that was seen before is acknowledged and dropped."""

    def __init__(self, secret: str, now_ms: Callable[[], int]) -> None:
        self._secret, self._now_ms = secret, now_ms
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._pages: list[dict[str, Any]] = []
        self.refused = 0

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """HTTP status for one delivery."""
        if not verify(self._secret, headers, body, self._now_ms()):
            self.refused += 1
            return 401
        with self._lock:
            key = headers.get("idempotency-key", "")
            if key not in self._seen:
                self._seen.add(key)
                self._pages.append(json.loads(body))
        return 204

    def pages(self) -> list[dict[str, Any]]:
        """All pages so far, in order."""
        with self._lock:
            return list(self._pages)


@contextmanager
def serve(inbox: Inbox) -> Iterator[str]:
    """Serve the inbox on a free loopback port while the block runs; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            status = 413
            if length <= BODY_BYTES_MAX:
                status = inbox.take({k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            """Say nothing: the screen belongs to the demonstration."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/pages"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
