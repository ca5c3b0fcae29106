"""Keys, limits, bombs and slow clients: bad input is answered in bounded time, counted, and hurts nobody else."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ingest.body import HttpError, inflate
from ingest.settings import BULK_LIMITS, PUBLIC_LIMITS, IngestSettings, Rates, WriteKey
from tests.ingest_support import Serving, envelope, event, serving
from tocsin.model.errors import ConfigError

KEYS = (
    WriteKey("wk-players", "players"),
    WriteKey("wk-site", "site", origins=("https://tv.example",)),
    WriteKey("wk-bulk", "simulator", bulk=True),
    WriteKey("wk-old", "old", revoked=True),
    WriteKey("wk-slow", "slow", events_per_s=1, burst_events=2),
)
GOOD = json.dumps(envelope(event(0))).encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway that asks for keys; shared, since every test asks only what its own requests became."""
    with serving(tmp_path_factory.mktemp("limits"), IngestSettings(keys=KEYS)) as running:
        yield running


def post(running: Serving, body: bytes, key: str = "wk-players", **headers: str) -> httpx.Response:
    """POST heartbeats with a key."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{running.url}/v1/heartbeats?key={key}", content=body, headers=named, timeout=20)


def test_a_key_is_asked_for_and_never_stored_with_less(gateway: Serving) -> None:
    """No key, an unknown one and a revoked one are 401; by query or Bearer a good one is taken."""
    for key in ("", "wk-none", "wk-old"):
        assert post(gateway, GOOD, key).status_code == 401
    url = f"{gateway.url}/v1/heartbeats"
    bearer = {"authorization": "Bearer wk-players"}
    assert httpx.post(url, content=GOOD, headers=bearer).status_code == 200
    assert httpx.post(url, content=GOOD, headers={"authorization": "Basic wk-players"}).status_code == 401


def test_origins_not_listed_are_refused(gateway: Serving) -> None:
    """A key with an origin list takes those origins only; the answer can be read by the page (CORS)."""
    good = post(gateway, GOOD, "wk-site", origin="https://tv.example")
    assert good.status_code == 200
    assert good.headers["access-control-allow-origin"] == "https://tv.example"
    assert post(gateway, GOOD, "wk-site", origin="https://evil.example").status_code == 403
    assert post(gateway, GOOD, "wk-site").status_code == 403


def test_a_preflight_is_answered(gateway: Serving) -> None:
    """OPTIONS says what a browser may send; other methods are 405."""
    url = f"{gateway.url}/v1/heartbeats"
    answer = httpx.options(url, headers={"origin": "https://tv.example", "access-control-request-method": "POST"})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://tv.example"
    assert "content-type" in answer.headers["access-control-allow-headers"]
    assert httpx.get(url).status_code == 405


def test_a_key_over_its_rate_is_told_when_to_come_again(gateway: Serving) -> None:
    """The third heartbeat at once of a key with a burst of two is 429 with Retry-After; other keys go on."""
    two = json.dumps(envelope(event(0), event(1))).encode()
    assert post(gateway, two, "wk-slow").status_code == 200
    answer = post(gateway, GOOD, "wk-slow", origin="https://tv.example")
    assert answer.status_code == 429
    assert answer.headers["access-control-expose-headers"] == "retry-after"
    assert 1 <= int(answer.headers["retry-after"]) <= 2
    assert post(gateway, GOOD).status_code == 200


def test_networks_and_sessions_have_buckets(tmp_path: Path) -> None:
    """One session's flood is refused event by event, one network's flood as a whole; bulk keys have neither."""
    rates = Rates(
        network_events_per_s=0.001, network_burst_events=30, session_burst_events=4, session_events_per_s=1e-3
    )
    with serving(tmp_path, IngestSettings(keys=KEYS, rates=rates)) as running:
        flood = [event(seq, session_id="flooding-1") for seq in range(10)]
        found = post(running, json.dumps(envelope(*flood, event(0, session_id="innocent-1"))).encode()).json()
        assert found["accepted"] == 5
        assert [one["index"] for one in found["refused"]] == [4, 5, 6, 7, 8, 9]
        assert running.refused() == {"session_rate": 6}
        assert post(running, json.dumps(envelope(*flood, *flood)).encode()).status_code == 429
        bulk = post(running, json.dumps(envelope(*flood, *flood)).encode(), "wk-bulk")
        assert bulk.json()["accepted"] == 20


def bomb(size: int) -> bytes:
    """A gzip body of zeros that inflates to `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]) + packer.flush()


def nested(depth: int) -> bytes:
    """A good heartbeat with one unknown field nested `depth` deep."""
    deep = b"[" * depth + b"]" * depth
    return GOOD.replace(b'"seq"', b'"x": ' + deep + b', "seq"')


def test_bodies_past_a_limit_are_refused(gateway: Serving) -> None:
    """Wire, inflated, events, one event: 413 or a refusal, larger for bulk keys."""
    padded = GOOD + b" " * (64 * 1024)
    answer = post(gateway, padded)
    assert (answer.status_code, "65536 is the most" in answer.json()["error"]["reason"]) == (413, True)
    assert post(gateway, padded, "wk-bulk").status_code == 200
    long = gzip.compress(b"\n".join(json.dumps(envelope(event(seq))).encode() for seq in range(2_000)))
    answer = post(gateway, long, content_encoding="gzip")
    assert (answer.status_code, "inflates to more than 524288" in answer.json()["error"]["reason"]) == (413, True)
    many = [json.dumps(envelope(*[event(seq, session_id="bulk-send-1") for seq in range(251)])).encode()] * 2
    lines = gzip.compress(b"\n".join(many))
    answer = post(gateway, lines, content_encoding="gzip")
    assert (answer.status_code, "500 events" in answer.json()["error"]["reason"]) == (413, True)
    assert post(gateway, lines, "wk-bulk", content_encoding="gzip").json()["accepted"] == 502
    large = json.dumps(envelope(event(0), event(1, padding="x" * 9_000))).encode()
    found = post(gateway, large).json()
    assert found["accepted"] == 1
    assert found["refused"][0]["index"] == 1
    assert "8192" in found["refused"][0]["reason"]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        pytest.param(bomb(64 << 20), "gzip", 413, id="gzip bomb"),
        pytest.param(nested(50_000)[:65_000], "", 400, id="depth bomb cut off"),
        pytest.param(gzip.compress(nested(100_000)), "gzip", 400, id="depth bomb"),
        pytest.param(gzip.compress(b"[" * 500_000), "gzip", 413, id="open brackets"),
        pytest.param(GOOD.replace(b'"seq": 0', b'"seq": 1e400'), "", 400, id="1e400"),
        pytest.param(GOOD.replace(b'"seq": 0', b'"seq": NaN'), "", 400, id="NaN"),
        pytest.param(GOOD.replace(b'"seq": 0', b'"seq": ' + b"9" * 5_000), "", 400, id="5,000 digits"),
        pytest.param(GOOD.replace(b"title-1", b"\\ud800"), "", 400, id="lone high surrogate"),
        pytest.param(GOOD.replace(b"title-1", b"\\udc00"), "", 400, id="lone low surrogate"),
        pytest.param(GOOD.replace(b"title-1", b"\xff\xfe"), "", 400, id="not UTF-8"),
        pytest.param(b"", "", 400, id="empty"),
        pytest.param(b"null", "", 400, id="null"),
        pytest.param(b"\x1f\x8b\x08", "gzip", 400, id="gzip cut off"),
        pytest.param(b"not gzip", "gzip", 400, id="not gzip"),
        pytest.param(GOOD, "br", 415, id="unknown encoding"),
        pytest.param(GOOD.replace(b'"sample_rate": 1', b'"sample_rate": 0.7'), "", 400, id="sample_rate not 1/k"),
        pytest.param(GOOD.replace(b"tocsin.heartbeat/1", b"tocsin.heartbeat/9"), "", 400, id="schema"),
    ],
)
def test_hostile_bodies_are_answered_quickly(gateway: Serving, body: bytes, encoding: str, status: int) -> None:
    """Each is 4xx with a reason, in well under a second, and the next good heartbeat is taken."""
    started_s = time.monotonic()
    answer = post(gateway, body, **({"content_encoding": encoding} if encoding else {}))
    assert answer.status_code == status
    assert answer.json()["error"]["reason"]
    assert time.monotonic() - started_s < 2
    assert post(gateway, GOOD).status_code == 200


def test_a_bomb_costs_little_cpu() -> None:
    """A bomb of 128 KiB for 128 MiB is given up at the first limit it meets: under 10 ms of CPU (best of three)."""
    packed = bomb(128 << 20)
    for limits in (PUBLIC_LIMITS, BULK_LIMITS):
        spent_s = []
        for _ in range(3):
            started_s = time.thread_time()
            with pytest.raises(HttpError, match="inflates"):
                inflate(packed, b"gzip", limits)
            spent_s.append(time.thread_time() - started_s)
        assert min(spent_s) < 0.01


def test_many_keys_in_a_map_are_bounded(gateway: Serving) -> None:
    """A map of 20,000 unknown tags is taken within the limits, ignored and counted; /metrics stays valid."""
    tags = {f't{number}\n"{{}}': "x" for number in range(20_000)}
    body = gzip.compress(json.dumps(envelope(event(0), tags=tags)).encode())
    before = gateway.gateway.stats.tags_ignored
    answer = post(gateway, body, "wk-bulk", content_encoding="gzip")
    assert answer.json()["accepted"] == 1
    assert gateway.gateway.stats.tags_ignored - before == 20_000
    metrics = httpx.get(f"{gateway.url}/metrics")
    assert metrics.status_code == 200
    assert "tocsin_ingest_tags_ignored_total" in metrics.text


def raw(running: Serving, data: bytes) -> socket.socket:
    """A connection on which `data` was sent."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    connection.sendall(data)
    return connection


def test_slow_clients_are_cut_and_others_served(tmp_path: Path) -> None:
    """Silence, half a header and half a body are each ended at the deadline, while others are answered."""
    settings = IngestSettings(header_timeout_s=0.3, body_timeout_s=0.3)
    with serving(tmp_path, settings) as running:
        head = b"POST /v1/heartbeats HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n"
        slow = {
            "silent": raw(running, b""),
            "header": raw(running, head),
            "body": raw(running, head + b'\r\n{"schema"'),
        }
        idle = [raw(running, b"") for _ in range(200)]
        assert httpx.post(f"{running.url}/v1/heartbeats", content=GOOD).status_code == 200
        answers = {name: connection.recv(4096) for name, connection in slow.items()}
        assert answers["silent"] == b""
        assert answers["header"].startswith(b"HTTP/1.1 408")
        assert answers["body"].startswith(b"HTTP/1.1 408")
        assert {connection.recv(1) for connection in idle} == {b""}
        for connection in [*slow.values(), *idle]:
            connection.close()
        assert httpx.post(f"{running.url}/v1/heartbeats", content=GOOD).status_code == 200


def test_a_request_cut_off_is_not_stored(tmp_path: Path) -> None:
    """A connection closed before the last byte of the body stores nothing and is counted."""
    with serving(tmp_path) as running:
        head = b"POST /v1/heartbeats HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(GOOD)
        raw(running, head + GOOD[:-1]).close()
        assert httpx.post(f"{running.url}/v1/heartbeats", content=b"[").status_code == 400
        while running.gateway.stats.refused["gone"] == 0:
            assert httpx.get(f"{running.url}/healthz").status_code == 200
    # Serving is over, so the counts of what was refused at once are in the log as well.
    with serving(tmp_path) as running:
        assert running.heartbeats() is None
        assert running.refused() == {"gone": 1, "body": 1}


def test_strangers_are_not_served_without_keys() -> None:
    """A gateway without keys binds to loopback only, or says why not."""
    with pytest.raises(ConfigError, match="write key"):
        IngestSettings(host="0.0.0.0").check()  # noqa: S104
    replace(IngestSettings(), host="::1").check()
    IngestSettings(host="0.0.0.0", keys=KEYS).check()  # noqa: S104
