"""Kind `absence`: a volume that should keep coming has stopped altogether, whatever last week was.

The chance that a fleet which brought λ events a minute over the last hour brings none in the window is exp(−λ·W/d); the
rule alarms on it without weeks of history, but only on closed minutes, and never on slices that were small anyway.
"""

from __future__ import annotations

import numpy as np

from alerting.rules.evidence import NO_BASELINE, OK, Evidence, Options, Outcome
from alerting.rules.kinds import Kind

CLUMPING = 4.0
"""Events come in clumps: the exponent is divided by this."""


def judge(evidence: Evidence, options: Options) -> Outcome:
    """The answer by the minutes before the window; NO_BASELINE where none were seen."""
    slices = len(evidence.now.x)
    if evidence.live_x is None:
        return Outcome.silent(slices, NO_BASELINE)
    past = evidence.live_x[:, : -evidence.window_minutes]
    minutes = max(past.shape[1], 1)
    expected = past.sum(axis=1) / minutes * evidence.window_minutes
    now = evidence.now.x
    gone = now <= 0
    p = np.where(gone, np.exp(-expected / CLUMPING), 1.0)
    seen = past.sum(axis=1) > 0
    per_second = 1.0 / (60.0 * evidence.window_minutes)
    nan = np.full(slices, np.nan)
    return Outcome(
        p, np.where(gone, np.sqrt(expected / CLUMPING), 0.0), np.where(gone & seen, np.inf, 1.0),
        np.maximum(expected - now, 0.0), now * per_second, expected * per_second, nan, nan, expected,
        gone & (expected >= max(options.min_volume, options.excess)), np.where(seen, OK, NO_BASELINE).astype(np.int64),
    )  # fmt: skip


KIND = Kind("absence", "events that should keep coming have stopped", judge=judge)
