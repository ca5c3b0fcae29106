"""The life of an incident, told as scenarios: at so many seconds such a tick, then the state wanted."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from alerting import incidents as life
from alerting.incidents import Hits, Holds, Incident, Measured
from alerting.page import from_doc, graph_expression, page, to_doc

HOLDS = Holds(close_ms=60_000, reopen_ms=600_000)
EVIDENCE = Measured("qoe.rebuffer.ratio", "1", 5, {"cdn": "b"}, 0.05, 0.008, 0.006, 0.01, 900.0, 1e-12, 6.3, 44.0)


def incident(**fields: object) -> Incident:
    """A firing rebuffering incident of one CDN, opened at 0 s."""
    base = Incident(
        id="abc", rule="rebuffering", metric="qoe.rebuffer.ratio", severity="page", cohort={"cdn": "b"}, opened_ms=0,
        onset_ms=0, updated_ms=0, summary="Playback stalls", evidence=EVIDENCE, seen_ms=1,
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def play(script: str, start: Incident) -> list[str]:
    """Run `at N s: observation; …` and answer the changes as `N change`."""
    current, heard = start, []
    for line in script.split(";"):
        at, seen = line.split(":")
        now = int(at) * 1_000
        current, change = life.advance(current, seen.strip(), now, HOLDS)  # type: ignore[arg-type]
        if change:
            heard.append(f"{int(at)} {change}")
    return heard


@pytest.mark.parametrize(
    ("script", "want"),
    [
        # at 10 s quiet, want resolving; quiet for a minute, want resolved
        ("10: quiet; 20: quiet; 40: quiet; 69: quiet; 70: quiet", ["10 resolving", "70 resolved"]),
        # at 30 s active again: the clock starts anew
        (
            "10: quiet; 30: active; 40: quiet; 90: quiet; 100: quiet",
            ["10 resolving", "30 firing", "40 resolving", "100 resolved"],
        ),
        # what is neither stops the clock and does not reset it
        ("10: quiet; 50: quiet; 60: unsure; 90: unsure; 100: quiet; 110: quiet", ["10 resolving", "110 resolved"]),
        # no data neither opens nor resolves
        ("10: no_data; 600: no_data; 6000: no_data", []),
        # bad all the time: nothing to say
        ("10: active; 20: unsure; 30: active", []),
    ],
)
def test_life_cycle_scenarios(script: str, want: list[str]) -> None:
    """Each script of observations gives exactly these changes."""
    assert play(script, incident()) == want


def hits_script(hits: Hits, ticks: list[tuple[bool, bool]], for_ms: int = 0) -> list[bool]:
    """Ticks of 10 s for one slice; whether it opens at each."""
    return [
        bool(hits.update(np.array([e]), np.array([s]), 10_000 * i, for_ms)[0]) for i, (e, s) in enumerate(ticks)
    ]  # fmt: skip


def test_two_of_three_ticks_open() -> None:
    """At 0 s a hit, want pending; a hit at 20 s within three ticks, want open; hits four ticks apart never open."""
    assert hits_script(Hits(HOLDS), [(True, False), (False, False), (True, False)]) == [False, False, True]
    sparse = [(True, False), (False, False), (False, False)] * 3
    assert not any(hits_script(Hits(HOLDS), sparse))


def test_one_strict_tick_opens_at_once() -> None:
    """A hit far past the level needs no second one."""
    assert hits_script(Hits(HOLDS), [(True, True)]) == [True]


def test_for_holds_back() -> None:
    """A rule with `for: 30s` opens only when the hits have lasted so long."""
    assert hits_script(Hits(HOLDS), [(True, True)] * 5, for_ms=30_000) == [False, False, False, True, True]


def test_new_slices_keep_old_ones_pending() -> None:
    """A slice that appears later does not disturb the others' bits."""
    hits = Hits(HOLDS)
    hits.update(np.array([True]), np.array([False]), 0)
    assert hits.update(np.array([True, True]), np.array([False, False]), 10_000).tolist() == [True, False]
    assert hits.pending().tolist() == [True, True]


