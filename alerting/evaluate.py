"""One tick of one rule over all slices: every window is judged, the most telling one kept.

A long window stays bad long after the trouble has ended, so it counts only while the shortest still shows some of it.
Slices without any history fall back to a fixed threshold and to the last hour's forecast, and are marked so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from alerting.arrays import LiveArrays, SignalHistory, evidence_of
from alerting.budget import STRICT
from alerting.incidents import CLOSE_EFFECT, CLOSE_P, Measured, Observation
from alerting.rules import KINDS, des, threshold
from alerting.rules.evidence import (
    NEW_SLICE,
    NO_BASELINE,
    NO_DATA,
    Bools,
    Evidence,
    Floats,
    Ints,
    Options,
    Outcome,
    Sums,
)
from alerting.ruleset import Rule
from alerting.signals import Signal

SHORT_MINUTES = 5
"""Windows up to this length tell whether trouble goes on; a rule without one uses its shortest."""
ACTIVE_P = 0.01
"""An open incident goes on while its shortest window with enough volume is at least this unlikely."""
ALIVE_P = 0.1
"""A long window counts while a short one is at least this unlikely."""
FIXED_ALPHA = 1e-3
"""Level of tests against a fixed limit: the limit is the operator's, the test only asks for a large enough sample."""
DES_MINUTES = 60


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule's answer: `best` holds for each slice the window with the smallest p, `window` its minutes."""

    rule: Rule
    signal: Signal
    outcomes: Mapping[int, Outcome]
    best: Outcome
    window: Ints
    exceed: Bools
    strict: Bools
    no_history: Bools

    def observe(self, number: int) -> Observation:
        """Whether the trouble in one slice goes on, judged by the short windows."""
        shorts = [self.outcomes[window] for window in short_windows(self.rule)]
        if shorts[0].state[number] == NO_DATA or shorts[0].n[number] <= 0:
            return "no_data"
        large = (outcome for outcome in shorts if outcome.n[number] >= self.rule.options.min_volume)
        outcome = next(large, shorts[-1])
        p, effect = float(outcome.p[number]), float(outcome.effect[number])
        if p < ACTIVE_P and effect >= CLOSE_EFFECT:
            return "active"
        return "quiet" if p > CLOSE_P and (effect < CLOSE_EFFECT or outcome.z[number] < 1.0) else "unsure"

    def measured(self, number: int, tags: Mapping[str, str]) -> Measured:
        """What one slice showed, for the page."""
        best, scale = self.best, self.signal.scale
        return Measured(
            self.signal.metric, self.signal.unit, int(self.window[number]), dict(tags),
            _finite(best.value[number] * scale) or 0.0, _finite(best.baseline[number] * scale),
            _finite(best.low[number] * scale), _finite(best.high[number] * scale), float(best.n[number]),
            float(best.p[number]), _finite(best.effect[number]) or 1e9, float(best.excess[number]),
        )  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def short_windows(rule: Rule) -> tuple[int, ...]:
    """The windows by which an incident of this rule is closed."""
    return tuple(window for window in rule.windows if window <= SHORT_MINUTES) or rule.windows[:1]


