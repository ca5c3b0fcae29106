"""Published points over real HTTP, as Atlas clients send them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest.publish import MESSAGE_BYTES_MAX, MESSAGE_POINTS_MAX, log_records
from ingest.settings import IngestSettings, WriteKey
from tests.ingest_support import NOW_MS, Serving, serving
from tocsin.model import points, records
from tocsin.model.points import Point


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway with a key that publishes, one that may backfill too, and a player's."""
    keys = (
        WriteKey("pub-1", "publisher", bulk=True, publish=True),
        WriteKey("back-1", "backfiller", bulk=True, publish=True, backfill=True),
        WriteKey("play-1", "players"),
    )
    with serving(tmp_path_factory.mktemp("publish"), IngestSettings(keys=keys)) as running:
        yield running


def metric(name: str = "artwork.missing", value: Any = 1.0, timestamp: Any = NOW_MS, **tags: str) -> dict[str, Any]:
    """One gauge."""
    return {"tags": {"name": name, "atlas.dstype": "gauge", **tags}, "timestamp": timestamp, "value": value}


def publish(running: Serving, *metrics: dict[str, Any], key: str = "pub-1", **common: str) -> httpx.Response:
    """POST points."""
    url = f"{running.url}/api/v1/publish?key={key}"
    return httpx.post(url, json={"tags": common, "metrics": list(metrics)}, timeout=10)


def stored(running: Serving) -> list[tuple[str, dict[str, str], str, int, float]]:
    """All points in the log."""
    found = []
    for payload in running.payloads(records.POINTS):
        batch = points.decode(payload)
        for code, ts_ms, value in zip(batch.codes, batch.ts_ms, batch.values, strict=True):
            series = batch.series[code]
            found.append((series.name, dict(series.tags), series.type, int(ts_ms), float(value)))
    return found


def test_gauges_are_in_the_log_when_200_comes(gateway: Serving) -> None:
    """All taken is 200 with no body; common tags are joined in; a point without a type is a rate, as in Atlas."""
    plain = {"tags": {"name": "cpu use"}, "timestamp": NOW_MS - 1_000, "value": 2}
    answer = publish(gateway, metric(title="t1"), metric(title="t2", value=0), plain, app="artwork")
    assert (answer.status_code, answer.content) == (200, b"")
    assert sorted(stored(gateway), key=str) == [
        ("artwork.missing", {"app": "artwork", "title": "t1"}, "gauge", NOW_MS, 1.0),
        ("artwork.missing", {"app": "artwork", "title": "t2"}, "gauge", NOW_MS, 0.0),
        ("cpu use", {"app": "artwork"}, "rate", NOW_MS - 1_000, 2.0),
    ]


def test_some_taken_is_202_and_none_is_400_with_reasons(gateway: Serving) -> None:
    """Each rule of Atlas's that refuses a point is named; the good point of the request is stored."""
    bad = [
        metric(timestamp=NOW_MS - 60_001),
        metric(timestamp=NOW_MS + 60_001),
        metric("qoe.sps"),
        metric(""),
        metric(k="one letter"),
        metric(**{"two words": "x"}),
        metric(line="a\nb"),
        metric(empty=""),
        metric(long="x" * 121),
        metric(**{"atlas.other": "x"}),
        metric(**{"nf.other": "x"}),
        metric(**{"atlas.dstype": "timer"}),
        metric(**{f"tag-{number}": "x" for number in range(20)}),
    ]
    reasons = [
        "too old", "from future", "'qoe.'", "'name'", "key 'k'", "[two words]", "control characters", "'empty'",
        "'long'", "atlas.other", "nf.other", "timer", "21 > 20",
    ]  # fmt: skip
    for point, reason in zip(bad, reasons, strict=True):
        answer = publish(gateway, point)
        assert answer.status_code == 400
        assert answer.json()["type"] == "error"
        assert answer.json()["errorCount"] == 1
        assert reason in answer.json()["message"][0]
    answer = publish(gateway, *bad, metric())
    assert answer.status_code == 202
    assert answer.json()["type"] == "partial"
    assert answer.json()["errorCount"] == len(bad)
    assert [name for name, *_ in stored(gateway)] == ["artwork.missing"]


