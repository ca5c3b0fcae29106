"""What the engine feels: keeps the arrays filled from the store, and judges every rule on them.

`refresh` is all the I/O of a tick; `judge` is arithmetic. History is loaded for the hour around now and again before it
runs out; baselines change once a minute and are kept for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from zoneinfo import ZoneInfo

import numpy as np

from alerting import evaluate
from alerting.arrays import HEARD, LIVE_MINUTES, History, LiveArrays, SignalHistory, base_sums, signal_history
from alerting.budget import Budget
from alerting.evaluate import Judged
from alerting.reader import MINUTE_MS, StoreReader
from alerting.rules import KINDS
from alerting.rules.evidence import Ints, Sums
from alerting.ruleset import Rule
from alerting.signals import STARTUP_BOUND_MS, Past, Signal, signal_of
from alerting.slices import SliceIndex, contradicts, nested
from tocsin.adapters.store.port import Store
from tocsin.model.catalogue import METRICS
from tocsin.model.cubes import DEFAULT_CUBES, Cube

HORIZON_MINUTES = 15
HISTORY_BACK_MINUTES = 62
CLOSED_GRACE_MS = 15_000
"""A minute counts as closed for volumes once the watermark is this far past its end."""

Excluded = Callable[[int, int], Sequence[Mapping[str, str]]]
"""Cohorts (of incidents, declared events) that disturbed the time from … to, ms."""


class Sensors:
    """Arrays and judgements for `rules` over one store."""

    def __init__(
        self, store: Store, rules: Sequence[Rule], zone: ZoneInfo, cubes: Iterable[Cube] = DEFAULT_CUBES,
        budget: Budget | None = None, excluded: Excluded = lambda _from, _to: (),
    ) -> None:  # fmt: skip
        self._store, self._zone = store, zone
        self._cubes = tuple(cubes)
        self._budget = budget or Budget()
        self._excluded = excluded
        self._rules = [rule for rule in rules if rule.enabled and rule.metric in METRICS]
        self._startup_bound_ms = STARTUP_BOUND_MS
        self.index = SliceIndex([keys for rule in self._rules for keys in rule.slices], self._cubes)
        self._reset(STARTUP_BOUND_MS)

    def _reset(self, startup_bound_ms: int) -> None:
        self._startup_bound_ms = startup_bound_ms
        self.signals: dict[str, Signal] = {
            rule.name: signal_of(rule.metric, rule.direction, startup_bound_ms) for rule in self._rules
        }
        columns = dict.fromkeys([HEARD, *(name for signal in self.signals.values() for name in signal.columns())])
        pasts: dict[str, Past] = {s.past.column: s.past for s in self.signals.values() if s.past is not None}
        self.windows = tuple(sorted({window for rule in self._rules for window in rule.windows}))
        self.reader = StoreReader(self._store, self.index, tuple(columns), pasts)
        self.live = LiveArrays(tuple(columns), self.windows)
        self._history = History.none(tuple(columns))
        self._history_end = -1
        self._past: dict[str, SignalHistory] = {}
        self._bases: dict[str, dict[int, tuple[Sums, Ints]]] = {}
        self._bases_at = -1

    def refresh(self, now_ms: int) -> None:
        """Read what is new; raises `UnavailableError` where the store is away (the next call goes on from here)."""
        minute = now_ms // MINUTE_MS
        if self.live.end < 0:
            self._start(minute)
        if minute > self.live.end:
            self.live.roll(minute)
        self.live.add(self.reader.poll(minute - LIVE_MINUTES + 1))
        self.live.grow(len(self.index))
        if minute + 1 > self._history_end:
            self._load_history(minute)
        closed = self.closed_end(now_ms)
        if self._bases_at != self.live.end * 1000 + self.live.end - closed:
            self._rebase(closed)

    def _start(self, minute: int) -> None:
        bound = self.reader.startup_bound_ms(minute - HISTORY_BACK_MINUTES, minute + HORIZON_MINUTES, self._zone)
        if bound is not None and bound != self._startup_bound_ms:
            self._reset(bound)
        self.live.roll(minute)
        self.live.add(self.reader.backlog(minute - LIVE_MINUTES + 1, minute))

    def _load_history(self, minute: int) -> None:
        last = minute + HORIZON_MINUTES
        self._history = self.reader.history(minute - HISTORY_BACK_MINUTES, last, self._zone)
        self._exclude_disturbed()
        self._history_end = last
        self._bases_at = -1
        cached: dict[tuple[str, str, str], SignalHistory] = {}
        for rule in self._rules:
            signal = self.signals[rule.name]
            key = (signal.metric, signal.shape, signal.direction)
            if key not in cached:
                cached[key] = signal_history(self._history, signal, self.windows)
            self._past[rule.name] = cached[key]
        self.live.grow(len(self.index))

    def _exclude_disturbed(self) -> None:
        history = self._history
        for week, first in enumerate(history.first):
            cohorts = self._excluded(first * MINUTE_MS, (first + history.minutes) * MINUTE_MS)
            for cohort in cohorts:
                for number in range(history.slices):
                    if nested(self.index.tags(number), cohort):
                        history.usable[week, number] = False

    def closed_end(self, now_ms: int) -> int:
        """The last minute whose volume is whole: the watermark has passed its end."""
        watermark = self.reader.tail.watermark_ms() or now_ms
        return int(min((min(watermark, now_ms) - CLOSED_GRACE_MS) // MINUTE_MS - 1, self.live.end - 1))

    def _rebase(self, closed: int) -> None:
        cached: dict[tuple[str, int], tuple[Sums, Ints]] = {}
        for rule in self._rules:
            signal = self.signals[rule.name]
            end = closed if signal.shape == "volume" else self.live.end
            bases: dict[int, tuple[Sums, Ints]] = {}
            for window in rule.windows:
                key = (f"{signal.metric}/{signal.shape}", window)
                if key not in cached:
                    cached[key] = base_sums(self._history, signal, end, window, self._zone)
                bases[window] = cached[key]
            self._bases[rule.name] = bases
        self._bases_at = self.live.end * 1000 + self.live.end - closed

    def judge(
        self, now_ms: int, levels: Mapping[str, Mapping[int, float]],
        explained: Mapping[str, Sequence[tuple[Mapping[str, str], int]]],
    ) -> dict[str, Judged]:  # fmt: skip
        """Every enabled catalogue rule's answer, by rule name.

        `levels` by rule and slice; `explained` by rule: cohorts of incidents past, and the last ms that they were bad.
        """
        tested = sum(KINDS[rule.kind].tested for rule in self._rules)
        alphas = self._budget.alphas(self.index.dimensions(), tested)
        parents = self.index.parents()
        closed = self.closed_end(now_ms)
        return {
            rule.name: evaluate.judge(
                rule, self.signals[rule.name], self.live, self._bases[rule.name], self._past[rule.name], parents,
                self.index.members(rule.slices), alphas, closed, levels.get(rule.name, {}),
                self._explained_until(explained.get(rule.name, ())),
            )
            for rule in self._rules
        }  # fmt: skip

    def _explained_until(self, past: Sequence[tuple[Mapping[str, str], int]]) -> Ints:
        """The last minute that an incident explains, by slice; every slice that its cohort's sessions are in counts."""
        until = np.full(len(self.index), -1, np.int64)
        for cohort, last_ms in past:
            for number in range(len(self.index)):
                if not contradicts(cohort, self.index.tags(number)):
                    until[number] = max(until[number], last_ms // MINUTE_MS)
        return until

    def onset_ms(self, judged: Judged, number: int, now_ms: int) -> int:
        """Since when a slice has been bad: back over minutes past half-way from the baseline to now's value, ms."""
        signal, best = judged.signal, judged.best
        volume = signal.shape == "volume"
        end = self.closed_end(now_ms) if volume else self.live.end
        minutes = self.live.minutes - 2
        x = self.live.series(signal.x, end, minutes)[number]
        y = self.live.series(signal.y, end, minutes)[number] if signal.y else np.full(minutes, 60.0)
        value, baseline = float(best.value[number]), float(best.baseline[number])
        baseline = baseline if np.isfinite(baseline) else 0.0
        half = (value + baseline) / 2
        onset, misses = end, 0
        for back in range(minutes):
            at = minutes - 1 - back
            if y[at] <= 0:
                misses += 1
            elif (x[at] / y[at] - half) * (1 if value >= baseline else -1) >= 0:
                onset, misses = end - back, 0
            else:
                misses += 1
            if misses > 2:
                break
        return int(min(onset * MINUTE_MS, now_ms))

    def watch(self, cohort: Mapping[str, str], judged: Judged, leader: Mapping[str, str]) -> dict[str, str]:
        """The known slice that fits a cohort best: the one with most of its tags; the leader where none has any."""
        found: list[tuple[int, float, dict[str, str]]] = []
        for family in self.index.families:
            if family.keys and set(family.keys) <= set(cohort):
                tags = {key: cohort[key] for key in family.keys}
                number = self.index.find(tags)
                if number is not None and number < len(judged.best.p):
                    found.append((-len(tags), float(judged.best.p[number]), tags))
        return min(found, key=lambda item: item[:2])[2] if found else dict(leader)

    def parents_of(self, tags: Mapping[str, str]) -> list[int]:
        """Known slices with one tag less, the root last."""
        found = []
        for key in tags:
            number = self.index.find({other: value for other, value in tags.items() if other != key})
            if number is not None:
                found.append(number)
        return [*[number for number in found if number], 0]
