"""Localisation on synthetic audiences: the planted conjunction is found, its counterfactual is normal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from alerting.investigate import Suspect, investigate
from alerting.localise import Audience, describe, explain
from alerting.rules.evidence import Options
from alerting.signals import signal_of

N = 20_000
RATE = 0.03
KEYS: Mapping[str, tuple[str, ...]] = {
    "cdn": ("a", "b", "c"), "device": ("tv", "phone", "web"), "os": ("tizen", "ios", "chrome"),
    "region": ("jp", "us", "de", "br"), "stream": tuple(f"s{i}" for i in range(40)),
    "title": tuple(f"t{i}" for i in range(40)), "mode": ("vod",), "network": ("wifi", "lte"),
}  # fmt: skip


def audience(seed: int, *faults: tuple[Mapping[str, str], float], n: int = N) -> Audience:
    """Sessions that stall with probability 3 %, by factors more in the given cohorts."""
    rng = np.random.default_rng(seed)
    codes = {key: rng.integers(0, len(values), n) for key, values in KEYS.items()}
    codes["os"] = codes["device"]
    weights = 1 / np.arange(1, 41)
    codes["title"] = codes["stream"] = rng.choice(40, n, p=weights / weights.sum())
    rate = np.full(n, RATE)
    for cohort, factor in faults:
        inside = np.ones(n, np.bool_)
        for key, value in cohort.items():
            inside &= codes[key] == KEYS[key].index(value)
        rate[inside] *= factor

    def stalls(p: float | np.ndarray) -> np.ndarray:
        return np.where(rng.random(n) < p, rng.exponential(4_000, n), 0.0)

    full = np.full(n, 180_000.0)
    tags = {key: (values, codes[key]) for key, values in KEYS.items()}
    return Audience([f"session-{i:06d}" for i in range(n)], tags, stalls(rate), full, stalls(RATE), full)


@pytest.mark.parametrize(
    ("cohort", "factor"),
    [
        ({"cdn": "b"}, 4.0),
        ({"cdn": "b", "device": "tv"}, 6.0),
        ({"stream": "s4"}, 12.0),
        ({"cdn": "b", "device": "tv", "region": "de"}, 20.0),
        ({}, 3.0),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_planted_cohort_is_found(cohort: dict[str, str], factor: float, seed: int) -> None:
    """The first explanation is the planted conjunction, and without it the rate is what it was."""
    best = explain(audience(seed, (cohort, factor)))[0]
    assert best.cohort == cohort
    if cohort:
        assert best.counterfactual == pytest.approx(best.normal, rel=0.2)
        assert best.lift > 0.6 * factor
    assert len(best.sample_sessions) == 3
    assert 0 < best.share < 1


def test_nothing_wrong_explains_nothing() -> None:
    """A quiet audience has no explanation, an empty one neither."""
    assert explain(audience(4)) == []
    assert explain(audience(4, n=0)) == []


def test_of_tags_that_say_the_same_the_actionable_one_is_named() -> None:
    """Device and operating system, stream and title coincide: device and stream are named."""
    assert explain(audience(5, ({"device": "tv"}, 5.0)))[0].cohort == {"device": "tv"}
    assert explain(audience(5, ({"stream": "s2"}, 10.0)))[0].cohort == {"stream": "s2"}


def test_worst_streams_are_named() -> None:
    """Within a CDN's incident the stream with the largest excess comes first."""
    found = describe(audience(6, ({"stream": "s7"}, 25.0)), {})
    assert found.worst_streams[0] == "s7"


def suspects(*tags: Mapping[str, str]) -> list[Suspect]:
    """Slices that fire, in order of urgency."""
    return [Suspect(number, item, 10.0 ** -(30 - number), 100.0) for number, item in enumerate(tags)]


def test_two_troubles_at_once_are_two_cases() -> None:
    """A CDN × device cohort and a stream elsewhere: two cases, every other firing slice a child of one."""
    people = audience(7, ({"cdn": "b", "device": "tv"}, 8.0), ({"stream": "s1", "cdn": "a"}, 12.0))
    firing = suspects(
        {"cdn": "b", "device": "tv"}, {"cdn": "b"}, {"stream": "s1"}, {"device": "tv"}, {"region": "jp"}, {}
    )  # fmt: skip
    cases, children = investigate(firing, people, signal_of("qoe.rebuffer.ratio"), Options(), [])
    assert [case.cohort for case in cases] == [{"cdn": "b", "device": "tv"}, {"cdn": "a", "stream": "s1"}]
    assert children == {}
    assert sum(len(case.members) for case in cases) == len(firing)


def test_slices_that_an_open_incident_explains_are_its_children() -> None:
    """With the incident's sessions taken out, the parents are normal: nothing is opened."""
    people = audience(8, ({"cdn": "b", "device": "tv"}, 8.0))
    firing = suspects({"cdn": "b"}, {"device": "tv"}, {"region": "us"}, {})
    known = [{"cdn": "b", "device": "tv"}]
    cases, children = investigate(firing, people, signal_of("qoe.rebuffer.ratio"), Options(), known)
    assert cases == []
    assert children == {0: 0, 1: 0, 2: 0, 3: 0}


def test_a_lower_bitrate_is_judged_by_the_device() -> None:
    """A CDN that serves less than half: televisions and telephones alike are its cohort, though theirs differ."""
    people = audience(10)
    rng = np.random.default_rng(10)
    usual = np.array([6.0, 2.5, 4.0])[people.tags["device"][1]]
    seconds = np.full(N, 180.0)
    fallen = np.where(people.tags["cdn"][1] == 2, 0.4, 1.0)
    shown = replace(
        people, x=usual * seconds * fallen * rng.lognormal(0, 0.2, N), y=seconds, y_before=seconds,
        x_before=usual * seconds * rng.lognormal(0, 0.2, N),
    )  # fmt: skip
    firing = suspects({"cdn": "c", "device": "tv"}, {"cdn": "c"}, {"device": "phone", "cdn": "c"})
    cases, _ = investigate(firing, shown, signal_of("qoe.bitrate"), Options(), [])
    assert [case.cohort for case in cases] == [{"cdn": "c"}]


def test_the_counterfactual_is_in_the_metrics_unit() -> None:
    """The page's sentence gives the rate without the cohort as people read it."""
    people = audience(9, ({"cdn": "b"}, 5.0))
    cases, _ = investigate(suspects({"cdn": "b"}), people, signal_of("qoe.rebuffer.ratio"), Options(), [])
    text = cases[0].cohorts[0]["counterfactual_text"]
    assert text.startswith("Without cdn=b it is 0.0")
    assert "%" in text