def test_a_bad_point_is_told_by_its_first_fault_and_the_good_ones_keep_their_order(gateway: Serving) -> None:
    """Ages, tags and values of one request are judged point by point; some lines of many are told."""
    good = [metric(node=f"i-{number % 3}", value=number) for number in range(9)]
    bad = [metric("qoe.x", timestamp=1), metric("qoe.x"), metric(timestamp=-5)] * 3
    answer = publish(gateway, *[one for pair in zip(good, bad, strict=True) for one in pair])
    assert (answer.status_code, answer.json()["errorCount"]) == (202, 9)
    told = answer.json()["message"]
    assert [line.partition(" (tags=")[0].split()[0] for line in told] == ["data", "name", "timestamp", "data", "name"]
    by_node: dict[str, list[float]] = {}
    for _, tags, _, _, value in stored(gateway):
        by_node.setdefault(tags["node"], []).append(value)
    assert by_node == {"i-0": [0, 3, 6], "i-1": [1, 4, 7], "i-2": [2, 5, 8]}


def test_text_is_kept_as_it_is_and_types_tell_series_apart(gateway: Serving) -> None:
    """Spaces, slashes and UTF-8 in values; a series that says it is a rate is another than one that says nothing."""
    text = {"city": "Köln / Süd", "title": "千と千尋", "quote": '"\\" 😀'}
    common = {"tags": {"name": "a b", **text}, "timestamp": NOW_MS, "value": 1}
    typed = [{**common, "tags": {**common["tags"], "atlas.dstype": kind}} for kind in ("rate", "sum", "counter")]  # type: ignore[dict-item]
    assert publish(gateway, common, *typed).status_code == 200
    found = sorted(stored(gateway), key=lambda point: (point[2], len(point[1])))
    assert [(name, kind, tags.get("atlas.dstype")) for name, tags, kind, *_ in found] == [
        ("a b", "counter", None), ("a b", "rate", None), ("a b", "rate", "rate"), ("a b", "sum", None),
    ]  # fmt: skip
    assert all(tags.items() >= text.items() for _, tags, *_ in found)
    ids = {one.series_id for payload in gateway.payloads(records.POINTS) for one in points.decode(payload).series}
    assert len(ids) == 4


def test_a_request_that_names_itself_is_known_when_it_comes_again(gateway: Serving) -> None:
    """The same key gives its messages the same ids, another or none gives others; a key that is too long is refused."""
    url = f"{gateway.url}/api/v1/publish?key=pub-1"
    metrics = [metric(node=f"i-{number}") for number in range(8)]
    for name in ("one", "one", "two", None):
        headers = {"idempotency-key": name} if name else {}
        assert httpx.post(url, json={"metrics": metrics}, headers=headers).status_code == 200
    ids = [points.decode(payload).message_id for payload in gateway.payloads(records.POINTS)]
    assert sorted(ids.count(one) for one in set(ids)) == [1, 1, 2, 2, 2]
    assert ids.count(0) == 2
    assert httpx.post(url, json={"metrics": metrics}, headers={"idempotency-key": "x" * 257}).status_code == 400


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "header"), (b":)\n\x01\xfa", "cut off"), (b":)\n\x01\xfa\xfb", "metrics"), (b":)\n\x01\x21", "object")],
)
def test_a_broken_smile_document_is_a_400(gateway: Serving, body: bytes, reason: str) -> None:
    """No document, or none of the payload's form."""
    headers = {"content-type": "application/x-jackson-smile"}
    answer = httpx.post(f"{gateway.url}/api/v1/publish?key=pub-1", content=body, headers=headers)
    assert answer.status_code == 400
    assert reason in answer.json()["message"][0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"metrics":[]}', "empty payload"),
        (b'{"metrics":[{"tags":{"name":"ab","n":1},"timestamp":1,"value":1}]}', "str"),
        (b'{"metrics":[{"tags":[],"timestamp":1,"value":1}]}', "object"),
        (b'{"metrics":[{"tags":{"name":"ab"},"timestamp":99999999999999999999,"value":1}]}', "64 bits"),
        (b'{"tags":7,"metrics":[{"tags":{"name":"ab"},"timestamp":1,"value":1}]}', "object"),
        (b"[]", "object"),
        (b'{"metrics":[{"tags":{"name":"ab"},"timestamp":1,"value":1e999}]}', "range"),
        (b"[" * 100_000, ""),
        (b"\xff", ""),
    ],
)
def test_what_is_no_payload_is_a_400(gateway: Serving, body: bytes, reason: str) -> None:
    """Broken, hostile and empty bodies are answered with a reason."""
    answer = httpx.post(f"{gateway.url}/api/v1/publish?key=pub-1", content=body)
    assert answer.status_code == 400
    assert reason in answer.json()["message"][0]


