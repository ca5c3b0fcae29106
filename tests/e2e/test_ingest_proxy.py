"""The reverse proxy in front of the core process: bodies, streams, and a core that is away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from tests.ingest_support import envelope, event, serving
from tocsin.app.proxy import ReverseProxy


class Core:
    """A stand-in for the core process: echoes, streams until told, and notices clients that leave."""

    def __init__(self) -> None:
        self.more = threading.Event()
        self.left = threading.Event()
        self.api = FastAPI()

        @self.api.api_route("/echo", methods=["GET", "POST", "PUT"])
        async def echo(request: Request) -> dict[str, Any]:
            body = await request.body()
            return {
                "method": request.method,
                "query": request.url.query,
                "size": len(body),
                "forwarded": request.headers.get("x-forwarded-for"),
                "connection": request.headers.get("x-hop"),
            }

        @self.api.get("/events")
        async def events() -> StreamingResponse:
            async def stream() -> Any:
                try:
                    yield b"data: first\n\n"
                    await asyncio.to_thread(self.more.wait, 20)
                    yield b"data: second\n\n"
                    await asyncio.Event().wait()
                finally:
                    self.left.set()

            return StreamingResponse(stream(), media_type="text/event-stream")


@contextlib.contextmanager
def running(app: Any, **options: Any) -> Iterator[uvicorn.Server]:
    """uvicorn in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def core() -> Core:
    """The core process."""
    return Core()


@pytest.fixture
def url(core: Core, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway whose fallback is the proxy to the core on a unix socket."""
    folder = tmp_path_factory.mktemp("proxy")
    uds = str(folder / "core.sock")
    with running(core.api, uds=uds), serving(folder, fallback=ReverseProxy(f"unix:{uds}")) as gateway:
        yield gateway.url


def test_requests_reach_the_core_whole(url: str) -> None:
    """Method, query and a large body arrive; the client's address is added; what names one hop is dropped."""
    headers = {"x-forwarded-for": "192.0.2.7", "x-hop": "1", "connection": "keep-alive, x-hop"}
    answer = httpx.post(f"{url}/echo?q=a%2Cb&x=1", content=b"x" * 3_000_000, headers=headers)
    assert answer.json() == {
        "method": "POST", "query": "q=a%2Cb&x=1", "size": 3_000_000,
        "forwarded": "192.0.2.7, 127.0.0.1", "connection": None,
    }  # fmt: skip
    assert httpx.get(f"{url}/echo").json()["method"] == "GET"
    assert httpx.get(f"{url}/nothing").status_code == 404


def test_events_come_as_they_happen(url: str, core: Core) -> None:
    """A server-sent event is delivered before the next exists, and the core hears when the client leaves."""
    with httpx.stream("GET", f"{url}/events", timeout=20) as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == b"data: first\n\n"
        core.more.set()
        assert next(chunks) == b"data: second\n\n"
    assert core.left.wait(20)


def test_heartbeats_are_taken_while_the_core_is_away(tmp_path: Path) -> None:
    """With nobody at the socket other routes answer 502 with the reason, and heartbeats are stored all the same."""
    with serving(tmp_path, fallback=ReverseProxy(f"unix:{tmp_path / 'none.sock'}")) as gateway:
        answer = httpx.get(f"{gateway.url}/api/v1/graph")
        assert answer.status_code == 502
        assert "core" in answer.json()["error"]["reason"]
        assert httpx.post(f"{gateway.url}/v1/heartbeats", json=envelope(event(0))).status_code == 200


def test_a_core_on_a_port_is_reached_too(tmp_path: Path, core: Core) -> None:
    """The target may be an http URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with running(core.api, host="127.0.0.1", port=port):
        proxy = ReverseProxy(f"http://127.0.0.1:{port}/")
        with serving(tmp_path, fallback=proxy) as gateway:
            assert httpx.get(f"{gateway.url}/echo?a=1").json()["query"] == "a=1"
