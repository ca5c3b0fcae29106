"""The load of `bench_line.py`: sessions that report every 10 s, 20 heartbeats a request, at a bounded rate.

A request holds heartbeats of 20 sessions that share the envelope's tags, as `bench_ingest.py` has them. Bodies are
encoded beforehand up to their numbers that must move (session, seq, time, playhead), so that the sender's own CPU stays
small beside what is measured; it runs in a thread of its own and is reported apart.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from player_sim.sender import Connection
from player_sim.wire import ASN_HEADER, COUNTRY_HEADER
from tocsin.model.errors import UnavailableError
from tocsin.model.heartbeat import SCHEMA

HEARTBEATS = 20
INTERVAL_MS = 10_000
CONNECTIONS = 256
POOL = 2_000
"""Heartbeats of a kind that requests are put together from."""
ROUNDS_OF_A_SESSION = 180
"""Half an hour of viewing."""
LATE_S_MAX = 1.0
"""A request sent later than this after its time means that the rate was not held."""
_BUSY_RETRY_S = 0.5


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Group:
    """20 sessions of one set of tags, and their requests as a template by kind (`start`, `playing`, `end`)."""

    number: int
    tags: str
    headers: str
    playing: bytes

    def body(self, round_number: int, sent_ms: int) -> bytes:
        """The request of a round; the first round finds each group in another minute of its viewing."""
        generation, seq = divmod(round_number + self.number % ROUNDS_OF_A_SESSION, ROUNDS_OF_A_SESSION)
        kind = "start" if seq == 0 else "end" if seq == ROUNDS_OF_A_SESSION - 1 else "playing"
        moving: list[int] = [sent_ms]
        for at in range(HEARTBEATS):
            session = (self.number * HEARTBEATS + at) * 1_000 + generation
            moving += [session, seq, sent_ms - 40 * at, seq * INTERVAL_MS]
        template = self.playing if kind == "playing" else _template(self.tags, _pool(kind)[:HEARTBEATS])
        return template % tuple(moving)


def groups(count: int, seed: int) -> list[Group]:
    """`count` groups, their tags drawn by Zipf over what a service of 2,000 titles has."""
    rng = random.Random(seed)
    return [_group(number, rng) for number in range(count)]


def _group(number: int, rng: random.Random) -> Group:
    title = _zipf(rng, 2_000)
    tags = {
        "content.id": f"title-{title}", "content.type": ("film", "episode", "clip")[title % 3],
        "stream.id": f"stream-{title}-{rng.randrange(2)}", "stream.type": "vod",
        "stream.format": ("hls", "dash")[title % 2],
        "cdn.name": f"cdn-{_zipf(rng, 4)}", "player.name": f"player-{_zipf(rng, 4)}",
        "player.version": f"1.{_zipf(rng, 12)}", "app.version": f"4.{_zipf(rng, 10)}",
        "device.category": f"device-{_zipf(rng, 8)}", "os.name": f"os-{_zipf(rng, 8)}",
        "network.type": ("wifi", "cellular", "ethernet")[_zipf(rng, 3)],
    }  # fmt: skip
    country = _zipf(rng, 60)
    place = (
        f"{COUNTRY_HEADER}: {chr(65 + country // 26)}{chr(65 + country % 26)}\r\n{ASN_HEADER}: AS{_zipf(rng, 300)}\r\n"
    )
    text = _json(tags)
    return Group(number, text, place, _template(text, rng.choices(_pool("playing"), k=HEARTBEATS)))


def _zipf(rng: random.Random, values: int) -> int:
    """A rank from 0, below `values`, as likely as 1 / (rank + 1)."""
    return rng.choices(range(values), cum_weights=_weights(values))[0]


@functools.cache
def _weights(values: int) -> list[float]:
    return list(itertools.accumulate(1 / (rank + 1) for rank in range(values)))


def _event(rng: random.Random, kind: str) -> dict[str, Any]:
    """A heartbeat of a playback: start-up, 10 s of playing (one in twenty with a stall), or its end."""
    stalled_ms = rng.randrange(200, 4_000) if rng.random() < 0.05 else 0
    waited_ms = rng.randrange(200, 3_000) if kind == "start" else 0
    playing_ms = 9_900 - stalled_ms - waited_ms
    bitrate = rng.choice((1_200, 2_400, 4_800, 7_500))
    event: dict[str, Any] = {
        "session_id": "@session", "seq": "@seq", "ts_ms": "@ts", "interval_ms": INTERVAL_MS,
        "reason": {"start": "start", "playing": "interval", "end": "quit"}[kind],
        "state": "quit" if kind == "end" else "playing", "playhead_ms": "@playhead",
        "bitrate_kbps": {"video": bitrate, "audio": 128}, "playing_ms": playing_ms, "media_ms": playing_ms,
        "bits_kb": bitrate * playing_ms // 1_000, "frames_total": playing_ms // 40, "frames_dropped": rng.randrange(3),
        "av_n": 20, "av_sum_ms": rng.randrange(-200, 200), "av_sumsq_ms2": rng.randrange(2_000, 9_000),
        "av_absmax_ms": rng.randrange(40), "req_n": 4, "req_ms_sum": rng.randrange(100, 900),
        "req_kb": rng.randrange(20_000, 60_000),
    }  # fmt: skip
    if stalled_ms:
        event |= {"rebuffer_ms": stalled_ms, "rebuffer_count": 1}
    if kind == "start":
        event |= {"startup_ms": waited_ms, "startup_wait_ms": waited_ms}
    if kind == "end":
        event["outcome"] = "quit"
    return event


@functools.cache
def _pool(kind: str) -> list[str]:
    """Heartbeats as JSON with places for what moves: session, seq, time, playhead."""
    rng = random.Random(kind)
    texts = [_json(_event(rng, kind)) for _ in range(POOL)]
    return [re.sub(r'"@(?:seq|ts|playhead)"', "%d", text).replace('"@session"', '"%016x"') for text in texts]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")).replace("%", "%%")


def _template(tags: str, events: list[str]) -> bytes:
    return (
        f'{{"schema":"{SCHEMA}","sent_ts_ms":%d,"sdk":{{"name":"tocsin-js","version":"0.1.0"}},"sample_rate":1,'
        f'"tags":{tags},"events":[{",".join(events)}]}}'
    ).encode()


@dataclass(slots=True)
class Sent:
    """What came of it: heartbeats acked, attempts answered 503, the latest a request was sent after its time (s)."""

    acked: int = 0
    busy: int = 0
    late_s_max: float = 0.0
    cpu_s: float = 0.0
    refused: list[str] = field(default_factory=list)


class Load:
    """Sends rounds of all groups, evenly spread over 10 s each; round numbers go on from one call to the next."""

    def __init__(self, url: str, audience: list[Group]) -> None:
        self._url = f"{url}/v1/heartbeats"
        self._audience = audience
        self._turns = ((number, group) for number in itertools.count() for group in audience)

    def run(self, seconds: float) -> Sent:
        """Send for `seconds` at the audience's rate; returns once every request is answered."""
        sent = Sent()
        began_s = time.thread_time()
        asyncio.run(self._send(seconds, sent))
        sent.cpu_s = time.thread_time() - began_s
        return sent

    def start(self, seconds: float) -> tuple[threading.Thread, list[Sent]]:
        """`run` in a thread; the result is appended to the list."""
        results: list[Sent] = []
        thread = threading.Thread(target=lambda: results.append(self.run(seconds)), name="load")
        thread.start()
        return thread, results

    async def _send(self, seconds: float, sent: Sent) -> None:
        began_s = time.monotonic()
        every_s = INTERVAL_MS / 1_000 / len(self._audience)
        count = int(seconds / every_s)
        due = ((began_s + number * every_s, *next(self._turns)) for number in range(count))
        await asyncio.gather(*(self._client(due, sent) for _ in range(CONNECTIONS)))

    async def _client(self, due: Iterator[tuple[float, int, Group]], sent: Sent) -> None:
        connection = Connection(self._url, 30.0)
        for due_s, round_number, group in due:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            sent.late_s_max = max(sent.late_s_max, time.monotonic() - due_s)
            await self._deliver(connection, group.body(round_number, now_ms()), group.headers, sent)
        await connection.close()

    async def _deliver(self, connection: Connection, body: bytes, headers: str, sent: Sent) -> None:
        while True:
            answer = await connection.post(body, headers)
            if answer.status != 503:
                break
            sent.busy += 1
            await asyncio.sleep(_BUSY_RETRY_S)
        if answer.status != 200 or b'"accepted":%d' % HEARTBEATS not in answer.body:
            raise UnavailableError(f"sending a request: HTTP {answer.status}: {answer.body[:300]!r}")
        sent.acked += HEARTBEATS
