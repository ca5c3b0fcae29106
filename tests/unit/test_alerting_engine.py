"""The engine over a scripted store: outages, ledgers, restarts, artwork, flags, as scenarios in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from alerting.desk import Receiver
from alerting.engine import LEDGER_RULE, PIPELINE_RULE, AlertEngine, EngineConfig, Flag
from alerting.incidents import Holds
from alerting.ruleset import parse
from tests.alerting_support import EmptyStore, incident
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.model.catalogue import METRICS
from tocsin.model.errors import UnavailableError

NOW = 1_790_000_000_000
DAY_MS = 86_400_000
RULES = """
- {name: rebuffering, metric: qoe.rebuffer.ratio, slices: [all, cdn]}
- {name: artwork-missing, metric: artwork.missing, kind: completeness}
- {name: probe-defect, metric: probe.defects, kind: threshold, above: 0}
"""


class ScriptedStore(EmptyStore):
    """Answers ledger rows (partition, start, end, append ms, unbalanced) once, and points always; may be away."""

    def __init__(self) -> None:
        self.ledger: list[tuple[int, int, int, int, int]] = []
        self.points: list[tuple[str, dict[str, str], int, float]] = []
        self.away = False

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows by table."""
        if self.away:
            raise UnavailableError("querying the store: it is away")
        if "FROM deltas" in sql:
            rows, self.ledger = self.ledger, []
            return list(rows)
        if "FROM series" in sql:
            names = (parameters or {})["names"]
            return [point for point in self.points if point[0] in names]
        return []


@pytest.fixture
def store() -> ScriptedStore:
    """An empty scripted store."""
    return ScriptedStore()


def make(
    store: ScriptedStore, state: SqliteState | None = None, on_flag: Callable[[Flag], None] = lambda _flag: None
) -> AlertEngine:  # fmt: skip
    """An engine with short holds."""
    config = EngineConfig(
        receivers=(Receiver("hook"),), holds=Holds(close_ms=60_000), stale_ms=120_000, points_every_ms=0
    )  # fmt: skip
    rules = parse(RULES, "rules", METRICS)
    return AlertEngine(store, state or SqliteState(None), lambda: NOW, rules, config, on_flag)


def rules_open(engine: AlertEngine) -> list[str]:
    """Rules with an open incident."""
    return sorted(found.rule for found in engine.desk.open_incidents())


def told(engine: AlertEngine) -> list[tuple[str, str]]:
    """(rule, change) of all messages, oldest first."""
    with engine.state.transaction() as tx:
        return [(row.payload["rule"], row.payload["change"]) for row in reversed(tx.deliveries())]


def test_an_outage_of_the_pipeline_is_one_incident(store: ScriptedStore) -> None:
    """At 130 s without deltas, want one page; however long it lasts no other; at the next delta, want it resolved."""
    engine = make(store)
    store.ledger = [(0, 0, 1, NOW, 0)]
    assert not engine.tick(NOW).stale
    for second in range(10, 600, 10):
        engine.tick(NOW + second * 1_000)
    assert rules_open(engine) == [PIPELINE_RULE]
    store.ledger = [(0, 1, 2, NOW + 600_000, 0)]
    engine.tick(NOW + 600_000)
    assert rules_open(engine) == []
    assert told(engine) == [(PIPELINE_RULE, "opened"), (PIPELINE_RULE, "resolved")]


def test_a_store_that_is_away_is_stale_and_never_ok(store: ScriptedStore) -> None:
    """The store away: nothing raises, quality incidents stay as they are, the pipeline pages when it is late."""
    engine = make(store)
    store.ledger = [(0, 0, 1, NOW, 0)]
    engine.tick(NOW)
    engine.desk.open(incident(opened_ms=NOW), NOW)
    store.away = True
    reports = [engine.tick(NOW + second * 1_000) for second in range(10, 300, 10)]
    assert all("away" in report.error for report in reports)
    assert rules_open(engine) == [PIPELINE_RULE, "rebuffering"]


def test_no_data_neither_resolves_nor_opens(store: ScriptedStore) -> None:
    """An incident whose slice is silent stays firing for hours, over a restart of the engine too."""
    state = SqliteState(None)
    engine = make(store, state)
    engine.desk.open(incident(opened_ms=NOW, watch=[{"cdn": "b"}]), NOW)
    for hour in range(1, 4):
        engine = make(store, state)
        engine.tick(NOW + hour * 3_600_000)
    assert [(found.rule, found.state) for found in engine.desk.open_incidents()] == [("rebuffering", "firing")]


