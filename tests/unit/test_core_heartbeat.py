"""The heartbeat schema: types with reasons, laws on columns, a catalogue whose every part is stored."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tocsin.model import columnar
from tocsin.model.catalogue import MEASURES, METRICS, MOMENTS
from tocsin.model.cubes import DEFAULT_CUBES, declare, smallest_for
from tocsin.model.errors import ConfigError
from tocsin.model.heartbeat import LAWS, decode_envelope, decode_event, law_violations
from tocsin.model.percentiles import BOUNDS, bucket_of_ms
from tocsin.model.tables import ADDITIVE_COLUMNS, HISTOGRAM_COLUMNS, MAX_COLUMNS

EVENT = {
    "session_id": "0123456789abcdef", "seq": 3, "ts_ms": 1_795_000_000_000, "interval_ms": 10_000,
    "reason": "interval", "state": "playing", "playhead_ms": 30_000, "playing_ms": 9_000, "rebuffer_ms": 1_000,
}  # fmt: skip


def test_unknown_fields_are_ignored() -> None:
    """The schema only grows: a field that this version does not know does no harm."""
    event = decode_event(msgspec.json.encode({**EVENT, "from_the_future": [1, 2]}))
    assert (event.seq, event.rebuffer_ms, event.startup_ms) == (3, 1_000, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq": "3"}, r"Expected `int`, got `str` - at `\$.seq`"),
        ({"state": "asleep"}, r"Invalid enum value 'asleep' - at `\$.state`"),
        ({"playing_ms": -1}, r"\$.playing_ms"),
        ({"playing_ms": 1.5}, r"\$.playing_ms"),
        ({"session_id": "short"}, r"\$.session_id"),
        ({"session_id": "with\nnewline"}, r"\$.session_id"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], message: str) -> None:
    """The error says which field and why."""
    with pytest.raises(msgspec.ValidationError, match=message):
        decode_event(msgspec.json.encode({**EVENT, **change}))


def test_an_envelope_of_another_schema_is_refused() -> None:
    """The schema's name is part of the contract."""
    with pytest.raises(msgspec.ValidationError, match=r"\$.schema"):
        decode_envelope(msgspec.json.encode({"schema": "other/1", "sent_ts_ms": 1, "events": []}))


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({}, 0),
        ({"rebuffer_ms": 1_010}, 0),
        ({"rebuffer_ms": 1_011}, 1),
        ({"freeze_ms": 9_500}, 2),
        ({"frames_dropped": 2, "frames_total": 1}, 3),
        ({"req_err_n": 1}, 4),
        ({"av_sum_ms": -5}, 5),
        ({"latency_sum_ms": 5}, 6),
    ],
)
def test_laws_are_checked_on_columns(change: dict[str, int], law: int) -> None:
    """Each law finds its own breach and nothing else."""
    values = {name: value for name, value in {**EVENT, **change}.items() if isinstance(value, int)}
    batch = columnar.from_rows(["0123456789abcdef"], {name: np.array([value]) for name, value in values.items()}, {})
    assert law_violations(batch.numbers).tolist() == [law], LAWS


def test_every_part_of_a_metric_is_stored() -> None:
    """A formula can only use columns that the tables have, and moments only batch or measure columns."""
    stored = {*ADDITIVE_COLUMNS, *MAX_COLUMNS}
    for metric in METRICS.values():
        parts = {*metric.parts}
        for definition in metric.definitions.values():
            parts |= {*definition.numerator, *definition.denominator, *definition.mean}
        assert parts <= stored, metric.name
        assert not metric.histogram or metric.histogram in HISTOGRAM_COLUMNS
        assert not metric.moments or metric.moments in MOMENTS
    assert all({moments.x, *moments.y} <= set(MEASURES) for moments in MOMENTS.values())


def test_the_smallest_cube_serves() -> None:
    """A query takes the cube with fewest keys that has all it names; none means raw heartbeats."""
    found = smallest_for(["cdn"], DEFAULT_CUBES)
    assert found is not None
    assert found.name == "title,cdn"
    assert smallest_for([], DEFAULT_CUBES) == DEFAULT_CUBES[0]
    assert smallest_for(["os", "network"], DEFAULT_CUBES) is None
    with pytest.raises(ConfigError, match="'cdnn' is no tag key"):
        declare(["all", "cdnn,device"])


def test_percentile_buckets_hold_their_amounts() -> None:
    """276 buckets; an amount lies below its bucket's bound and not below the one before."""
    assert len(BOUNDS) == 276
    values = np.array([0, 1, 317, 60_000, 10**9])
    buckets = bucket_of_ms(values)
    nanoseconds = values.astype(np.uint64) * np.uint64(1_000_000)
    assert (nanoseconds < BOUNDS[buckets]).all()
    assert (nanoseconds[1:] >= BOUNDS[buckets[1:] - 1]).all()
