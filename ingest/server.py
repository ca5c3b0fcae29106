"""uvicorn for the gateway: a short way for heartbeats, a deadline on headers and bodies, a clean start and stop.

Heartbeats that come as one plain body (no content encoding, no `Expect`, nothing of theirs still unanswered on the
connection) go from uvicorn's parser straight to `Gateway.post`, and the answer is one write: no ASGI messages and no
task. Everything else takes uvicorn's own way. Measured at 20 heartbeats a request: 3 of 10 µs a heartbeat saved.

uvicorn's idle time-out starts only after a first answer, so a connection that never completes a request would stay for
ever. Here each connection has one timer, re-armed lazily, that compares the time with the state of the connection: no
timer is made or cancelled for a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ingest.body import Headers
from ingest.gateway import PATH, Gateway, Headed
from ingest.geo import UNIX
from ingest.settings import IngestSettings

_PATH = PATH.encode()
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _NoWaiter:
    """Stands where uvicorn wakes the task that serves a request."""

    def set(self) -> None:
        """Nobody waits."""


class Post:
    """Heartbeats on the short way; to uvicorn, the request that its connection is busy with."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "query", "response_complete", "response_started")
    message_event = _NoWaiter()

    def __init__(self, query: bytes, headers: Headers) -> None:
        self.query = query
        self.headers = headers
        self.body = b""
        self.keep_alive = True
        self.disconnected = self.response_started = self.response_complete = False


class GatewayProtocol(HttpToolsProtocol):
    """HTTP/1.1 with the short way, and a deadline from the first byte waited for to the last byte of the body."""

    def __init__(self, *args: Any, gateway: Gateway, deadline_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gateway = gateway
        limits = gateway.settings.public_limits, gateway.settings.bulk_limits
        self._short_bytes_max = min(HIGH_WATER_LIMIT, *(one.wire_bytes for one in limits))
        self._deadline_s = deadline_s
        self._due_s: float | None = None
        self._begun = False
        self._incoming: Post | None = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._due_s = self.loop.time() + self._deadline_s
        self._watch = self.loop.call_later(self._deadline_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
        if self._incoming is not None:
            self._gateway.gone()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte is there: its deadline runs. A scope is made where one is needed."""
        self._due_s = self.loop.time() + self._deadline_s
        self._begun = True
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Choose the way."""
        self._incoming = self._short()
        if self._incoming is not None:
            self.cycle = self._incoming  # type: ignore[assignment]
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body; most come as one."""
        if self._incoming is None:
            super().on_body(body)
        else:
            self._incoming.body = self._incoming.body + body if self._incoming.body else body

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._due_s = None
        self._begun = False
        post, self._incoming = self._incoming, None
        if post is None:
            super().on_message_complete()
        else:
            peer = (self.client[0] if self.client else "") or UNIX
            self._gateway.post(post.query, post.headers, peer, post.body, functools.partial(self._reply, post))

    def on_response_complete(self) -> None:
        """Go on to a request that has come meanwhile, else the connection is idle from now on."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._begun:
            self._due_s = self.loop.time() + self.timeout_keep_alive

    def _short(self) -> Post | None:
        """The request whose headers are complete, where it can go the short way."""
        path, _, query = self.url.partition(b"?")
        if path != _PATH or self.expect_100_continue or (self.cycle is not None and not self.cycle.response_complete):
            return None
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return None
        headers = dict(self.headers)
        size = headers.get(b"content-length", b"")
        if not size.isdigit() or int(size) > self._short_bytes_max or b"content-encoding" in headers:
            return None
        if b"upgrade" in headers or b"explain" in query or b"dry" in query:
            return None
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            return None
        return Post(query, headers)

    def _reply(self, post: Post, status: int, headers: Headed, body: bytes) -> None:
        if not post.disconnected and not self.transport.is_closing():
            named = [b"%s: %s\r\n" % pair for pair in (*self.server_state.default_headers, *headers)]
            if not post.keep_alive:
                named.append(b"connection: close\r\n")
            self.transport.write(b"".join([STATUS_LINE[status], *named, b"\r\n", body]))
            if not post.keep_alive:
                self.transport.close()
        post.response_started = post.response_complete = True
        self.on_response_complete()

    def _look(self) -> None:
        now_s = self.loop.time()
        wait_s = self._deadline_s if self._due_s is None else self._due_s - now_s
        if wait_s > 0:
            self._watch = self.loop.call_later(min(wait_s, self._deadline_s), self._look)
            return
        if not self.transport.is_closing():
            if self._begun and (self.cycle is None or not self.cycle.response_started):
                self.transport.write(_TIMED_OUT)
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, which after SIGTERM or SIGINT returns to its caller instead of raising the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Turn the signals into a graceful stop while serving; in other threads than the main one there are none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def config(app: Gateway, settings: IngestSettings, log_level: str = "warning") -> uvicorn.Config:
    """uvicorn's configuration for `app`: uvloop, httptools, deadlines, bounded connections, draining on SIGTERM."""
    deadline_s = settings.header_timeout_s + settings.body_timeout_s
    protocol = functools.partial(GatewayProtocol, gateway=app, deadline_s=deadline_s)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        uds=settings.uds or None,
        loop="uvloop",
        http=protocol,  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        date_header=True,
        access_log=False,
        log_level=log_level,
        limit_concurrency=settings.connections_max,
        backlog=2048,
        timeout_keep_alive=int(settings.idle_timeout_s),
        timeout_graceful_shutdown=int(settings.drain_timeout_s),
    )