def test_a_ledger_that_does_not_close_pages(store: ScriptedStore) -> None:
    """An unbalanced bucket is one incident, and no second while it is open."""
    engine = make(store)
    store.ledger = [(0, 0, 1, NOW, 1)]
    engine.tick(NOW)
    store.ledger = [(0, 1, 2, NOW + 5_000, 1)]
    engine.tick(NOW + 10_000)
    assert rules_open(engine) == [LEDGER_RULE]
    assert told(engine) == [(LEDGER_RULE, "opened")]


def test_a_hole_in_the_tiling_is_waited_for_then_jumped(store: ScriptedStore) -> None:
    """Buckets after a hole are left alone for a minute of append time, then taken and the jump is counted."""
    engine = make(store)
    tail = engine.sensors.reader.tail
    store.ledger = [(0, 0, 1, NOW, 0)]
    engine.tick(NOW)
    store.ledger = [(0, 5, 6, NOW + 10_000, 0)]
    engine.tick(NOW + 10_000)
    assert (tail.cursors[0].next_offset, tail.gaps_jumped) == (1, 0)
    store.ledger = [(0, 5, 6, NOW + 10_000, 0), (0, 6, 7, NOW + 80_000, 0)]
    engine.tick(NOW + 80_000)
    assert (tail.cursors[0].next_offset, tail.gaps_jumped) == (7, 1)


def launch(store: ScriptedStore, *langs: str) -> None:
    """A title of next week that lacks posters in `langs`."""
    store.points = [("artwork.launch_s", {"title": "t"}, NOW, (NOW + 3 * DAY_MS) / 1_000)]
    store.points += [
        ("artwork.missing", {"title": "t", "lang": lang, "kind": "poster"}, NOW, float(lang in langs))
        for lang in ("de", "ja")
    ]


def test_missing_artwork_opens_grows_and_closes(store: ScriptedStore) -> None:
    """At 0 s one image lacks: page; at 20 s another: update; complete for the hold: resolved."""
    engine = make(store)
    launch(store, "ja")
    engine.tick(NOW)
    engine.tick(NOW + 10_000)
    launch(store, "ja", "de")
    engine.tick(NOW + 20_000)
    (found,) = engine.desk.open_incidents()
    assert found.cohort == {"title": "t"}
    assert [item["lang"] for item in found.items] == ["de", "ja"]
    launch(store)
    for second in range(30, 120, 10):
        engine.tick(NOW + second * 1_000)
    changes = [change for _, change in told(engine)]
    assert changes == ["opened", "update", "resolved"]


def test_a_confirmed_defect_joins_what_players_felt(store: ScriptedStore) -> None:
    """The probe's finding on a stream that already has an incident is its evidence, not a second page's cause."""
    engine = make(store)
    engine.desk.open(incident("f", rule="freeze", cohort={"stream": "s1"}, opened_ms=NOW), NOW)
    store.points = [
        ("probe.defects", {"stream": "s1", "detector": "freeze"}, NOW, 1.0),
        ("probe.defects", {"stream": "s2", "detector": "freeze"}, NOW, 1.0),
    ]
    engine.tick(NOW)
    engine.tick(NOW + 10_000)
    found = {i.rule: i for i in engine.desk.open_incidents()}
    assert found["probe-defect"].cohort == {"stream": "s2"}
    assert [entry["rule"] for entry in found["freeze"].also] == ["probe-defect"]
    assert told(engine).count(("freeze", "update")) == 1


def test_the_probe_is_asked_until_it_has_heard(store: ScriptedStore) -> None:
    """An incident that names a stream is flagged; where the queue is away it is tried again, and then not repeated."""
    heard: list[Flag] = []
    away = [True]

    def on_flag(flag: Flag) -> None:
        if away[0]:
            raise UnavailableError("queueing a look: the log is away")
        heard.append(flag)

    engine = make(store, on_flag=on_flag)
    engine.desk.open(incident("f", rule="freeze", cohort={"stream": "s1"}, opened_ms=NOW), NOW)
    engine.tick(NOW)
    assert heard == []
    away[0] = False
    for second in (10, 20, 30):
        engine.tick(NOW + second * 1_000)
    assert [(flag.incident_id, flag.streams) for flag in heard] == [("f", ("s1",))]
