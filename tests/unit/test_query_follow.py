"""Streams that stay open: each point is sent once, when its minute is complete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from httpx import URL

from query.api import router
from query.deps import QueryDeps
from query.fetch_api import FOLLOWERS_MAX
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.times import MINUTE, SECOND

START = 1_795_176_000_000


class World:
    """A clock that moves by each wait of a stream, and a series that grows with it; the stream ends after `waits`."""

    def __init__(self, waits: int, wait_ms: int = 20 * SECOND) -> None:
        self.now_ms = START
        self.source = MemorySource()
        self._left, self._wait_ms = waits, wait_ms
        for i in range(-30, 1):
            self._put(START + i * MINUTE)

    def _put(self, time_ms: int) -> None:
        for device, factor in (("tv", 1), ("web", 2)):
            value = float((time_ms - START) // MINUTE * factor)
            self.source.put({"name": "a", "device": device}, time_ms, value)

    async def wait(self, _seconds: float) -> None:
        """Let time pass, or hang up."""
        if self._left == 0:
            raise asyncio.CancelledError
        self._left -= 1
        before = self.now_ms // MINUTE
        self.now_ms += self._wait_ms
        if self.now_ms // MINUTE > before:
            self._put(self.now_ms // MINUTE * MINUTE)


async def _events(world: World, params: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
    app = FastAPI()
    app.include_router(router(QueryDeps(world.source, world.source, lambda: world.now_ms, wait=world.wait)))
    query = URL("/", params=params).query
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/api/v2/fetch",
        "raw_path": b"/api/v2/fetch", "query_string": query, "headers": [], "scheme": "http", "server": ("t", 80),
        "client": ("t", 1), "root_path": "",
    }  # fmt: skip
    body: list[bytes] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        body.append(message.get("body", b""))

    try:
        await app(scope, receive, send)  # type: ignore[arg-type]
    except asyncio.CancelledError:
        gone.set()
    for event in b"".join(body).decode().split("\n\n"):
        if event:
            yield json.loads(event.removeprefix("data: "))


def follow(world: World, q: str, **params: str) -> list[dict[str, Any]]:
    """All events until the world hangs up."""

    async def collect() -> list[dict[str, Any]]:
        return [e async for e in _events(world, {"q": q, "s": "e-5m", "follow": "1", **params})]

    return asyncio.run(collect())


def points(events: list[dict[str, Any]]) -> dict[int, float]:
    """Values by time; a time that comes twice fails."""
    found: dict[int, float] = {}
    for event in events:
        if event["type"] == "timeseries":
            for i, value in enumerate(event["data"]["values"]):
                time_ms = event["start"] + i * event["step"]
                assert time_ms not in found
                found[time_ms] = value
    return found


def test_points_come_once_and_without_gap() -> None:
    """The range first, then each minute half a minute after it has ended."""
    world = World(waits=15)
    found = points(follow(world, "name,a,:eq,device,tv,:eq,:and,:sum"))
    times = sorted(found)
    assert times == list(range(times[0], times[-1] + 1, MINUTE))
    assert times[0] == START - 5 * MINUTE
    assert times[-1] == (world.now_ms - 30 * SECOND) // MINUTE * MINUTE


def test_offsets_and_words_that_look_back_go_on() -> None:
    """A derivative of shifted data has a value at every point that is sent later."""
    found = points(follow(World(waits=12), "name,a,:eq,device,tv,:eq,:and,:sum,10m,:offset,:derivative"))
    later = {t: v for t, v in found.items() if t >= START}
    assert later
    assert set(later.values()) == {1.0}


def test_topk_chooses_over_the_whole_range() -> None:
    """The line that is largest over the range so far is the one that is sent."""
    events = follow(World(waits=12), "name,a,:eq,(,device,),:by,max,1,:topk")
    assert {e["tags"]["device"] for e in events if e["type"] == "timeseries"} <= {"tv", "web"}
    assert events[-1]["type"] in ("info", "timeseries")


def test_quiet_streams_show_that_they_live() -> None:
    """Without new points an empty event comes from time to time."""
    world = World(waits=12, wait_ms=1)
    heartbeats = [e for e in follow(world, "name,a,:eq,:sum") if e == {"type": "info", "message": "heartbeat"}]
    assert len(heartbeats) == 3


def test_number_of_streams_is_limited() -> None:
    """One stream too many is told to come again."""

    async def open_all() -> int:
        app = FastAPI()
        blocked = asyncio.Event()

        async def wait(_seconds: float) -> None:
            await blocked.wait()

        world = World(waits=0)
        app.include_router(router(QueryDeps(world.source, world.source, lambda: world.now_ms, wait=wait)))
        statuses: list[int] = []
        begun = asyncio.Semaphore(0)

        async def ask() -> None:
            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
                "path": "/api/v2/fetch", "raw_path": b"", "query_string": b"q=1&follow=1", "headers": [],
                "scheme": "http", "server": ("t", 80), "client": ("t", 1), "root_path": "",
            }  # fmt: skip

            async def receive() -> dict[str, Any]:
                await asyncio.Event().wait()
                return {}

            first = True

            async def send(message: dict[str, Any]) -> None:
                nonlocal first
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])
                elif first:
                    first = False
                    begun.release()

            await app(scope, receive, send)  # type: ignore[arg-type]

        tasks = [asyncio.create_task(ask()) for _ in range(FOLLOWERS_MAX)]
        for _ in range(FOLLOWERS_MAX):
            await begun.acquire()
        await ask()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return statuses[-1]

    assert asyncio.run(open_all()) == 503
