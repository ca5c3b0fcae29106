"""The tests of rates: exact tails, false alarms under a wobbling null, recall, and saying what is not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from alerting import baseline
from alerting.rules import absence, des, noise, tails, threshold, week_over_week
from alerting.rules.evidence import (
    NEW_SLICE,
    NO_BASELINE,
    NO_DATA,
    OK,
    Direction,
    Evidence,
    Floats,
    Options,
    Shape,
    Sums,
)

SLICES = 20_000
STALL_MS = 4_000.0
WATCHED_MS = 60_000.0


def share_sums(rng: np.random.Generator, plays: Floats, rate: Floats) -> Sums:
    """Failed plays of plays."""
    return Sums.of_counts(rng.binomial(plays.astype(np.int64), np.clip(rate, 0, 1)).astype(float), plays)


def ratio_sums(rng: np.random.Generator, minutes: Floats, rate: Floats) -> Sums:
    """Stalled over watched ms of session-minutes: a Poisson number of stalls with exponential lengths."""
    stalls = rng.poisson(minutes * rate)
    shape = np.maximum(stalls, 1)
    x = rng.gamma(shape, STALL_MS) * (stalls > 0)
    xx = 2 * STALL_MS**2 * stalls * rng.gamma(4 * shape, 1 / (4 * shape))
    return Sums(minutes, x, minutes * WATCHED_MS, xx, x * WATCHED_MS, minutes * WATCHED_MS**2)


def wobble(rng: np.random.Generator, rate: float, sd: float, slices: int = SLICES) -> Floats:
    """A rate that is never quite the same: lognormal with mean `rate` and relative standard deviation `sd`."""
    sigma = np.sqrt(np.log1p(sd**2))
    return rate * np.exp(rng.normal(-(sigma**2) / 2, sigma, slices))


def null_evidence(
    seed: int, shape: Shape, n: float, rate: float, sd: float, factor: float = 1.0, direction: Direction = "up"
) -> Evidence:
    """Four weeks and a window of one fleet; `factor` makes the window worse than the null."""
    rng = np.random.default_rng(seed)
    draw = share_sums if shape == "share" else ratio_sums
    full = np.full(SLICES, n)
    weeks = [draw(rng, full * 1.4, wobble(rng, rate, sd)) for _ in range(4)]
    rest = [draw(rng, full * 10, wobble(rng, rate, sd / 2)) for _ in range(4)]
    long_run = weeks[0] + weeks[1] + weeks[2] + weeks[3] + rest[0] + rest[1] + rest[2] + rest[3]
    stacked = Sums(*(np.stack([getattr(week, name) for week in weeks]) for name in Sums.__slots__))
    chosen = baseline.middle_weeks(stacked.x, stacked.y, np.ones((4, SLICES), np.bool_))
    now = draw(rng, full, wobble(rng, rate * factor, sd))
    return Evidence(
        shape, direction, 5, now, baseline.pick(stacked, chosen), long_run, baseline.weeks_used(chosen),
        np.full(SLICES, max(sd**2, 0.0025)),
    )  # fmt: skip


def test_negative_binomial_tail_is_scipys() -> None:
    """P(K >= k) agrees with scipy to nine digits far into the tail, and with the Poisson where nothing is added."""
    k, mean = np.array([1.0, 7.0, 30.0, 120.0]), np.array([2.0, 2.0, 5.0, 20.0])
    variance = mean + 0.1 * mean**2
    size = mean**2 / (variance - mean)
    expected = stats.nbinom.sf(k - 1, size, size / (size + mean))
    assert tails.negative_binomial_upper(k, mean, variance) == pytest.approx(expected, rel=1e-9)
    assert tails.negative_binomial_upper(k, mean, mean) == pytest.approx(stats.poisson.sf(k - 1, mean), rel=1e-9)
    assert tails.negative_binomial_upper(np.zeros(1), np.ones(1), np.ones(1)) == pytest.approx(1.0)
    below = tails.negative_binomial_lower(k, mean, variance)
    assert below == pytest.approx(stats.nbinom.cdf(k, size, size / (size + mean)), rel=1e-6)


@pytest.mark.parametrize("sd", [0.1, 0.2, 0.3])
@pytest.mark.parametrize(
    ("shape", "n", "rate"), [("share", 300.0, 0.02), ("share", 5_000.0, 0.02), ("ratio", 1_000.0, 0.02)]
)
def test_false_alarms_stay_nominal_under_overdispersion(shape: Shape, n: float, rate: float, sd: float) -> None:
    """A fleet whose rate wobbles by 10 to 30 % exceeds p = 1e-3 at most five times as often as it says, 1e-8 never."""
    outcome = week_over_week.judge(null_evidence(7, shape, n, rate, sd), Options())
    assert float((outcome.p <= 1e-3).mean()) <= 5e-3
    assert float((outcome.p <= 1e-4).mean()) <= 1e-3
    assert not np.any(outcome.gated & (outcome.p <= 1e-8))


@pytest.mark.parametrize(("shape", "n"), [("share", 8_000.0), ("ratio", 12_000.0)])
def test_recall_of_a_threefold_rate(shape: Shape, n: float) -> None:
    """Three times the usual rate is past a level of 1e-8 in at least nine of ten large slices."""
    outcome = week_over_week.judge(null_evidence(8, shape, n, 0.02, 0.1, factor=3.0), Options())
    assert float((outcome.gated & (outcome.p <= 1e-8)).mean()) >= 0.9


def test_a_lower_bitrate_is_found_downwards() -> None:
    """Where lower is worse, a fall to a third alarms and a rise does not."""
    fallen = week_over_week.judge(null_evidence(9, "ratio", 3_000.0, 0.5, 0.05, 0.33, "down"), Options())
    risen = week_over_week.judge(null_evidence(9, "ratio", 3_000.0, 0.5, 0.05, 3.0, "down"), Options())
    assert float((fallen.gated & (fallen.p <= 1e-8)).mean()) >= 0.9
    assert not np.any(risen.gated)


def one(values: Evidence) -> Evidence:
    """The first slice alone."""
    at = np.array([0])
    return replace(
        values, now=values.now.take(at), base=values.base.take(at), long_run=values.long_run.take(at),
        weeks=values.weeks[at], phi=values.phi[at],
    )  # fmt: skip


def test_tiny_slices_and_tiny_effects_never_page() -> None:
    """One failure of one play, and a third more in a huge slice, are both below the gates."""
    base = one(null_evidence(1, "share", 50_000.0, 0.02, 0.1))
    tiny = replace(base, now=Sums.of_counts(np.array([1.0]), np.array([1.0])))
    slight = replace(base, now=Sums.of_counts(np.array([1_300.0]), np.array([50_000.0])))
    assert not week_over_week.judge(tiny, Options()).gated[0]
    assert not week_over_week.judge(slight, Options()).gated[0]


def test_no_baseline_and_no_data_are_said() -> None:
    """Without a week behind it a slice answers so, without a play in it too; neither is called OK."""
    base = one(null_evidence(2, "share", 300.0, 0.02, 0.1))
    none = replace(base, weeks=np.zeros(1, np.int64), base=Sums.zeros(1), long_run=Sums.zeros(1))
    silent = replace(base, now=Sums.zeros(1))
    assert week_over_week.judge(none, Options()).state[0] == NO_BASELINE
    answer = week_over_week.judge(silent, Options())
    assert (answer.state[0], answer.p[0], bool(answer.gated[0])) == (NO_DATA, 1.0, False)


def test_a_new_slice_borrows_its_parents_rate() -> None:
    """A slice without history is judged by its parent's rate, with the spread of its siblings added."""
    long_run = Sums.of_counts(np.array([200.0, 190.0, 10.0, 0.0]), np.array([10_000.0, 5_000.0, 5_000.0, 0.0]))
    parent = np.array([0, 0, 0, 0])
    lent, phi = baseline.borrow_from_parent(long_run, np.full(4, 0.01), parent)
    assert lent.x[3] / lent.y[3] == pytest.approx(0.02)
    assert phi[3] > 0.5
    assert phi[1] == pytest.approx(0.01)
    now = Sums.of_counts(np.array([200.0, 100.0, 1.0, 99.0]), np.array([10_000.0, 5_000.0, 50.0, 100.0]))
    weeks = np.array([4, 4, 4, 0])
    evidence = Evidence("share", "up", 5, now, long_run, lent, weeks, phi, parent=parent)
    assert week_over_week.judge(evidence, Options()).state.tolist() == [OK, OK, OK, NEW_SLICE]


