"""From slices that fire to cohorts that explain them: sessions are read once a rule, explained, and taken out again.

The slice with the smallest p leads. Whatever explains the whole audience and does not contradict the leader is taken;
else the leader's own sessions are explained. A slice that is normal once the found cohorts' sessions are taken out of
it is a child of theirs; one that is not leads the next round: two troubles at once become two incidents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from alerting.incidents import slice_name
from alerting.localise import KEY_ORDER, Audience, Explanation, describe, explain
from alerting.page import number
from alerting.rules.evidence import Bools, Floats, Options, divide
from alerting.rules.tails import gamma_upper
from alerting.signals import Signal
from alerting.slices import contradicts

ROUNDS_MAX = 3
REST_EXCESS_SHARE = 0.5
"""A leader whose excess is explained by less than this share asks for an explanation of its own."""
HOMOGENEOUS = 0.4
"""Part of the leader's lift above 1 that a wider cohort must have outside the leader to be the explanation."""
REST_P = 1e-4
"""What a slice shows without a cohort must be this unlikely, to be a second trouble and not the first one's noise."""
REST_PHI = 0.04
SHORTFALL = 0.75
"""A session's bitrate counts as bad below this part of what its kind of device usually has."""
PEER_KEY = "device"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A slice that fires: its number, tags, p and excess."""

    number: int
    tags: Mapping[str, str]
    p: float
    excess: float


@dataclass(frozen=True, slots=True)
class Case:
    """One incident to open: who, why, and which suspects it explains."""

    cohort: dict[str, str]
    leader: Suspect
    cohorts: list[dict[str, Any]]
    worst_streams: list[str]
    members: list[Suspect]


def badness(audience: Audience, signal: Signal, options: Options, period_ratio: float) -> Audience:
    """The audience with x as "how bad", so that more is worse whatever the metric's direction.

    A shortfall below 3/4 of the device's usual rate where lower is worse; the distance from everyone's mean beyond half
    of `shift` for signed means; for volumes the plays before the onset (times `period_ratio`) against those since.
    """
    x, y, x_before, y_before = audience.x, audience.y, audience.x_before, audience.y_before
    if signal.shape == "volume":
        if signal.direction == "up":
            return audience
        before = x_before * period_ratio
        either = before + x
        return replace(audience, x=before, y=either, x_before=x, y_before=either)
    total_before = y_before.sum()
    rate = float(x_before.sum() / total_before) if total_before > 0 else float(divide(x.sum()[None], y.sum()[None])[0])
    if signal.shape == "level":
        slack = 0.5 * options.extra.get("shift", 1.0) / signal.raw_scale
        return replace(
            audience, x=np.maximum(np.abs(x - rate * y) - slack * y, 0.0),
            x_before=np.maximum(np.abs(x_before - rate * y_before) - slack * y_before, 0.0),
        )  # fmt: skip
    if signal.direction == "down":
        floor = SHORTFALL * _peer_rate(audience, rate)
        return replace(
            audience, x=np.maximum(floor * y - x, 0.0), x_before=np.maximum(floor * y_before - x_before, 0.0)
        )  # fmt: skip
    return audience


def _peer_rate(audience: Audience, everyone: float) -> Floats:
    """The rate before the onset of each row's kind of device, shape (n,): a television's bitrate is no telephone's."""
    values, codes = audience.tags.get(PEER_KEY, ((), np.zeros(len(audience), np.int64)))
    if not values:
        return np.full(len(audience), everyone)
    x = np.bincount(codes, audience.x_before, len(values)).astype(np.float64)
    y = np.bincount(codes, audience.y_before, len(values)).astype(np.float64)
    return np.where(y > 0, divide(x, y), everyone)[codes]


def investigate(
    suspects: Sequence[Suspect], audience: Audience, signal: Signal, options: Options,
    known: Sequence[Mapping[str, str]], period_ratio: float = 1.0,
) -> tuple[list[Case], dict[int, int]]:  # fmt: skip
    """Cases for the suspects that the `known` cohorts do not explain.

    Also answers, by slice number, which known cohort (index) explains a suspect.
    """
    bad = badness(audience, signal, options, period_ratio)
    left = np.ones(len(bad), np.bool_)
    for cohort in known:
        left &= ~bad.within(cohort)
    children: dict[int, int] = {}
    open_suspects: list[Suspect] = []
    for suspect in suspects:
        owner = next((i for i, c in enumerate(known) if not contradicts(c, suspect.tags)), None)
        if owner is not None and _is_normal(bad, left, suspect, options):
            children[suspect.number] = owner
        else:
            open_suspects.append(suspect)
    cases: list[Case] = []
    while open_suspects and len(cases) < ROUNDS_MAX:
        leader = min(open_suspects, key=_urgency)
        case_cohort, found = _explain_leader(bad, left, leader)
        left &= ~bad.within(case_cohort)
        members = [leader]
        rest: list[Suspect] = []
        for suspect in open_suspects:
            if suspect is leader:
                continue
            same = not contradicts(case_cohort, suspect.tags)
            (members if same and _is_normal(bad, left, suspect, options) else rest).append(suspect)
        described = [_figures(item, audience, bad, signal) for item in found]
        streams = list(found[0].worst_streams) if found else []
        cases.append(Case(case_cohort, leader, described, streams, members))
        open_suspects = rest
    return cases, children


def _urgency(suspect: Suspect) -> tuple[float, float, int, tuple[int, ...]]:
    ranks = tuple(KEY_ORDER.index(key) for key in suspect.tags if key in KEY_ORDER)
    return suspect.p, -suspect.excess, len(suspect.tags), ranks


