"""Kind `threshold`: a fixed limit, believed only where the sample is large enough to tell.

A share of 1 in 3 is over a limit of 5 % and means nothing. So the window is tested against a fleet whose true rate is
the limit: p is the chance of so many bad units at exactly the limit. It is the day-one rule, for slices that have no
history yet, and the right one for contracts ("start-up under 4 s").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alerting.rules import tails
from alerting.rules.evidence import NO_DATA, OK, Evidence, Options, Outcome, divide
from alerting.rules.kinds import Finding, Kind, LastPoint
from alerting.rules.week_over_week import level_residual, unit_sizes

COHORT_KEYS = ("stream", "title", "cdn")
"""Tags of a published point that say whom it concerns; the others (detector, run) are details of one finding."""
LIMIT_PHI = 0.02
"""Squared wobble of a rate that sits at its limit."""


def judge(evidence: Evidence, options: Options) -> Outcome:
    """The answer against `options.above` (or `below`); slices answer NO_DATA where nothing came."""
    if evidence.shape == "level":
        return _judge_level(evidence, options)
    limit = options.above if options.above is not None else options.below
    if limit is None:
        return Outcome.silent(len(evidence.now.x))
    up = options.above is not None
    now = evidence.now
    if evidence.shape == "volume":
        per_second = 1.0 / (60.0 * evidence.window_minutes)
        k, n, scale = now.x, np.full_like(now.x, 1.0 / per_second), np.ones_like(now.x)
        has_data = np.ones(len(k), np.bool_)
    elif evidence.shape == "share":
        k, n, scale = now.x, now.y, np.ones_like(now.x)
        has_data = now.y > 0
    else:
        size = unit_sizes(now, evidence.long_run)
        unit_y = np.maximum(divide(now.y, now.n, 1.0), 1e-9)
        k, n, scale = now.x / size, now.y / unit_y, size / unit_y
        has_data = now.n > 0
    mean = n * limit / scale
    variance = max(evidence.d, 1.0) * mean + LIMIT_PHI * mean * mean
    deviation = np.sqrt(np.maximum(variance, 1e-12))
    z = (k - mean) / deviation if up else (mean - k) / deviation
    p = tails.normal_upper(z)
    beyond = z > tails.SCREEN_Z
    if up and np.any(beyond):
        exact = tails.negative_binomial_upper if evidence.shape == "share" else tails.gamma_upper
        p[beyond] = exact(k[beyond], mean[beyond], variance[beyond])
    value = divide(k, n) * scale
    effect = divide(value, np.full_like(value, limit)) if up else divide(np.full_like(value, limit), value, np.inf)
    excess = np.where(z > 0, np.abs(k - mean) / max(evidence.d, 1.0), 0.0)
    volume = now.n if evidence.shape == "ratio" else n if evidence.shape == "share" else mean
    gated = has_data & (effect > 1.0) & (excess >= options.excess) & (volume >= options.min_volume)
    band = np.full_like(value, limit)
    low, high = (np.zeros_like(band), band) if up else (band, np.full_like(band, np.inf))
    state = np.where(has_data, OK, NO_DATA).astype(np.int64)
    return Outcome(
        np.where(has_data, p, 1.0), np.where(has_data, z, 0.0), effect, excess, value, band, low, high, volume,
        gated, state,
    )  # fmt: skip


def _judge_level(evidence: Evidence, options: Options) -> Outcome:
    """A signed mean is over its limit where it is so on either side, beyond three of its standard errors."""
    limit = options.above if options.above is not None else np.inf
    now = evidence.now
    value, spread = level_residual(now)
    deviation = np.sqrt(evidence.d * now.n * spread) * divide(np.ones_like(now.y), now.y)
    z = (np.abs(value) - limit) / np.maximum(deviation, 1e-9)
    has_data = now.n > 0
    volume = now.n / max(evidence.d, 1.0)
    over = has_data & (np.abs(value) > limit)
    excess = np.where(over, volume, 0.0)
    band = np.full_like(value, limit)
    return Outcome(
        np.where(has_data, tails.normal_upper(z), 1.0), np.where(has_data, z, 0.0), np.abs(value) / limit, excess,
        value, np.zeros_like(value), -band, band, now.n,
        over & (excess >= options.excess) & (now.n >= options.min_volume),
        np.where(has_data, OK, NO_DATA).astype(np.int64),
    )  # fmt: skip


def judge_points(points: Sequence[LastPoint], options: Options, now_ms: int) -> list[Finding]:
    """A finding for each cohort of published points past the limit and younger than `fresh_minutes`, largest first."""
    above = options.above if options.above is not None else 0.0
    fresh_ms = options.extra.get("fresh_minutes", 15.0) * 60_000
    by_cohort: dict[tuple[tuple[str, str], ...], list[LastPoint]] = {}
    for point in points:
        if point.value > above and now_ms - point.ts_ms <= fresh_ms:
            cohort = tuple(sorted((k, v) for k, v in point.tags.items() if k in COHORT_KEYS and v))
            by_cohort.setdefault(cohort, []).append(point)
    findings = [
        Finding(
            dict(cohort), sum(point.value for point in group), above, min(point.ts_ms for point in group),
            f"{group[0].name} at {sum(point.value for point in group):g} for "
            + (" ".join(f"{k}={v}" for k, v in cohort) or "everything"),
            [dict(point.tags) for point in group],
        )
        for cohort, group in by_cohort.items()
    ]  # fmt: skip
    return sorted(findings, key=lambda finding: (-finding.value, sorted(finding.cohort.items())))


KIND = Kind(
    "threshold", "past a fixed limit, where the sample is large enough to tell", judge=judge, judge_points=judge_points,
    properties={
        "above": {"type": "number", "description": "alarms above this value, in the metric's unit"},
        "below": {"type": "number", "description": "alarms below this value, in the metric's unit"},
        "fresh_minutes": {"type": "number", "exclusiveMinimum": 0, "description": "age of a point that counts"},
    },
)  # fmt: skip