def test_a_slice_that_never_failed_can_fail() -> None:
    """Zero freezes in four weeks: one frozen session-minute is no page, thirty are."""
    quiet = ratio_sums(np.random.default_rng(3), np.full(1, 2_000.0), np.zeros(1))
    frozen = np.array([1.0, 30.0])
    two = Sums(*(np.repeat(getattr(quiet, name), 2) for name in Sums.__slots__))
    now = Sums(
        np.full(2, 300.0), frozen * 4_000, np.full(2, 300 * 60_000.0), frozen * 4_000.0**2, frozen * 4_000 * 60_000,
        np.full(2, 300 * 60_000.0**2),
    )  # fmt: skip
    evidence = Evidence("ratio", "up", 5, now, two, two, np.full(2, 4), np.full(2, 0.01))
    outcome = week_over_week.judge(evidence, Options(min_volume=20))
    assert (outcome.gated & (outcome.p <= 1e-7)).tolist() == [False, True]


def test_volumes_alarm_on_collapse_and_not_on_noise() -> None:
    """A fall to a tenth alarms; a quiet week-over-week spread of 10 % stays below 1e-6."""
    rng = np.random.default_rng(5)
    expected = np.full(SLICES, 5_000.0)
    level = np.exp(rng.normal(0, 0.1, SLICES))
    now = rng.poisson(expected * level).astype(float)
    base = Sums.of_counts(expected, expected)
    evidence = Evidence(
        "volume", "down", 5, Sums.of_counts(now, now), base, base, np.full(SLICES, 4), np.full(SLICES, 0.015)
    )  # fmt: skip
    quiet = week_over_week.judge(evidence, Options(min_volume=100))
    assert float((quiet.p <= 1e-3).mean()) <= 2e-3
    assert not np.any(quiet.gated & (quiet.p <= 1e-6))
    fallen = week_over_week.judge(replace(evidence, now=Sums.of_counts(now / 10, now / 10)), Options(min_volume=100))
    assert np.all(fallen.gated & (fallen.p <= 1e-6))