def test_the_same_trouble_within_the_hour_keeps_its_id() -> None:
    """Closed at 100 s: the same rule and cohort reopen it at 700 s, not later, not another rule, not elsewhere."""
    closed = life.close(incident(), 100_000, "back to normal")
    assert life.can_reopen(closed, "rebuffering", {"cdn": "b"}, 700_000, HOLDS)
    assert life.can_reopen(closed, "rebuffering", {"cdn": "b", "device": "tv"}, 700_000, HOLDS)
    assert not life.can_reopen(closed, "rebuffering", {"cdn": "b"}, 700_001, HOLDS)
    assert not life.can_reopen(closed, "freeze", {"cdn": "b"}, 200_000, HOLDS)
    assert not life.can_reopen(closed, "rebuffering", {"cdn": "a"}, 200_000, HOLDS)
    again = life.reopen(closed, EVIDENCE, 200_000)
    assert (again.id, again.state, again.reopened, again.closed_ms) == (closed.id, "firing", 1, None)


def test_another_metric_of_the_same_trouble_joins() -> None:
    """Nested cohorts are one trouble, everyone's and other cohorts are not; each rule is listed once."""
    stalls = incident(cohort={"cdn": "b", "device": "tv"})
    assert life.can_join(stalls, {"cdn": "b"})
    assert not life.can_join(stalls, {})
    assert not life.can_join(stalls, {"cdn": "c"})
    titled = incident(cohort={"title": "t1"}, worst_streams=["s9", "s2"])
    assert life.can_join(titled, {"stream": "s9"})
    assert not life.can_join(titled, {"stream": "s2"})
    joined = life.join(life.join(stalls, "startup", EVIDENCE, 1), "startup", EVIDENCE, 2)
    assert [entry["rule"] for entry in joined.also] == ["startup"]


def test_a_verdict_twice_is_one_verdict() -> None:
    """The probe may say the same again after a crash; another detector's word is kept beside it."""
    one = {"look_id": "L1", "detector": "freeze", "stream": "s1", "verdict": "confirmed"}
    once = life.add_verdict(incident(), one, 5)
    twice = life.add_verdict(once, one, 6)
    other = life.add_verdict(twice, {**one, "detector": "gap"}, 7)
    assert [v["detector"] for v in twice.verdicts] == ["freeze"]
    assert [v["detector"] for v in other.verdicts] == ["freeze", "gap"]


def test_ids_are_stable() -> None:
    """The same opening computed again after a crash is the same incident; another cohort is not."""
    assert life.incident_id("r", {"a": "1", "b": "2"}, 5) == life.incident_id("r", {"b": "2", "a": "1"}, 5)
    assert life.incident_id("r", {"a": "1"}, 5) != life.incident_id("r", {"a": "2"}, 5)


def test_the_page_says_everything() -> None:
    """What, since when, band and value, n and p, cohorts, counterfactual, sessions, links, verdict, as plain JSON."""
    cohort = {
        "cohort": {"cdn": "b"}, "lift": 6.2, "affected": 412, "share": 0.031, "coverage": 0.97,
        "counterfactual_text": "Without cdn=b it is 0.80% (before: 0.81%).", "sample_sessions": ["s1", "s2", "s3"],
    }  # fmt: skip
    verdict = {"detector": "freeze", "verdict": "confirmed", "stream": "s"}
    full = life.add_verdict(incident(cohorts=[cohort]), verdict, 9)
    told = page(full, "update", "https://tocsin.example/", 10_000)
    assert told["title"] == "rebuffering: cdn=b at 5.00%, usually 0.80%"
    for words in ("Since 00:00 UTC", "p = 1e-12", "n = 900", "412 sessions", "3.1%", "Without cdn=b", "confirmed"):
        assert words in told["text"]
    assert told["baseline"] == {"value": 0.008, "low": 0.006, "high": 0.01}
    assert told["sample_sessions"] == ["s1", "s2", "s3"]
    assert told["links"]["incident"] == "https://tocsin.example/incidents/abc"
    assert "rebuffer-ratio" in told["links"]["graph"]
    assert msgspec.json.decode(msgspec.json.encode(told))["incident"] == "abc"
    assert from_doc(msgspec.json.decode(msgspec.json.encode(to_doc(full)))) == full


def test_graph_expressions_overlay_last_week() -> None:
    """Filters, the metric's word, and the same a week ago; counters by name; published series have none."""
    two = graph_expression("qoe.rebuffer.ratio", {"cdn": "b", "device": "tv"})
    assert two == "cdn,b,:eq,device,tv,:eq,:and,:rebuffer-ratio,:dup,1w,:offset"
    assert graph_expression("qoe.sps", {}) == "name,qoe.sps,:eq,:true,:and,:sum,:dup,1w,:offset"
    assert graph_expression("artwork.missing", {}) == ""
