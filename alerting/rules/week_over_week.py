"""Kind `week_over_week`: is this window worse than the same minutes of the last four weeks?

A rate is judged as a count of bad units among n exposures. For a share the unit is one play. For a time ratio (stalled
over watched milliseconds) the unit is "one typical bad session-minute": by the delta method a session-minute's residual
is e = x − r·y with variance v = (Σx² − 2rΣxy + r²Σy²)/n, and c = v/(r·ȳ) is the size of the jumps that gives the sum
its variance. So k = Σx/c behaves as a count whose variance is its mean, and both shapes share one test:

    p0 = (k0 + κ·ps + ½)/(n0 + κ)                     baseline rate, shrunk to the slice's long-run rate ps, κ = 200
    m  = n·p0                                         expected
    V  = d·m + m²·(φ·(1 + b) + 1/(k0 + κ·ps + ½))     sampling, the rate's wobble now and in the baseline (b), its n
    p  = P(K >= k)                                    negative binomial (shares), gamma (ratios)

The ½ is Jeffreys' prior: a slice that never failed is not taken for one that cannot fail. Volumes are judged by the
residual of √x with an exponential tail. A normal tail screens all slices; only those beyond z > 3 get the exact one.
"""

from __future__ import annotations

import numpy as np

from alerting.rules import tails
from alerting.rules.evidence import (
    NEW_SLICE,
    NO_BASELINE,
    NO_DATA,
    OK,
    Evidence,
    Floats,
    Options,
    Outcome,
    Sums,
    divide,
)
from alerting.rules.kinds import Kind

KAPPA = 200.0
"""Session-minutes (or plays) of long-run history that a baseline is shrunk by."""
JEFFREYS = 0.5
BASELINE_WOBBLE = 0.6
"""The baseline's weeks wobble too: the mean of the middle two of four has 0.3 of one week's variance, 0.6/2."""
SIZE_PRIOR = 10.0
"""Bad units' worth of the current window in the estimate of a bad unit's size: matters only without history."""
BAND_Z = 1.96


def judge(evidence: Evidence, options: Options) -> Outcome:
    """The week-over-week answer for every slice; never raises on empty or odd slices, they come back as such."""
    if evidence.shape == "volume":
        return _judge_volume(evidence, options)
    if evidence.shape == "level":
        return _judge_level(evidence, options)
    return judge_rate(evidence, options, evidence.base, evidence.long_run)


def unit_sizes(now: Sums, long_run: Sums) -> Floats:
    """Size c of one bad unit in x's unit, shape (S,): from history, by the window itself where there is none."""
    history = _jump_size(long_run)
    units = divide(long_run.x, history)
    current = _jump_size(now)
    size = divide(long_run.x + SIZE_PRIOR * current, units + SIZE_PRIOR)
    return np.where(size > 0, size, np.where(current > 0, current, 1.0))


def _jump_size(sums: Sums) -> Floats:
    rate = divide(sums.x, sums.y)
    residual = sums.xx - 2 * rate * sums.xy + rate * rate * sums.yy
    return divide(np.maximum(residual, 0.0), sums.x)


def judge_rate(evidence: Evidence, options: Options, base: Sums, long_run: Sums) -> Outcome:
    """The count test of the module's docstring for shares and ratios against any baseline sums."""
    now = evidence.now
    is_share = evidence.shape == "share"
    size = np.ones_like(now.x) if is_share else unit_sizes(now, long_run)
    unit_y = np.ones_like(now.y) if is_share else divide(long_run.y, long_run.n, 0.0)
    unit_y = np.where(unit_y > 0, unit_y, np.maximum(divide(now.y, now.n, 1.0), 1e-9))

    k, n = now.x / size, now.y / unit_y
    k0, n0 = base.x / size, base.y / unit_y
    long_rate = divide(long_run.x, long_run.y) * unit_y / size
    known = k0 + KAPPA * long_rate + JEFFREYS
    p0 = known / (n0 + KAPPA)
    mean = n * p0
    wobble = evidence.phi * (1.0 + BASELINE_WOBBLE / np.maximum(evidence.weeks, 1) * n0 / (n0 + KAPPA))
    variance = evidence.d * mean + mean * mean * (wobble + 1.0 / known)
    deviation = np.sqrt(np.maximum(variance, 1e-12))

    up = evidence.direction == "up"
    z = (k - mean) / deviation if up else (mean - k) / deviation
    p = tails.normal_upper(z)
    beyond = z > tails.SCREEN_Z
    if np.any(beyond):
        p[beyond] = _exact(evidence, k[beyond], mean[beyond], variance[beyond], z[beyond])

    scale = size / unit_y
    value = divide(k, n) * scale
    baseline = p0 * scale
    half_band = BAND_Z * divide(deviation, n) * scale
    effect = divide(k, mean) if up else divide(mean, np.maximum(k, 1e-12))
    # one session that stays bad counts in each of its minutes: d turns session-minutes back into sessions
    excess = np.abs(k - mean) * np.where((k > mean) == up, 1.0, 0.0) / max(evidence.d, 1.0)
    if not up:
        excess = np.where(k < mean, now.n * (1.0 - divide(k, mean, 1.0)) / max(evidence.d, 1.0), 0.0)
    has_data = (now.n if not is_share else now.y) > 0
    state = np.select(
        [~has_data, evidence.weeks <= 0],
        [NO_DATA, NEW_SLICE if _has_parent(evidence) else NO_BASELINE],
        OK,
    ).astype(np.int64)
    volume = now.y if is_share else now.n
    gated = (effect >= options.effect) & (excess >= options.excess) & (volume >= options.min_volume) & has_data
    return Outcome(
        np.where(has_data, p, 1.0), np.where(has_data, z, 0.0), effect, excess, value, baseline,
        np.maximum(baseline - half_band, 0.0), baseline + half_band, volume, gated, state,
    )  # fmt: skip


