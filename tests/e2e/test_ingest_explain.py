"""`?explain=1`, the role's own routes, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.settings import GeoNetwork, IngestSettings
from tests.ingest_support import NOW_MS, Serving, envelope, event, serving
from tocsin.adapters.log.port import partition_of
from tocsin.model.telemetry import INGEST


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """An open gateway that knows loopback's country."""
    settings = IngestSettings(
        geo_networks=(GeoNetwork("127.0.0.0/8", "XX", "AS0"), GeoNetwork("127.0.0.1/32", "JP", "AS64500"))
    )
    with serving(tmp_path_factory.mktemp("explain"), settings) as running:
        yield running


def explain(running: Serving, query: str, body: object) -> httpx.Response:
    """POST heartbeats and ask what they became."""
    return httpx.post(f"{running.url}/v1/heartbeats?{query}", json=body, timeout=10)


def test_explain_says_what_each_event_became(gateway: Serving) -> None:
    """Partition, minute, corrected time, tags taken and ignored, the law broken, unknown fields; and it stores."""
    late = 90_000
    body = envelope(
        event(0, tags={"cdn.name": "cdn-b", "user.id": "u1", "geo.country": "US"}, novel=1),
        event(1, freeze_ms=20_000),
        event(2, state="dancing"),
        event(3, error={"code": "E7"}),
        sent_ts_ms=NOW_MS - late,
        extra=True,
        sample_rate=0.5,
    )
    answer = explain(gateway, "explain=1", body)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["accepted"], found["stored"]) == (2, True)
    assert sorted(found["unknown_fields"]) == ["events[].novel", "extra"]
    first, second, third, fourth = found["events"]
    ts_ms = NOW_MS - 1_000 + late
    assert first == {
        "index": 0, "status": "accepted", "session_id": "session-0001", "seq": 0, "ts_ms": ts_ms, "shift_ms": late,
        "minute": ts_ms // 60_000 * 60, "partition": partition_of("session-0001", 2), "sample_k": 2,
        "tags": {"title": "title-1", "cdn": "cdn-b", "region": "JP", "isp": "AS64500"},
        "ignored_tags": ["user.id", "geo.country"], "error": "",
    }  # fmt: skip
    assert (second["status"], second["field"], second["law"]) == (
        "refused", "freeze_ms", "freeze_ms is more than playing_ms",
    )  # fmt: skip
    assert (third["index"], third["status"], third["field"], third["law"]) == (2, "refused", "state", None)
    assert (fourth["status"], fourth["error"]) == ("accepted", "E7")
    stored = gateway.heartbeats()
    assert stored is not None
    assert sorted(stored.numbers["seq"].tolist()) == [0, 3]
    assert set(stored.text["region"].texts()) == {"JP"}


def test_a_dry_run_stores_nothing(gateway: Serving) -> None:
    """`dry=1` answers the same, with the laws checked, and the log stays empty."""
    body = envelope(event(0), event(1, freeze_ms=20_000))
    found = explain(gateway, "dry=1", body).json()
    assert (found["accepted"], found["stored"]) == (1, False)
    assert [one["status"] for one in found["events"]] == ["accepted", "refused"]
    assert gateway.heartbeats() is None
    assert gateway.refused() == {}
    assert gateway.gateway.stats.heartbeats_accepted == 0


def test_own_telemetry_shows_every_instrument(gateway: Serving) -> None:
    """/metrics parses, names what the core declares and nothing else of ours, and counts what was sent."""
    explain(gateway, "", envelope(event(0), event(1, freeze_ms=20_000)))
    explain(gateway, "", {"schema": "none"})
    text = httpx.get(f"{gateway.url}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {instrument.name.removesuffix("_total") for instrument in INGEST}
    accepted = families["tocsin_ingest_heartbeats_accepted"].samples
    assert [sample.value for sample in accepted] == [1]
    refused = {s.labels["reason"]: s.value for s in families["tocsin_ingest_refused"].samples}
    assert refused == {"law": 1, "body": 1}
    status = {s.labels["status"]: s.value for s in families["tocsin_ingest_requests"].samples}
    assert status == {"200": 1, "400": 1}


def test_the_openapi_documents_the_hot_route(gateway: Serving) -> None:
    """/openapi.json has the heartbeat's schema, its answers and the publish route."""
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    post = document["paths"]["/v1/heartbeats"]["post"]
    assert set(post["responses"]) >= {"200", "400", "401", "413", "429", "503"}
    schema = post["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert set(document["components"]["schemas"][schema]["required"]) == {"schema", "sent_ts_ms", "events"}
    assert "/api/v1/publish" in document["paths"]
    assert "/healthz" in document["paths"]


def test_unknown_fields_are_counted_in_a_sample(tmp_path: Path) -> None:
    """One request in `unknown_fields_sample` is looked through; a field never seen before is counted by its name."""
    with serving(tmp_path, IngestSettings(unknown_fields_sample=2)) as running:
        for _ in range(4):
            explain(running, "", envelope(event(0, novel=1)))
        assert running.gateway.stats.unknown_fields == {"events[].novel": 2}


def test_places_come_from_headers_of_trusted_proxies_only(tmp_path: Path) -> None:
    """A trusted peer's headers set region and isp; the same headers of anybody else are ignored."""
    headers = {"cf-ipcountry": "FR", "x-asn": "AS3215", "x-forwarded-for": "198.51.100.7, 192.0.2.9"}
    table = (GeoNetwork("192.0.2.0/24", "DE", "AS64501"),)
    for trusted, country, expected in (
        (("127.0.0.1",), "CF-IPCountry", {"region": "FR", "isp": "AS3215"}),
        (("127.0.0.1",), "X-None", {"region": "DE", "isp": "AS3215"}),
        ((), "CF-IPCountry", {}),
    ):
        settings = IngestSettings(
            trusted_proxies=trusted, geo_country_header=country, geo_asn_header="X-ASN", geo_networks=table
        )
        folder = tmp_path / f"{country}-{len(trusted)}"
        with serving(folder, settings) as running:
            url = f"{running.url}/v1/heartbeats?dry=1"
            found = httpx.post(url, json=envelope(event(0), tags={}), headers=headers).json()
            assert found["events"][0]["tags"] == expected
