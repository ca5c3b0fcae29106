"""Sends envelopes as players do: real HTTP POSTs over a few kept-alive connections, retried until they are answered.

What was sent is never changed but for `sent_ts_ms`: it may have arrived though its answer was lost, and the pipeline
tells copies by (session_id, seq). 503 and 429 wait for Retry-After; a broken connection waits with full jitter. At
most `pending_max` envelopes wait: `put` blocks beyond that, so a slow gateway slows the simulation and fills no memory.
Waiting times are real seconds, time stamps are the caller's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import msgspec

from player_sim.wire import ASN_HEADER, COUNTRY_HEADER, Envelope
from tocsin.model.errors import InputError, UnavailableError

_HEAD_BYTES_MAX = 16_384
_BODY_BYTES_MAX = 1_048_576
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How to send: `attempts_max` tries an envelope, at most `backoff_s_max` apart unless Retry-After says more."""

    write_key: str = ""
    connections: int = 4
    pending_max: int = 512
    timeout_s: float = 30.0
    attempts_max: int = 60
    backoff_s: float = 0.2
    backoff_s_max: float = 10.0
    retry_after_s_max: float = 60.0


@dataclass(slots=True)
class SenderStats:
    """Counts of heartbeats (but `requests`, `retries`: POSTs): answered 2xx, refused by status, given up."""

    acked: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    abandoned: int = 0
    requests: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response: status, lower-case headers, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One kept-alive HTTP/1.1 connection; raises `UnavailableError` when it breaks, and connects anew afterwards."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"sending to {url!r}: give an http:// or https:// URL with a host")
        self._url = url
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, headers: str) -> Answer:
        """POST and read the whole answer; `headers` are complete lines ending in CRLF."""
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await self._open()
                writer.write(f"{self._head}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
                answer = await _read_answer(reader)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            await self.close()
            text = f"posting {len(body)} bytes to {self._url}: {error or type(error).__name__}; is the gateway up?"
            raise UnavailableError(text) from error
        if answer.headers.get("connection", "").lower() == "close":
            await self.close()
        return answer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[1].is_closing():
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=_HEAD_BYTES_MAX)
        return self._streams

    async def close(self) -> None:
        """Close; the next `post` opens a new connection."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"the answer begins with {lines[0][:60]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
    status = int(rest[:3])
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, headers, await _read_chunks(reader))
    length = int(headers.get("content-length", "0"))
    if length > _BODY_BYTES_MAX:
        raise ValueError(f"the answer's body has {length} bytes")
    return Answer(status, headers, await reader.readexactly(length))


def _refused_events(body: bytes) -> int:
    """How many heartbeats a 2xx answer says it refused."""
    if not body or b'"refused":[]' in body:
        return 0
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return 0
    refused = decoded.get("refused", []) if isinstance(decoded, dict) else []
    return len(refused) if isinstance(refused, list) else int(refused)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if len(body) + size > _BODY_BYTES_MAX:
            raise ValueError(f"the answer's body has more than {_BODY_BYTES_MAX} bytes")
        body += (await reader.readexactly(size + 2))[:size]
        if size == 0:
            return body


class Sender:
    """Delivers envelopes from a bounded queue; use as an async context manager.

    `on_acked` is called once for each envelope answered 2xx, in no particular order. `now_ms` stamps `sent_ts_ms`.
    """

    def __init__(
        self,
        url: str,
        now_ms: Callable[[], int],
        on_acked: Callable[[Envelope], None],
        settings: SenderSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.settings = settings or SenderSettings()
        self.stats = SenderStats()
        self._url = url
        self._now_ms = now_ms
        self._on_acked = on_acked
        self._jitter = random.Random(seed)
        self._queue: asyncio.Queue[Envelope] = asyncio.Queue(self.settings.pending_max)
        self._tasks: list[asyncio.Task[None]] = []
        key = self.settings.write_key
        self._key = f"Authorization: Bearer {key}\r\n" if key else ""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.settings.connections)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def put(self, envelope: Envelope) -> None:
        """Hand over an envelope; waits while `pending_max` are waiting. Raises what made a worker fail, if one did."""
        if not self._queue.full() and not any(task.done() for task in self._tasks):
            self._queue.put_nowait(envelope)
            return
        waiting = asyncio.ensure_future(self._queue.put(envelope))
        done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        if waiting not in done:
            waiting.cancel()
        for task in done:
            await task

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over is answered or given up; False where `timeout_s` was not enough."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            return False
        return True

    async def _work(self) -> None:
        connection = Connection(self._url, self.settings.timeout_s)
        try:
            while True:
                envelope = await self._queue.get()
                await self._deliver(connection, envelope)
                self._queue.task_done()
        finally:
            await connection.close()

    async def _deliver(self, connection: Connection, envelope: Envelope) -> None:
        headers = f"{self._key}{COUNTRY_HEADER}: {envelope.country}\r\n{ASN_HEADER}: {envelope.asn}\r\n"
        for attempt in range(self.settings.attempts_max):
            self.stats.requests += 1
            self.stats.retries += attempt > 0
            wait_s = self._jitter.uniform(0, min(self.settings.backoff_s * 2**attempt, self.settings.backoff_s_max))
            with contextlib.suppress(UnavailableError):
                answer = await connection.post(envelope.body(self._now_ms()), headers)
                if 200 <= answer.status < 300:
                    refused = _refused_events(answer.body)
                    self.stats.refused[answer.status] += refused
                    self.stats.acked += envelope.events - refused
                    self._on_acked(envelope)
                    return
                if answer.status not in _RETRIED:
                    self.stats.refused[answer.status] += envelope.events
                    return
                wait_s = max(wait_s, self._retry_after_s(answer))
            await asyncio.sleep(wait_s)
        self.stats.abandoned += envelope.events

    def _retry_after_s(self, answer: Answer) -> float:
        value = answer.headers.get("retry-after", "")
        return min(float(value), self.settings.retry_after_s_max) if value.isdigit() else 0.0
