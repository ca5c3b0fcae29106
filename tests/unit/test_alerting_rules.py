"""Rules as files: the shipped ones, the schema, and errors that name the nearest known key."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from alerting.rules import KINDS
from alerting.rules.evidence import Evidence, Options, Sums
from alerting.ruleset import duration_ms, json_schema, parse
from alerting.signals import RAW, raw_sql, signal_of
from alerting.slices import SliceIndex
from tocsin.model.catalogue import METRICS
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.errors import ConfigError
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.tables import ADDITIVE_COLUMNS

DEFAULT = Path(__file__).parents[2] / "alerting" / "default_rules.yaml"
WANTED = (
    "qoe.start_failure", "qoe.failure.ratio", "qoe.rebuffer.ratio", "qoe.startup", "qoe.bitrate",
    "qoe.frames.dropped.ratio", "qoe.av_offset", "qoe.freeze.ratio", "qoe.sps", "qoe.telemetry.loss.ratio",
    "qoe.telemetry.lag", "artwork.missing", "probe.defects",
)  # fmt: skip


def test_the_shipped_rules_cover_every_default_metric() -> None:
    """One rule for each default metric, each slice served by a default cube, each column stored."""
    rules = parse(DEFAULT.read_text(), "default", METRICS)
    assert sorted(rule.metric for rule in rules) == sorted(WANTED)
    SliceIndex([keys for rule in rules for keys in rule.slices], DEFAULT_CUBES)
    for rule in rules:
        if rule.metric in METRICS:
            signal = signal_of(rule.metric, rule.direction)
            past = signal.past.column if signal.past else ""
            assert set(signal.columns()) <= {*ADDITIVE_COLUMNS, past}


def test_the_shipped_rules_fit_the_published_schema() -> None:
    """The JSON Schema is valid itself, accepts the shipped file, and refuses an unknown key."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    document = yaml.safe_load(DEFAULT.read_text())
    jsonschema.validate(document, schema)
    document["rules"][0]["treshold"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {name: a, metric: qoe.rebufer.ratio}", "did you mean qoe.rebuffer.ratio"),
        ("- {name: a, metric: qoe.sps, severty: page}", "did you mean severity"),
        ("- {name: a, metric: qoe.sps, slices: [cnd]}", "did you mean cdn"),
        ("- {name: a, metric: qoe.sps, kind: weekoverweek}", "did you mean week_over_week"),
        ("- {name: a, metric: qoe.sps, windows: [0]}", "windows.0"),
        ("- {name: a, metric: qoe.sps, severity: loud}", "severity"),
        ("- {name: a, metric: qoe.sps, within_days: 3}", "belongs to completeness"),
        ("- {name: a, metric: artwork.missing}", "unknown metric"),
        ("- {name: A B, metric: qoe.sps}", "name"),
        ("- {metric: qoe.sps}", "'name' is a required property"),
        ("- {name: a, metric: qoe.sps}\n- {name: a, metric: qoe.sps}", "taken by an earlier rule"),
        ("{", "not YAML"),
        ("7", "want a list of rules"),
    ],
)
def test_errors_name_the_rule_and_the_nearest_known_key(text: str, says: str) -> None:
    """Each mistake is refused with the file, what is wrong, and what was probably meant."""
    with pytest.raises(ConfigError, match=says) as caught:
        parse(text, "my.yaml", METRICS)
    assert "my.yaml" in str(caught.value)


def test_durations_read_as_people_write_them() -> None:
    """90s, 5m, 1h, 2d."""
    assert [duration_ms(text) for text in ("90s", "5m", "1h", "2d")] == [90_000, 300_000, 3_600_000, 172_800_000]


def test_every_kind_judges_something_and_bears_emptiness() -> None:
    """The conformance of kinds: one judge at least, described, and no answer from no slices."""
    zero = Sums.zeros(0)
    empty = np.zeros(0)
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.doc
        assert kind.judge or kind.judge_points
        if kind.judge:
            for shape in ("share", "ratio", "volume", "level"):
                evidence = Evidence(shape, "up", 5, zero, zero, zero, empty.astype(np.int64), empty)  # type: ignore[arg-type]
                assert len(kind.judge(evidence, Options(above=1.0)).p) == 0
        if kind.judge_points:
            assert kind.judge_points([], Options(), 0) == []


def test_metrics_without_a_test_are_refused() -> None:
    """A mean of durations without moments, a maximum, an unknown name: said, not guessed."""
    for metric in ("qoe.request.time", "qoe.av_offset.absmax", "qoe.nothing"):
        with pytest.raises(ConfigError, match=metric):
            signal_of(metric)


def test_raw_expressions_name_real_columns() -> None:
    """Signals that say they can be localised lean on columns that raw heartbeats have."""
    for metric in METRICS:
        try:
            signal = signal_of(metric)
        except ConfigError:
            continue
        if signal.in_raw():
            names = [*signal.x, *signal.y]
            past = signal.past.column if signal.past else ""
            known = {*RAW, past, *(name for name in names if raw_sql(name) in BATCH_COLUMNS)}
            assert signal.moments or set(names) <= known
    assert not signal_of("qoe.telemetry.loss.ratio").in_raw()
