"""Rules on published points: artwork before a launch, defects that the probe saw."""

from __future__ import annotations

from alerting.rules import completeness, threshold
from alerting.rules.evidence import Options
from alerting.rules.kinds import LastPoint

DAY_MS = 86_400_000
NOW = 100 * DAY_MS


def launch(title: str, days: float) -> LastPoint:
    """When a title launches."""
    return LastPoint("artwork.launch_s", {"title": title}, NOW - DAY_MS, (NOW + days * DAY_MS) / 1000)


def image(title: str, lang: str, missing: float, name: str = "artwork.missing") -> LastPoint:
    """One expected image."""
    return LastPoint(name, {"title": title, "lang": lang, "kind": "poster"}, NOW - 5_000, missing)


def test_a_title_that_launches_soon_and_lacks_an_image_is_found() -> None:
    """Within 7 days with one missing: one finding a title, soonest first; complete, far or unknown titles are none."""
    points = [
        launch("soon", 6.5), launch("sooner", 2), launch("far", 8), launch("whole", 1), launch("past", -3),
        image("soon", "ja", 1), image("soon", "de", 0), image("sooner", "ja", 1, "artwork.wrong"),
        image("far", "ja", 1), image("whole", "ja", 0), image("past", "ja", 1), image("unknown", "ja", 1),
    ]  # fmt: skip
    found = completeness.judge_points(points, Options(), NOW)
    assert [dict(finding.cohort) for finding in found] == [{"title": "sooner"}, {"title": "soon"}]
    assert found[1].summary == "title soon launches in 6.5 days and lacks 1 image(s): ja poster missing"
    assert found[1].items == [{"title": "soon", "lang": "ja", "kind": "poster", "problem": "missing"}]


def test_the_days_are_the_rules() -> None:
    """`within_days` widens the look ahead."""
    points = [launch("far", 20), image("far", "ja", 1)]
    assert completeness.judge_points(points, Options(extra={"within_days": 30.0}), NOW)
    assert not completeness.judge_points(points, Options(extra={"within_days": 10.0}), NOW)


def test_fresh_defects_are_one_finding_a_stream() -> None:
    """Two detectors on one stream are one finding; old points and zeros are none."""
    points = [
        LastPoint("probe.defects", {"stream": "s1", "detector": "freeze"}, NOW - 1_000, 2),
        LastPoint("probe.defects", {"stream": "s1", "detector": "gap"}, NOW - 2_000, 1),
        LastPoint("probe.defects", {"stream": "s2", "detector": "freeze"}, NOW - 3_600_000, 1),
        LastPoint("probe.defects", {"stream": "s3", "detector": "freeze"}, NOW, 0),
    ]
    found = threshold.judge_points(points, Options(above=0.0), NOW)
    assert [(dict(finding.cohort), finding.value) for finding in found] == [({"stream": "s1"}, 3)]