def _has_parent(evidence: Evidence) -> bool:
    return evidence.parent is not None and bool(np.any(evidence.weeks > 0))


def _exact(evidence: Evidence, k: Floats, mean: Floats, variance: Floats, z: Floats) -> Floats:
    if evidence.direction == "up":
        if evidence.shape == "share":
            return tails.negative_binomial_upper(k, mean, variance)
        return tails.gamma_upper(k, mean, variance)
    if evidence.shape == "share":
        return tails.negative_binomial_lower(k, mean, variance)
    return tails.normal_upper(z)


def _judge_volume(evidence: Evidence, options: Options) -> Outcome:
    """Residual of √x: the variance of √count is ¼·d + ¼·φ·x, its tail week over week exponential."""
    now, expected = evidence.now.x, evidence.base.x
    root_sd = np.sqrt(0.25 * evidence.d + 0.25 * evidence.phi * expected)
    z = (np.sqrt(np.maximum(now, 0.0)) - np.sqrt(np.maximum(expected, 0.0))) / root_sd
    if evidence.direction == "down":
        z = -z
    p = tails.laplace_upper(z)
    low = np.maximum(np.sqrt(np.maximum(expected, 0.0)) - BAND_Z * root_sd, 0.0) ** 2
    high = (np.sqrt(np.maximum(expected, 0.0)) + BAND_Z * root_sd) ** 2
    down = evidence.direction == "down"
    effect = divide(expected, np.maximum(now, 0.5)) if down else divide(now, np.maximum(expected, 0.5))
    excess = np.maximum(expected - now, 0.0) if down else np.maximum(now - expected, 0.0)
    state = np.where(evidence.weeks > 0, OK, NO_BASELINE).astype(np.int64)
    gated = (effect >= options.effect) & (excess >= options.excess) & (expected >= options.min_volume)
    per_second = 1.0 / (60.0 * evidence.window_minutes)
    return Outcome(
        p, z, effect, excess, now * per_second, expected * per_second, low * per_second, high * per_second,
        expected, gated & (evidence.weeks > 0), state,
    )  # fmt: skip


def level_residual(sums: Sums) -> tuple[Floats, Floats]:
    """Mean x/y and the variance of a session-minute's residual to it, shapes (S,)."""
    mean = divide(sums.x, sums.y)
    return mean, divide(np.maximum(sums.xx - 2 * mean * sums.xy + mean * mean * sums.yy, 0.0), sums.n)


def _judge_level(evidence: Evidence, options: Options) -> Outcome:
    """Two-sided delta test of a signed mean; effect 1 is a change by `shift`, whose tenth is the mean's own wobble."""
    now, base = evidence.now, evidence.base
    shift = options.extra.get("shift", 1.0)
    value, spread = level_residual(now)
    baseline, base_spread = level_residual(base)
    long_mean, long_spread = level_residual(evidence.long_run)
    weight = divide(base.n, base.n + KAPPA)
    expected = weight * baseline + (1 - weight) * long_mean
    spread = np.maximum(spread, np.maximum(base_spread, long_spread))
    variance = (
        evidence.d * now.n * spread * divide(np.ones_like(now.y), now.y) ** 2
        + divide(evidence.d * spread, (base.n + KAPPA) * np.maximum(divide(now.y, now.n, 1.0), 1e-9) ** 2)
        + (0.1 * shift) ** 2
    )
    deviation = np.sqrt(variance)
    z = np.abs(value - expected) / deviation
    has_data = now.n > 0
    effect = np.where(has_data, np.abs(value - expected) / shift, 0.0)
    excess = np.where(effect >= 1.0, now.n / max(evidence.d, 1.0), 0.0)
    state = np.select([~has_data, evidence.weeks <= 0], [NO_DATA, NO_BASELINE], OK).astype(np.int64)
    gated = (effect >= options.effect) & (excess >= options.excess) & (now.n >= options.min_volume) & has_data
    return Outcome(
        np.where(has_data, np.minimum(2 * tails.normal_upper(z), 1.0), 1.0), np.where(has_data, z, 0.0), effect, excess,
        value, expected, expected - BAND_Z * deviation, expected + BAND_Z * deviation, now.n, gated, state,
    )  # fmt: skip


KIND = Kind(
    "week_over_week", "worse than the same minutes of the last four weeks", judge=judge, tested=True,
    properties={
        "shift": {
            "type": "number", "exclusiveMinimum": 0,
            "description": "for signed means (A/V offset): the change, in the metric's unit, that counts as effect 1",
        }
    },
)  # fmt: skip
