"""The sender against a server that misbehaves on purpose: what is retried, what is given up, what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from player_sim import layout
from player_sim.sender import Sender, SenderSettings
from player_sim.wire import Envelope
from tocsin.model.errors import InputError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n" + b'{"accepted":3,"refused":[],"hints":[]}     '
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PARTLY = b'HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"accepted":2,"refused":[{"index":1}]}  '
CUT = b"HTTP/1.1 200 OK\r\nContent-Le"
SETTINGS = SenderSettings(write_key="secret", connections=2, backoff_s=0.001, backoff_s_max=0.002, attempts_max=5)

Answer = Callable[[int, bytes], bytes]


class Served:
    """What the server saw: heads and bodies in order."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[str] = []
        self.bodies: list[bytes] = []


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[Served]:
    """A server whose n-th answer (from 0) to a body is `answer(n, body)`; a cut-off answer closes the connection."""
    served = Served()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            body = await reader.readexactly(length)
            number = len(served.bodies)
            served.heads.append(head)
            served.bodies.append(body)
            reply = answer(number, body)
            writer.write(reply)
            if not reply.endswith((b"}", b" ", b"\n")) or b"Connection: close" in reply:
                break
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        served.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/heartbeats?x=1"
        yield served


def envelope(number: int, events: int = 3) -> Envelope:
    """An envelope that can be told apart."""
    return Envelope(b',"n":%d}' % number, "US", "as1", events, np.zeros(events, layout.HEARTBEAT), number)


def send(answer: Answer, count: int, settings: SenderSettings = SETTINGS) -> tuple[Sender, Served, list[int]]:
    """Send `count` envelopes; returns the sender, what the server saw, and the envelopes acknowledged."""
    acked: list[int] = []

    async def run() -> tuple[Sender, Served]:
        async with server(answer) as served:
            sender = Sender(served.url, lambda: 1234, lambda one: acked.append(one.ordinal), settings)
            async with sender:
                for number in range(count):
                    await sender.put(envelope(number))
                assert await sender.flush(20)
            return sender, served

    sender, served = asyncio.run(run())
    return sender, served, acked


def test_envelopes_are_posted_with_key_geography_and_time_of_sending() -> None:
    """The request line, headers and body are what the gateway expects."""
    sender, served, acked = send(lambda n, body: OK if n % 2 else CHUNKED, 20)
    assert sorted(acked) == list(range(20))
    assert sender.stats.acked == 60
    assert served.heads[0].startswith("POST /v1/heartbeats?x=1 HTTP/1.1\r\n")
    for line in ("Authorization: Bearer secret", "X-Tocsin-Country: US", "X-Tocsin-Asn: as1"):
        assert line in served.heads[0]
    assert served.bodies[0].startswith(b'{"schema":"tocsin.heartbeat/1","sent_ts_ms":1234,"n":')


def test_a_busy_gateway_and_broken_connections_are_retried_with_the_same_bytes() -> None:
    """503, a cut-off answer and a closed connection are tried again; nothing is lost and the rest never changes."""
    sender, served, acked = send(lambda n, body: (BUSY, CUT, b"")[n % 3] if n < 4 else OK, 8)
    assert sorted(acked) == list(range(8))
    assert sender.stats.retries == len(served.bodies) - 8 > 0
    assert {body[-3:] for body in served.bodies} == {b":%d}" % number for number in range(8)}


def test_a_refusal_is_final_and_counted_by_status() -> None:
    """400 is not retried; a 2xx that refused some events counts those."""
    sender, served, acked = send(lambda n, body: BAD if body.endswith(b":0}") else PARTLY, 2)
    assert len(served.bodies) == 2
    assert acked == [1]
    assert sender.stats.refused == {400: 3, 200: 1}
    assert sender.stats.acked == 2


def test_after_the_last_attempt_an_envelope_is_given_up_and_counted() -> None:
    """attempts_max bounds the tries."""
    sender, served, acked = send(lambda n, body: BUSY, 1)
    assert len(served.bodies) == SETTINGS.attempts_max
    assert acked == []
    assert sender.stats.abandoned == 3


def test_handing_over_waits_while_too_many_wait() -> None:
    """With a server that answers nothing, `put` blocks once `pending_max` envelopes wait, and flush says no."""

    async def run() -> int:
        release = asyncio.Event()

        async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.close()

        listening = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        put = 0
        async with Sender(url, lambda: 0, lambda _: None, SenderSettings(connections=1, pending_max=4)) as sender:
            try:
                async with asyncio.timeout(0.5):
                    for number in range(100):
                        await sender.put(envelope(number))
                        put += 1
            except TimeoutError:
                assert not await sender.flush(0.01)
        release.set()
        listening.close()
        return put

    assert asyncio.run(run()) in (4, 5)


def test_a_url_that_is_none_is_refused() -> None:
    """The sender fails at once, with the remedy, instead of retrying for ever."""

    async def run() -> None:
        async with Sender("ftp://x", lambda: 0, lambda _: None, SETTINGS) as sender:
            for number in range(3):
                await sender.put(envelope(number))
                await asyncio.sleep(0)

    with pytest.raises(InputError, match="http:// or https://"):
        asyncio.run(run())
