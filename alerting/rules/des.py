"""Kind `des`: double exponential smoothing, for slices that have minutes of history but no weeks.

The signal of Netflix Atlas's `:des`: a level and a trend follow the series, and the last window is compared with their
forecast. Atlas compares with a fixed fraction of the forecast; here the forecast becomes the baseline of the same count
test as week over week, so a small slice has to be much worse, and a large one only clearly worse.

Source: Atlas Stack Language reference, `:des` (training, alpha, beta); NIST/SEMATECH handbook 6.4.3.3.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alerting.rules.evidence import NO_BASELINE, Evidence, Floats, Options, Outcome, Sums, divide
from alerting.rules.kinds import Kind
from alerting.rules.week_over_week import judge_rate

ALPHA = 0.1
BETA = 0.02
TRAINING_MINUTES = 10
FORECAST_PHI = 0.04
"""Squared wobble of a forecast from an hour of minutes: a relative standard deviation of 20 %."""


def smooth(series: Floats, alpha: float = ALPHA, beta: float = BETA) -> Floats:
    """One-step forecast after the last minute, shape (S,), of `series` (S, T), oldest first; never negative."""
    level = series[:, 0].copy()
    trend = np.zeros(len(series))
    for minute in range(1, series.shape[1]):
        before = level
        level = alpha * series[:, minute] + (1 - alpha) * (level + trend)
        trend = beta * (level - before) + (1 - beta) * trend
    return np.maximum(level + trend, 0.0)


def judge(evidence: Evidence, options: Options) -> Outcome:
    """The answer against the forecast; NO_BASELINE where less than ten minutes before the window have data."""
    slices = len(evidence.now.x)
    if evidence.live_x is None or evidence.live_y is None or evidence.shape in ("volume", "level"):
        return Outcome.silent(slices, NO_BASELINE)
    past = evidence.live_x.shape[1] - evidence.window_minutes
    if past < TRAINING_MINUTES:
        return Outcome.silent(slices, NO_BASELINE)
    x, y = evidence.live_x[:, :past], evidence.live_y[:, :past]
    started = np.argmax(y > 0, axis=1)
    minutes = np.where(np.any(y > 0, axis=1), past - started, 0)
    x_hat, y_hat = smooth(x), smooth(y)
    rate = divide(x_hat, y_hat)
    total_y = y.sum(axis=1)
    per_n = divide(evidence.now.n, evidence.now.y, 1.0)
    base = Sums(total_y * per_n, rate * total_y, total_y, *(np.zeros(slices),) * 3)
    trained = minutes >= TRAINING_MINUTES
    history = Sums(
        total_y * per_n, x.sum(axis=1), total_y,
        divide(evidence.now.xx, evidence.now.x) * x.sum(axis=1),
        divide(evidence.now.xy, evidence.now.x) * x.sum(axis=1),
        divide(evidence.now.yy, evidence.now.y) * total_y,
    )  # fmt: skip
    judged = judge_rate(
        replace(evidence, weeks=trained.astype(np.int64), phi=np.maximum(evidence.phi, FORECAST_PHI), parent=None),
        options, base, history,
    )  # fmt: skip
    return judged.where(trained, Outcome.silent(slices, NO_BASELINE))


KIND = Kind("des", "worse than the forecast of double exponential smoothing", judge=judge, tested=True)
