"""Whatever happens to a simulated player, its heartbeats keep the schema's laws."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from player_sim import faults, layout
from player_sim.audience import MINUTE_MS, World, WorldConfig
from player_sim.faults import Cohort, Fault
from player_sim.player import Players
from tests.sim_support import AT_MS, heartbeats, kept, small_world
from tocsin.model.heartbeat import OUTCOMES, SEQ_PER_MINUTE_MAX, law_violations

_ALWAYS = {"start_ms": AT_MS - 10 * MINUTE_MS, "end_ms": AT_MS + 60 * MINUTE_MS}

trouble = st.lists(
    st.sampled_from(
        [
            faults.make("cohort_stall", factor=40.0, length_factor=5.0, **_ALWAYS),
            faults.make("start_failures", share=0.9, **_ALWAYS),
            faults.make("error_burst", factor=50_000.0, cohort=Cohort.of(device="web"), **_ALWAYS),
            faults.make("av_drift", shift_ms=-400.0, **_ALWAYS),
            faults.make("frozen_rendition", cohort=Cohort.of(stream="title-002-main"), rung=-1, **_ALWAYS),
            faults.make("premiere", cohort=Cohort.of(title="title-003"), factor=8.0, **_ALWAYS),
        ]
    ),
    max_size=4,
    unique_by=lambda fault: fault.kind,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), wrong=trouble)
def test_every_heartbeat_keeps_the_laws_of_the_schema(seed: int, wrong: list[Fault]) -> None:
    """No law is broken, no number is negative or too large, and every millisecond of an interval is accounted for."""
    rows = heartbeats(small_world(seed, viewers=40.0), 4, wrong)
    columns = layout.columns_of(rows)
    assert not law_violations(columns).any()
    parts = sum(rows[name] for name in ("startup_wait_ms", "playing_ms", "rebuffer_ms", "seek_wait_ms", "paused_ms"))
    assert np.array_equal(parts, rows["interval_ms"])
    assert np.all(rows["freeze_ms"] <= rows["playing_ms"])
    assert np.all(rows["av_n"] * rows["av_sumsq_ms2"] >= rows["av_sum_ms"] ** 2)
    for name in layout.SUMS:
        low = -(2**31) if name == "av_sum_ms" else 0
        assert low <= rows[name].min(initial=0)
        assert rows[name].max(initial=0) < 2**31


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), wrong=trouble)
def test_a_session_numbers_its_heartbeats_without_gaps_and_reports_all_its_time(seed: int, wrong: list[Fault]) -> None:
    """seq rises by one, intervals tile the session's time, at most 64 heartbeats a minute, nothing after the end."""
    rows = heartbeats(small_world(seed, viewers=40.0), 4, wrong)
    follows = rows["sid"][1:] == rows["sid"][:-1]
    before, after = rows[:-1][follows], rows[1:][follows]
    assert np.all(after["seq"] == before["seq"] + 1)
    assert np.all(after["ts_ms"] - before["ts_ms"] == after["interval_ms"])
    assert np.all(before["outcome"] == 0)
    per_minute = np.stack([rows["sid"].view(np.int64), rows["ts_ms"] // MINUTE_MS], axis=1)
    assert np.unique(per_minute, axis=0, return_counts=True)[1].max() <= SEQ_PER_MINUTE_MAX
    assert np.all(rows["interval_ms"] <= 10_000)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000))
def test_startup_comes_once_and_outcomes_fit_it(seed: int) -> None:
    """Of sessions seen from their beginning: at most one first frame; exits and failures before start have none."""
    world = World(WorldConfig(seed=seed, viewers=60.0, titles=5))
    players = Players(world, AT_MS)
    rows = kept(players.advance(AT_MS + 6 * MINUTE_MS))
    for sid in np.unique(rows["sid"]).tolist():
        own = rows[rows["sid"] == sid]
        own = own[np.argsort(own["seq"])]
        assert own["seq"][0] == 0
        started = np.count_nonzero(own["startup_ms"] >= 0)
        outcome = OUTCOMES[int(own["outcome"][-1])]
        assert started <= 1
        if outcome in ("start_failed", "exit_before_start"):
            assert started == 0
        if outcome in ("completed", "quit", "failed"):
            assert started == 1
        if started:
            assert own["startup_ms"].max() == own["startup_wait_ms"].sum()
