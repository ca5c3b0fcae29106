"""The routes: incidents, silences, events, rules, hints; what is unknown is 404, what is wrong 422."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from alerting.api import create_router
from alerting.desk import Receiver
from alerting.engine import AlertEngine, EngineConfig
from alerting.ruleset import parse
from tests.alerting_support import EmptyStore, incident
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.model.catalogue import METRICS

NOW = 1_790_000_000_000
RULES = "- {name: rebuffering, metric: qoe.rebuffer.ratio, slices: [all, cdn]}"


@pytest.fixture
def engine() -> AlertEngine:
    """An engine over an empty store and one open incident."""
    config = EngineConfig(receivers=(Receiver("hook"),), base_url="http://t")
    found = AlertEngine(EmptyStore(), SqliteState(None), lambda: NOW, parse(RULES, "rules", METRICS), config)
    found.desk.open(incident(opened_ms=NOW, updated_ms=NOW, hint={"avoid_cdn": "b"}), NOW)
    return found


@pytest.fixture
def client(engine: AlertEngine) -> TestClient:
    """A client of the router alone."""
    app = FastAPI()
    app.include_router(create_router(engine))
    return TestClient(app)


def pages(engine: AlertEngine) -> list[str]:
    """Changes told so far, oldest first."""
    with engine.state.transaction() as tx:
        return [row.payload["change"] for row in reversed(tx.deliveries())]


def test_incidents_are_listed_and_shown(client: TestClient) -> None:
    """The list by state; one with its timeline and deliveries; an unknown one is 404."""
    assert [i["incident"] for i in client.get("/v1/incidents?state=open").json()["incidents"]] == ["inc1"]
    assert client.get("/v1/incidents?state=closed").json() == {"incidents": []}
    shown = client.get("/v1/incidents/inc1").json()
    assert shown["timeline"][0]["kind"] == "opened"
    assert shown["deliveries"][0]["state"] == "queued"
    assert client.get("/v1/incidents/none").status_code == 404
    assert client.get("/v1/incidents?state=odd").status_code == 422


def test_acknowledging_and_closing_are_told(client: TestClient, engine: AlertEngine) -> None:
    """Both go to the receivers; accepting the level remembers the factor."""
    assert client.post("/v1/incidents/inc1/ack").json()["acknowledged_by"] == "api"
    assert client.post("/v1/incidents/inc1/close", json={"accept_level": True}).json()["state"] == "closed"
    assert pages(engine) == ["opened", "update", "resolved"]
    closed = engine.desk.incident("inc1")
    assert closed.level_factor == pytest.approx(0.05 / 0.008)
    assert client.post("/v1/incidents/inc1/close", json={"accept": 1}).status_code == 422


def test_a_silence_stops_pages_not_incidents(client: TestClient, engine: AlertEngine) -> None:
    """While it lasts nothing is told; ended, the next change is."""
    made = client.post("/v1/silences", json={"match": {"rule": "rebuffering"}, "ends_ms": NOW + 60_000})
    assert made.status_code == 201
    client.post("/v1/incidents/inc1/ack")
    assert pages(engine) == ["opened"]
    assert [s["id"] for s in client.get("/v1/silences").json()["silences"]] == [made.json()["id"]]
    assert client.delete(f"/v1/silences/{made.json()['id']}").status_code == 204
    engine.apply_silences()
    client.post("/v1/incidents/inc1/ack")
    assert pages(engine) == ["opened", "update"]
    assert client.delete("/v1/silences/none").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"match": {"session": "x"}, "ends_ms": NOW + 1},
        {"match": {}, "ends_ms": NOW},
        {"match": {}, "ends_ms": NOW + 400 * 86_400_000},
        {"match": {}, "ends_ms": NOW + 1, "why": "x"},
    ],
)
def test_silences_are_checked(client: TestClient, body: dict[str, Any]) -> None:
    """Unknown keys, ends before starts, more than a year, unknown fields: 422 with the reason."""
    answer = client.post("/v1/silences", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_silencing_an_incident_covers_its_cohort(client: TestClient, engine: AlertEngine) -> None:
    """A silence from the incident's page names its rule and tags."""
    made = client.post("/v1/incidents/inc1/silence?minutes=5").json()
    assert made["match"] == {"rule": "rebuffering", "cdn": "b"}
    assert engine.desk.incident("inc1").silenced


def test_events_are_declared_and_listed(client: TestClient) -> None:
    """A premiere with its time; one without length is refused."""
    body = {"kind": "premiere", "name": "S2", "match": {"title": "t1"}, "starts_ms": NOW, "ends_ms": NOW + 1_000}
    assert client.post("/v1/events", json=body).status_code == 201
    assert [e["name"] for e in client.get("/v1/events").json()["events"]] == ["S2"]
    assert client.post("/v1/events", json={**body, "ends_ms": NOW}).status_code == 422


def test_a_verdict_comes_in_an_updated_page(client: TestClient, engine: AlertEngine) -> None:
    """The probe's word is on the incident and told once more."""
    verdict = {"look_id": "L", "detector": "freeze", "stream": "s1", "verdict": "confirmed", "frame": "/v1/f/1.png"}
    assert client.post("/v1/incidents/inc1/verdicts", json=verdict).status_code == 200
    assert pages(engine) == ["opened", "update"]
    with engine.state.transaction() as tx:
        assert tx.deliveries()[0].payload["verdicts"] == [verdict]


def test_rules_and_their_schema_are_published(client: TestClient) -> None:
    """The rules in force and the JSON Schema."""
    assert [rule["name"] for rule in client.get("/v1/rules").json()["rules"]] == ["rebuffering"]
    assert client.get("/v1/rules/schema").json()["title"] == "Tocsin alert rules"


def test_hints_reach_the_cohort_alone(client: TestClient, engine: AlertEngine) -> None:
    """A player in the cohort is told, another is not, and nobody once it is over."""
    engine.tick(NOW)
    assert client.get("/v1/hints?cdn=b&device=tv").json() == {"hints": [{"avoid_cdn": "b"}]}
    assert client.get("/v1/hints?cdn=a").json() == {"hints": []}
    client.post("/v1/incidents/inc1/close")
    engine.tick(NOW + 10_000)
    assert client.get("/v1/hints?cdn=b").json() == {"hints": []}
