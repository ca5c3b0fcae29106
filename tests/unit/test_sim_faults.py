"""Every fault shows where it says, in its cohort, and changes nobody else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from player_sim import faults
from player_sim.audience import MINUTE_MS, World, WorldConfig
from player_sim.faults import Cohort
from player_sim.layout import Records
from tests.sim_support import AT_MS, heartbeats, small_world
from tocsin.model.catalogue import METRICS
from tocsin.model.errors import InputError

COHORTS = {
    "frozen_rendition": Cohort.of(stream="title-002-main"),
    "baked_freeze": Cohort.of(stream="title-003-main"),
    "premiere": Cohort.of(title="title-004"),
    "traffic_collapse": Cohort.of(title="title-001"),
}
SHOWS = {
    "cohort_stall": lambda rows: rows["rebuffer_ms"].sum() / rows["playing_ms"].sum(),
    "start_failures": lambda rows: np.mean(rows["outcome"][rows["outcome"] > 0] == 4),
    "error_burst": lambda rows: rows["error_count"].sum() / rows["playing_ms"].sum(),
    "slow_start": lambda rows: np.median(rows["startup_ms"][rows["startup_ms"] >= 0]),
    "av_drift": lambda rows: -rows["av_sum_ms"].sum() / rows["av_n"].sum(),
    "frozen_rendition": lambda rows: rows["freeze_ms"].sum() / rows["playing_ms"].sum(),
    "premiere": lambda rows: np.count_nonzero(rows["seq"] == 0),
    "traffic_collapse": lambda rows: -np.count_nonzero(rows["seq"] == 0),
}


def fault_of(kind: str, **parameters: Any) -> faults.Fault:
    """A fault of that kind on its usual cohort, on for the whole of the run."""
    cohort = COHORTS.get(kind, Cohort.of(cdn="cdn-b", device="tv"))
    return faults.make(kind, start_ms=AT_MS, end_ms=AT_MS + 60 * MINUTE_MS, cohort=cohort, **parameters)


def split(world: World, fault: faults.Fault, rows: Records) -> tuple[Records, Records]:
    """(heartbeats in the cohort, the others)."""
    mask = fault.cohort.mask(world, rows)
    return rows[mask], rows[~mask]


@pytest.mark.parametrize("kind", sorted(faults.FAULTS))
def test_a_fault_shows_in_its_cohort_and_leaves_the_rest_bit_for_bit_alone(kind: str) -> None:
    """Against the same audience without it: its figure moves by at least a half, and other sessions are the same."""
    world = World(WorldConfig(seed=3, viewers=900.0, titles=12))
    fault = fault_of(kind)
    hit, rest = split(world, fault, heartbeats(world, 6, [fault]))
    usual, rest_usual = split(world, fault, heartbeats(world, 6))
    assert np.array_equal(rest[["sid", "ts_ms", "rebuffer_ms"]], rest_usual[["sid", "ts_ms", "rebuffer_ms"]])
    if kind in SHOWS:
        before, after = SHOWS[kind](usual), SHOWS[kind](hit)
        assert after - before > 0.5 * abs(before)
    else:
        assert np.array_equal(hit[["sid", "ts_ms"]], usual[["sid", "ts_ms"]])


@pytest.mark.parametrize("kind", sorted(faults.FAULTS))
def test_a_fault_names_its_metric_and_says_all_of_itself(kind: str) -> None:
    """Its metric is one of the catalogue or none, and its details are plain data."""
    fault = fault_of(kind)
    assert fault.kind == kind
    assert fault.metric in METRICS or fault.metric == ""
    assert all(isinstance(value, int | float | str) for value in fault.details().values())


def test_a_fault_is_on_only_in_its_time() -> None:
    """Before its start and from its end on, the audience is the usual one."""
    world = small_world(viewers=500.0)
    fault = faults.make(
        "cohort_stall", start_ms=AT_MS + 90_000, end_ms=AT_MS + 150_000, factor=50.0, cohort=Cohort.of(device="tv")
    )
    rows, usual = heartbeats(world, 2.5, [fault]), heartbeats(world, 2.5)
    early = rows["ts_ms"] < fault.start_ms
    assert np.array_equal(rows[early], usual[usual["ts_ms"] < fault.start_ms])
    assert rows["rebuffer_ms"].sum() > 1.5 * usual["rebuffer_ms"].sum()
    assert not fault.active(fault.end_ms)


def test_a_ramp_grows_with_time() -> None:
    """With ramp_ms a fault reaches its strength by and by."""
    fault = fault_of("cohort_stall", ramp_ms=100_000)
    assert [fault.strength(AT_MS + after) for after in (-1, 0, 50_000, 100_000, 500_000)] == [0, 0, 0.5, 1, 1]


def test_draining_ends_a_fault_only_where_it_covers_the_cohort() -> None:
    """Of cdn-b × tv: all of cdn-b, or its televisions; not another CDN, not its mobiles."""
    fault = fault_of("cohort_stall")
    assert fault.ends_with("cdn-b", None)
    assert fault.ends_with("cdn-b", "tv")
    assert not fault.ends_with("cdn-b", "mobile")
    assert not fault.ends_with("cdn-a", None)
    assert not fault_of("premiere").ends_with("cdn-b", None)


def test_an_unknown_fault_or_parameter_is_refused_with_the_known_ones() -> None:
    """The message lists what there is."""
    with pytest.raises(InputError, match="cohort_stall"):
        faults.make("meteor", start_ms=0, end_ms=1)
    with pytest.raises(InputError, match="length_factor"):
        faults.make("cohort_stall", start_ms=0, end_ms=1, size=3)