def judge(
    rule: Rule, signal: Signal, live: LiveArrays, bases: Mapping[int, tuple[Sums, Ints]], past: SignalHistory,
    parents: Ints, members: Bools, alphas: Floats, closed_end: int, levels: Mapping[int, float],
    explained_until: Ints,
) -> Judged:  # fmt: skip
    """Judge one rule.

    `bases` by window; `levels` maps slices to the factor of an accepted new level. `explained_until` (S,) is the last
    minute that an incident already explains: windows that reach back to it open nothing.
    """
    kind = KINDS[rule.kind]
    options = _in_parts(rule.options, signal.scale)
    outcomes: dict[int, Outcome] = {}
    levels_alpha = alphas if kind.tested else np.full(len(alphas), FIXED_ALPHA)
    no_history = np.zeros(live.slices, np.bool_)
    hit = np.zeros(live.slices, np.bool_)
    strict = np.zeros(live.slices, np.bool_)
    best: Outcome | None = None
    window_of = np.full(live.slices, rule.windows[0], np.int64)
    alive = np.zeros(live.slices, np.bool_)
    for window in rule.windows:
        evidence = evidence_of(live, signal, window, bases[window], past, parents, closed_end)
        evidence = _with_levels(evidence, levels)
        if kind.name == "absence":
            evidence = _with_series(evidence, live, signal, closed_end)
        known = signal.shape != "volume" or live.heard(closed_end, window)
        outcome = kind.judge(evidence, options) if kind.judge and known else Outcome.silent(live.slices)
        exceed = outcome.gated & (outcome.p <= levels_alpha) & (outcome.state != NO_BASELINE)
        very = outcome.p <= levels_alpha * STRICT
        lacking = outcome.state == NO_BASELINE
        if rule.kind == "week_over_week" and np.any(lacking & members):
            outcome, found = _fallback(rule, signal, evidence, live, outcome, lacking, alphas, closed_end)
            exceed |= found
            no_history |= lacking
        exceed &= members
        new = outcome.state == NEW_SLICE
        exceed &= ~new | exceed[parents]
        outcomes[window] = outcome
        if window in short_windows(rule):
            alive |= (outcome.effect >= CLOSE_EFFECT) & (outcome.p <= ALIVE_P)
        exceed &= alive & (live.end - window > explained_until)
        earlier = hit.copy()
        hit |= exceed
        strict |= exceed & very
        if best is None:
            best = outcome
        else:
            # the shortest window that is past its level tells best what is going on; else the least likely one
            better = ~earlier & (_rank(outcome, exceed) < _rank(best, earlier))
            window_of = np.where(better, window, window_of)
            best = outcome.where(better, best)
    return Judged(rule, signal, outcomes, best or Outcome.silent(live.slices), window_of, hit, strict, no_history)


def _in_parts(options: Options, scale: float) -> Options:
    """Limits in units of x/y instead of the metric's."""
    if scale == 1.0:
        return options
    extra = {key: value / scale if key == "shift" else value for key, value in options.extra.items()}
    above = options.above / scale if options.above is not None else None
    below = options.below / scale if options.below is not None else None
    return replace(options, above=above, below=below, extra=extra)


def _rank(outcome: Outcome, hit: Bools) -> Floats:
    """Smaller is more telling: hits first, then by p, then by distance (p underflows in large incidents)."""
    return np.where(hit, -1e6, 0.0) + np.log(np.maximum(outcome.p, 1e-300)) - 1e-3 * np.minimum(outcome.z, 1e6)


def _with_levels(evidence: Evidence, levels: Mapping[int, float]) -> Evidence:
    """Baselines of slices whose new level was accepted, scaled by it."""
    if not levels:
        return evidence
    factor = np.ones(len(evidence.now.x))
    for number, value in levels.items():
        factor[number] = value
    return replace(evidence, base=_scaled(evidence.base, factor), long_run=_scaled(evidence.long_run, factor))


def _scaled(sums: Sums, factor: Floats) -> Sums:
    return Sums(sums.n, sums.x * factor, sums.y, sums.xx * factor, sums.xy * factor, sums.yy)


def _with_series(evidence: Evidence, live: LiveArrays, signal: Signal, closed_end: int) -> Evidence:
    end = closed_end if signal.shape == "volume" else live.end
    minutes = min(DES_MINUTES + evidence.window_minutes, live.minutes - 2)
    live_x = live.series(signal.x, end, minutes)
    live_y = live.series(signal.y, end, minutes) if signal.y else live_x
    return replace(evidence, live_x=live_x, live_y=live_y)


def _fallback(
    rule: Rule, signal: Signal, evidence: Evidence, live: LiveArrays, outcome: Outcome, lacking: Bools, alphas: Floats,
    closed_end: int,
) -> tuple[Outcome, Bools]:  # fmt: skip
    """Answers for slices without a baseline: a fixed limit where the rule has one, else the last hour's forecast."""
    with_series = _with_series(evidence, live, signal, closed_end)
    forecast = des.judge(with_series, rule.options)
    hit = forecast.gated & (forecast.p <= alphas) & (forecast.state != NO_BASELINE)
    merged = forecast.where(lacking & (forecast.state != NO_BASELINE), outcome)
    if rule.fallback is not None:
        fixed = threshold.judge(evidence, _in_parts(rule.fallback, signal.scale))
        over = fixed.gated & (fixed.p <= FIXED_ALPHA)
        merged = fixed.where(lacking & (over | (forecast.state == NO_BASELINE)), merged)
        hit |= over
    return merged, hit & lacking