def test_old_points_need_a_key_that_backfills(gateway: Serving) -> None:
    """Age is not asked of a key set up for backfill; the other rules still hold."""
    old = metric(timestamp=NOW_MS - 86_400_000)
    assert publish(gateway, old).status_code == 400
    assert publish(gateway, old, key="back-1").status_code == 200
    assert publish(gateway, metric("qoe.sps", timestamp=1), key="back-1").status_code == 400


def test_nobody_backfills_without_a_key(tmp_path: Path) -> None:
    """A gateway without keys takes points from its own machine, but none that are old."""
    with serving(tmp_path) as running:
        assert publish(running, metric(), key="").status_code == 200
        assert publish(running, metric(timestamp=NOW_MS - 60_001), key="").status_code == 400


def test_players_keys_do_not_publish(gateway: Serving) -> None:
    """A key that ships in players is refused with 403, none at all with 401."""
    assert publish(gateway, metric(), key="play-1").status_code == 403
    assert publish(gateway, metric(), key="").status_code == 401
    assert stored(gateway) == []


def test_a_large_request_becomes_several_records() -> None:
    """Each within what a log takes, however long the tags; together they are the request, in its order."""
    tags = {f"tag-{number:02}": "x" * 110 for number in range(18)}
    sent = points.batch([Point("load", {**tags, "node": f"{n:06}"}, NOW_MS, float(n), "sum") for n in range(4_000)])
    taken = [points.decode(payload) for _, payload in log_records(sent, 1, b"key")]
    assert len(taken) > 2
    assert max(sum(len(one.packed) for one in batch.series) for batch in taken) < 1.01 * MESSAGE_BYTES_MAX
    assert [value for batch in taken for value in batch.values] == list(range(4_000))
    assert len({batch.message_id for batch in taken}) == len(taken)
    small = points.batch([Point("load", {"node": "a"}, NOW_MS + n, 1.0) for n in range(25_000)])
    assert max(len(points.decode(payload)) for _, payload in log_records(small, 1, b"")) <= MESSAGE_POINTS_MAX


def test_points_of_a_series_share_a_partition(tmp_path: Path) -> None:
    """Whatever request they come with, all points of a series are in one partition, so the last stays the last."""
    with serving(tmp_path, partitions=4) as running:
        for value in range(3):
            titles = range(20) if value % 2 else reversed(range(20))
            assert publish(running, *[metric(title=f"t{n}", value=value) for n in titles]).status_code == 200
        where: dict[str, set[int]] = {}
        for partition in range(4):
            for record in running.log.read(partition, 0):
                for series in points.decode(record.payload).series:
                    where.setdefault(dict(series.tags)["title"], set()).add(partition)
    assert len(where) == 20
    assert {len(partitions) for partitions in where.values()} == {1}
    assert len({next(iter(partitions)) for partitions in where.values()}) > 1
