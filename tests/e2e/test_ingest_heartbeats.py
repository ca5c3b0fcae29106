"""Heartbeats over real HTTP into a real log: what is answered, and what can be read back."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

import httpx
import pytest

from tests.ingest_support import NOW_MS, Serving, envelope, event, serving
from tocsin.adapters.log.port import partition_of
from tocsin.model import columnar, records


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """An open gateway on loopback."""
    with serving(tmp_path_factory.mktemp("ingest")) as running:
        yield running


def post(running: Serving, body: object, **kwargs: object) -> httpx.Response:
    """POST heartbeats as an SDK does."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "text/plain", **kwargs.pop("headers", {})}  # type: ignore[dict-item]
    return httpx.post(f"{running.url}/v1/heartbeats", content=content, headers=headers, timeout=10, **kwargs)  # type: ignore[arg-type]


def test_what_is_acked_is_in_the_log_when_the_answer_comes(gateway: Serving) -> None:
    """A 200 says accepted, and every field, tag and count of the heartbeat can be read from the log at once."""
    sent = event(
        3, rebuffer_ms=200, playing_ms=9_800, rebuffer_count=1, av_n=5, av_sum_ms=-70, av_sumsq_ms2=1000,
        av_absmax_ms=20, bitrate_kbps={"video": 4800, "audio": 128}, startup_ms=640, outcome="completed",
        error={"code": "NET-1", "fatal": True, "message": "cut"}, tags={"cdn.name": "cdn-b"},
    )  # fmt: skip
    answer = post(gateway, envelope(sent, sample_rate=0.25))
    assert answer.status_code == 200
    assert answer.json() == {"accepted": 1, "refused": [], "hints": []}
    stored = gateway.heartbeats()
    assert stored is not None
    numbers = {name: int(column[0]) for name, column in stored.numbers.items()}
    text = {name: column.texts()[0] for name, column in stored.text.items()}
    assert stored.session_ids == ["session-0001"]
    assert numbers["seq"] == 3
    assert numbers["ts_ms"] == NOW_MS - 1_000
    assert numbers["av_sum_ms"] == -70
    assert numbers["startup_ms"] == 640
    assert numbers["bitrate_video_kbps"] == 4800
    assert numbers["bitrate_audio_kbps"] == 128
    assert (numbers["reason"], numbers["state"], numbers["outcome"]) == (1, 2, 1)
    assert (numbers["error_fatal"], numbers["error_technical"]) == (1, 1)
    assert (numbers["sample_k"], numbers["received_ms"], numbers["shift_ms"]) == (4, NOW_MS, 0)
    assert text["title"] == "title-1"
    assert text["cdn"] == "cdn-b"
    assert text["error"] == "NET-1"
    assert text["error_message"] == "cut"
    assert text["sdk"] == "test/1"


def test_good_events_of_a_request_are_taken_and_bad_ones_named(gateway: Serving) -> None:
    """Partial acceptance: index, field and reason of each bad event; the good ones are stored; the log counts both."""
    body = envelope(
        event(0),
        event(1, ts_ms="yesterday"),
        event(2, playing_ms=60_000),
        event(3, session_id="has space!"),
        {"seq": 4},
        event(5),
    )
    answer = post(gateway, body)
    assert answer.status_code == 200
    found = answer.json()
    assert found["accepted"] == 2
    assert [(one["index"], one["field"]) for one in found["refused"]] == [
        (1, "ts_ms"), (2, "interval_ms"), (3, "session_id"), (4, "ts_ms"),
    ]  # fmt: skip
    assert all(one["reason"] for one in found["refused"])
    stored = gateway.heartbeats()
    assert stored is not None
    assert sorted(stored.numbers["seq"].tolist()) == [0, 5]
    assert gateway.refused() == {"schema": 3, "law": 1}


def test_a_request_with_no_good_event_is_a_400(gateway: Serving) -> None:
    """Nothing usable is 400, and nothing but the count of it is stored."""
    answer = post(gateway, envelope(event(0, freeze_ms=20_000)))
    assert answer.status_code == 400
    assert answer.json()["refused"][0]["field"] == "freeze_ms"
    assert gateway.heartbeats() is None
    assert gateway.refused() == {"law": 1}


def test_sessions_stay_in_their_partition(gateway: Serving) -> None:
    """Each heartbeat is in the partition that `partition_of` names, whatever request it came with."""
    for first in (0, 7):
        body = envelope(*[event(seq, session_id=f"session-{first + seq:04}") for seq in range(20)])
        assert post(gateway, body).json()["accepted"] == 20
    for partition in range(2):
        batches = [
            columnar.decode(record.payload)
            for record in gateway.log.read(partition, 0)
            if record.payload[:4] == records.HEARTBEATS
        ]
        ids = {session for batch in batches for session in batch.session_ids}
        assert ids
        assert {partition_of(session, 2) for session in ids} == {partition}


def test_lines_of_envelopes_are_taken(gateway: Serving) -> None:
    """NDJSON is taken by content type and when recognised; indices count through the request; a bad line is one."""
    lines = [envelope(event(0), event(1)), envelope(event(-1)), envelope(event(3), sample_rate=0.3)]
    body = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n{broken\n"
    for content_type in ("application/x-ndjson", "text/plain"):
        found = post(gateway, body, headers={"content-type": content_type}).json()
        assert found["accepted"] == 2
        assert [(one["index"], one["field"]) for one in found["refused"]] == [(2, "seq"), (3, "sample_rate"), (4, "")]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_bodies_are_taken(gateway: Serving, encoding: str) -> None:
    """gzip and deflate (both forms of the latter) are inflated."""
    plain = json.dumps(envelope(event(0))).encode()
    forms = [gzip.compress(plain)] if encoding == "gzip" else [zlib.compress(plain), zlib.compress(plain)[2:-4]]
    for body in forms:
        assert post(gateway, body, headers={"content-encoding": encoding}).status_code == 200


def test_a_wrong_clock_is_corrected(gateway: Serving) -> None:
    """A sender two hours ahead is shifted by received − sent; ts_ms itself is stored as sent."""
    ahead = 7_200_000
    body = envelope(event(0, ts_ms=NOW_MS + ahead - 500), sent_ts_ms=NOW_MS + ahead)
    assert post(gateway, body).status_code == 200
    stored = gateway.heartbeats()
    assert stored is not None
    assert stored.numbers["shift_ms"].tolist() == [-ahead]
    assert stored.numbers["ts_ms"].tolist() == [NOW_MS + ahead - 500]
    assert gateway.gateway.stats.clock_shifts == 1