def test_a_signed_mean_alarms_either_way() -> None:
    """A/V offset: ±200 ms of change alarms with shift 60, 20 ms do not."""
    n = np.full(4, 400.0)
    offsets = np.array([200.0, -200.0, 20.0, 0.0])

    def sums(mean: Floats) -> Sums:
        x = mean * 30
        return Sums(n, n * x, n * 30.0, n * (x**2 + 900 * 64), n * x * 30, n * 900.0)

    base = sums(np.full(4, -10.0))
    evidence = Evidence("level", "up", 5, sums(offsets - 10), base, base, np.full(4, 4), np.full(4, 0.01), d=2.0)
    outcome = week_over_week.judge(evidence, Options(extra={"shift": 60.0}))
    assert (outcome.gated & (outcome.p <= 1e-7)).tolist() == [True, True, False, False]


def test_a_threshold_asks_for_a_large_enough_sample() -> None:
    """1 of 3 is over a limit of 5 % and means nothing; 100 of 300 is believed; 4 % of many is below it."""
    now = Sums.of_counts(np.array([1.0, 100.0, 4_000.0]), np.array([3.0, 300.0, 100_000.0]))
    evidence = Evidence("share", "up", 5, now, Sums.zeros(3), Sums.zeros(3), np.zeros(3, np.int64), np.zeros(3))
    outcome = threshold.judge(evidence, Options(above=0.05, min_volume=0))
    assert (outcome.gated & (outcome.p <= 1e-3)).tolist() == [False, True, False]


def test_the_forecast_of_the_last_hour_stands_in_for_history() -> None:
    """Double exponential smoothing: a tripled rate alarms, a steady one does not, nine minutes are too few."""
    rng = np.random.default_rng(6)
    y = rng.poisson(400, (3, 60)).astype(float)
    x = rng.binomial(y.astype(np.int64), 0.05).astype(float)
    y[2, :48] = 0
    x[2, :48] = 0
    x[0, -5:] *= 3
    now = Sums.of_counts(x[:, -5:].sum(axis=1), y[:, -5:].sum(axis=1))
    evidence = Evidence(
        "share", "up", 5, now, Sums.zeros(3), Sums.zeros(3), np.zeros(3, np.int64), np.full(3, 0.01), live_x=x, live_y=y
    )  # fmt: skip
    outcome = des.judge(evidence, Options())
    assert (outcome.gated & (outcome.p <= 1e-4)).tolist() == [True, False, False]
    assert outcome.state[2] == NO_BASELINE


def test_absence_alarms_when_all_stops() -> None:
    """A slice with 100 plays a minute that falls silent alarms; one with a play an hour does not."""
    live = np.zeros((2, 65))
    live[0, :-5] = 100
    live[1, 3] = 1
    now = Sums.of_counts(np.zeros(2), np.zeros(2))
    evidence = Evidence(
        "volume", "down", 5, now, now, now, np.zeros(2, np.int64), np.zeros(2), live_x=live, live_y=live
    )  # fmt: skip
    outcome = absence.judge(evidence, Options())
    assert (outcome.gated & (outcome.p <= 1e-8)).tolist() == [True, False]


def test_noise_is_recovered_from_history() -> None:
    """Blocks drawn with d = 2 and φ = 0.04 give both back; an incident in history moves neither much."""
    rng = np.random.default_rng(11)
    mean = np.repeat(rng.lognormal(2.5, 1.2, 400)[None, :], 48, axis=0)
    rates = mean * rng.gamma(1 / 0.04, 0.04, mean.shape)
    k = 2.0 * rng.poisson(rates / 2.0)
    found = noise.from_blocks(k, mean, 5, "ratio", np.ones_like(mean, np.bool_))
    assert found.d == pytest.approx(2.0, rel=0.25)
    assert found.phi_fleet == pytest.approx(0.04, rel=0.35)
    k[:2, :40] *= 20
    spoiled = noise.from_blocks(k, mean, 5, "ratio", np.ones_like(mean, np.bool_))
    assert spoiled.phi_fleet <= 4 * 0.04
    assert np.all(found.phi <= 4.0 * found.phi_fleet)