def _explain_leader(
    bad: Audience, left: Bools, leader: Suspect
) -> tuple[dict[str, str], list[Explanation]]:  # fmt: skip
    """The cohort for the leader, and the explanations to show (the first is the cohort's)."""
    rest = bad.take(left)
    found = [item for item in explain(rest) if not contradicts(item.cohort, leader.tags)]
    for item in found:
        if _covers(rest, item.cohort, leader) and _is_homogeneous(rest, item.cohort, leader):
            return item.cohort, [item, *(other for other in found if other is not item)]
    inside = rest.take(rest.within(leader.tags)) if leader.tags else rest
    own = explain(inside)
    cohort = {**leader.tags, **own[0].cohort} if own else dict(leader.tags)
    cohort = dict(sorted(cohort.items(), key=lambda item: KEY_ORDER.index(item[0]))[:3]) if cohort else {}
    best = describe(rest, cohort)
    others = [item for item in found if item.cohort != cohort]
    return cohort, [best, *others][:3]


def _covers(rest: Audience, cohort: Mapping[str, str], leader: Suspect) -> bool:
    """Whether the cohort holds at least half of what is bad in the leader."""
    inside = rest.within(leader.tags)
    bad = float(rest.x[inside].sum())
    both = float(rest.x[inside & rest.within(cohort)].sum())
    return bad <= 0 or both >= REST_EXCESS_SHARE * bad


def _is_homogeneous(rest: Audience, cohort: Mapping[str, str], leader: Suspect) -> bool:
    """Whether the cohort is bad outside the leader too: else the leader is the trouble, and the cohort dilutes it."""
    inside = rest.within(leader.tags)
    outside = rest.within(cohort) & ~inside
    if rest.y[outside].sum() <= 0:
        return True
    return _lift(rest, outside) - 1.0 >= HOMOGENEOUS * (_lift(rest, inside) - 1.0)


def _lift(audience: Audience, rows: Bools) -> float:
    """How many times worse than before the rows are, their rate before shrunk to everyone's."""
    prior = 20.0 * float(audience.y.sum()) / max(float((audience.y > 0).sum()), 1.0)
    everyone = float(audience.x_before.sum()) / max(float(audience.y_before.sum()), 1e-9)
    before = (audience.x_before[rows].sum() + prior * everyone) / (audience.y_before[rows].sum() + prior)
    now = audience.x[rows].sum() / max(float(audience.y[rows].sum()), 1e-9)
    return float(now / before) if before > 0 else float("inf") if now > 0 else 1.0


def _is_normal(bad: Audience, left: Bools, suspect: Suspect, options: Options) -> bool:
    """Whether the suspect is normal without the sessions of the cohorts found so far."""
    inside = bad.within(suspect.tags)
    rest = inside & left
    if bad.y[rest].sum() <= 0 or not np.any(rest):
        return True
    sub = bad.take(rest)
    rate = float(sub.x.sum() / sub.y.sum())
    before = bad.take(inside)
    everyone = float(bad.x_before.sum() / max(bad.y_before.sum(), 1e-9))
    prior = 20.0 * float(bad.y.sum()) / max(float((bad.y > 0).sum()), 1.0)
    expected = float((before.x_before.sum() + prior * everyone) / (before.y_before.sum() + prior))
    if rate < options.effect * expected:
        return True
    wrong = int(((sub.x > 0) & (sub.y > 0)).sum())
    unit = float((sub.x * sub.x).sum() / sub.x.sum())
    k, mean = np.array([sub.x.sum() / unit]), np.array([expected * sub.y.sum() / unit])
    p = float(gamma_upper(k, mean, mean + REST_PHI * mean * mean)[0])
    return p > REST_P or wrong * (1.0 - expected / rate) * bad.weight < options.excess


def _figures(item: Explanation, audience: Audience, bad: Audience, signal: Signal) -> dict[str, Any]:
    """An explanation as the page shows it, rates in the metric's unit."""
    figures = asdict(item)
    figures["sample_sessions"] = list(item.sample_sessions)
    figures["worst_streams"] = list(item.worst_streams)
    inside = audience.within(item.cohort)
    unit = signal.unit
    if signal.shape == "volume":
        before = float(bad.x[~inside].sum())
        kept = float(bad.x_before[~inside].sum()) / before if before > 0 else 1.0
        figures["counterfactual"] = kept
        figures["counterfactual_text"] = f"Elsewhere {kept:.0%} of the plays of before the onset go on."
        return _rounded(figures)
    scale = signal.raw_scale

    def rate(rows: Bools, now: bool = True) -> float:
        x, y = (audience.x, audience.y) if now else (audience.x_before, audience.y_before)
        total = float(y[rows].sum())
        return float(x[rows].sum()) / total * scale if total > 0 else 0.0

    everyone = np.ones(len(audience), np.bool_)
    figures["rate"] = rate(inside)
    figures["rate_before"] = rate(inside, now=False)
    figures["normal"] = rate(everyone, now=False)
    figures["counterfactual"] = rate(~inside) if item.cohort else rate(everyone, now=False)
    if item.cohort:
        figures["counterfactual_text"] = (
            f"Without {slice_name(item.cohort)} it is {number(figures['counterfactual'], unit)}"
            f" (before: {number(figures['normal'], unit)})."
        )
    else:
        figures["counterfactual_text"] = f"Everyone is affected (before: {number(figures['normal'], unit)})."
    return _rounded(figures)


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in figures.items()}
