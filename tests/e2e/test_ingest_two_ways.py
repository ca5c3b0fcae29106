"""Heartbeats come in by two ways, past ASGI where a body is plain, else through it: with the same answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import pytest

from ingest.settings import IngestSettings, Limits, WriteKey
from tests.ingest_support import Serving, envelope, event, serving

SETTINGS = IngestSettings(
    keys=(WriteKey("k", "players", origins=("https://tv.example",)), WriteKey("b", "servers", bulk=True)),
    public_limits=Limits(4_096, 65_536, 5),
)
GOOD = json.dumps(envelope(event(0), event(1))).encode()
BODIES = {
    "good": GOOD,
    "one bad event": json.dumps(envelope(event(0), event(1, playing_ms=99_999), event(-1))).encode(),
    "only bad events": json.dumps(envelope(event(0, state="dancing"))).encode(),
    "no event": json.dumps(envelope()).encode(),
    "too many events": json.dumps(envelope(*(event(at) for at in range(6)))).encode(),
    "broken": GOOD[:-9],
    "larger than the key may": GOOD + b" " * 4_096,
    "empty": b"",
}
NDJSON = "content-type: application/x-ndjson\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway with two keys."""
    with serving(tmp_path_factory.mktemp("two-ways"), SETTINGS) as running:
        yield running


def plain(body: bytes, query: str = "key=k", more: str = "origin: https://tv.example\r\n") -> bytes:
    """A request that can go past ASGI."""
    head = f"POST /v1/heartbeats?{query} HTTP/1.1\r\nhost: t\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(body: bytes, query: str = "key=k", more: str = "origin: https://tv.example\r\n") -> bytes:
    """The same through ASGI."""
    head = f"POST /v1/heartbeats?{query} HTTP/1.1\r\nhost: t\r\n{more}transfer-encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return head.encode() + chunk + b"0\r\n\r\n"


def connect(running: Serving) -> socket.socket:
    """A connection to the gateway."""
    return socket.create_connection(("127.0.0.1", running.port), timeout=20)


def answer(reading: BufferedReader) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers, body of the next answer."""
    status = reading.readline().decode().strip()
    headers: dict[str, str] = {}
    while line := reading.readline().decode().strip():
        name, _, value = line.partition(": ")
        headers[name] = value
    return status, headers, reading.read(int(headers.get("content-length", "0"))) or b""


def asked(running: Serving, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """The answer to one request on a connection of its own."""
    with connect(running) as connection, connection.makefile("rb") as reading:
        connection.sendall(request)
        status, headers, body = answer(reading)
        return status, {name: value for name, value in headers.items() if name != "date"}, body


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("key=k", "origin: https://tv.example\r\n"),
        ("key=k", "origin: https://else.example\r\n"),
        ("key=b", ""),
        ("", "authorization: Bearer b\r\n"),
        ("key=nobody", ""),
        ("key=b", NDJSON),
    ],
)
def test_both_ways_answer_alike(gateway: Serving, name: str, query: str, more: str) -> None:
    """Status, headers and body are the same, whatever the body and whoever sends it."""
    body = BODIES[name]
    assert asked(gateway, plain(body, query, more)) == asked(gateway, chunked(body, query, more))


def test_both_ways_are_taken(gateway: Serving) -> None:
    """The comparison above does not compare refusals only: each way takes heartbeats of its own where it should."""
    before = gateway.gateway.stats.heartbeats_accepted
    for request in (plain(GOOD), chunked(GOOD)):
        status, headers, body = asked(gateway, request)
        assert (status, headers["access-control-allow-origin"]) == ("HTTP/1.1 200 OK", "https://tv.example")
        assert json.loads(body) == {"accepted": 2, "refused": [], "hints": []}
    assert gateway.gateway.stats.heartbeats_accepted == before + 4


def test_requests_in_one_write_are_answered_in_order(gateway: Serving) -> None:
    """A client may send the next requests before the answer; answers come one by one, in the order of the requests."""
    with connect(gateway) as connection, connection.makefile("rb") as reading:
        bad = json.dumps(envelope(event(0), event(1, playing_ms=99_999))).encode()
        connection.sendall(
            plain(GOOD) + chunked(bad) + plain(bad) + b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n" + plain(GOOD)
        )
        answers = [answer(reading) for _ in range(5)]
    bodies = [json.loads(body) for _, _, body in answers]
    assert [one.get("accepted") for one in bodies] == [2, 1, 1, None, 2]
    assert bodies[3] == {"status": "ok"}


def test_a_body_in_pieces_is_put_together(gateway: Serving) -> None:
    """Each byte as a write of its own."""
    with connect(gateway) as connection, connection.makefile("rb") as reading:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(request := plain(GOOD))):
            connection.sendall(request[at : at + 1])
        assert json.loads(answer(reading)[2])["accepted"] == 2


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1\r\nconnection: close"])
def test_a_connection_that_is_to_end_ends(gateway: Serving, version: str) -> None:
    """After the answer, for HTTP/1.0 and where the client says so."""
    with connect(gateway) as connection, connection.makefile("rb") as reading:
        connection.sendall(plain(GOOD).replace(b"HTTP/1.1", version.encode(), 1))
        status, _, body = answer(reading)
        assert status == "HTTP/1.1 200 OK"
        assert json.loads(body)["accepted"] == 2
        assert reading.read() == b""


def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    """Once its last answer is older than the idle time-out; the deadline of requests is another."""
    settings = IngestSettings(idle_timeout_s=1.0, header_timeout_s=0.2, body_timeout_s=0.2)
    with (
        serving(tmp_path, settings) as running,
        connect(running) as connection,
        connection.makefile("rb") as reading,
    ):
        for _ in range(2):
            connection.sendall(plain(GOOD, "", ""))
            assert answer(reading)[0] == "HTTP/1.1 200 OK"
        assert reading.read() == b""


def test_who_leaves_within_a_body_is_counted(tmp_path: Path) -> None:
    """Nothing of the body is stored; the ledger has one refusal."""
    with serving(tmp_path) as running:
        with connect(running) as connection:
            connection.sendall(plain(GOOD, "", "")[:-9])
        assert asked(running, plain(GOOD, "", ""))[0] == "HTTP/1.1 200 OK"
        while not running.gateway.stats.refused["gone"]:
            asked(running, b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n")
        assert running.gateway.stats.heartbeats_accepted == 2


def test_a_defect_is_answered_and_the_next_request_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that is wrong is a 500 for the request that met it."""
    with serving(tmp_path) as running:
        monkeypatch.setattr(running.gateway, "_sample_unknown", lambda body: {}[body])
        status, _, body = asked(running, plain(GOOD, "", ""))
        assert (status, json.loads(body)["accepted"]) == ("HTTP/1.1 500 Internal Server Error", 0)
        monkeypatch.undo()
        assert asked(running, plain(GOOD, "", ""))[0] == "HTTP/1.1 200 OK"
        assert running.gateway.stats.in_flight_bytes == 0
