"""The engine: one `tick` feels, judges, explains, and keeps the incidents. The clock is passed in.

Order of a tick: refresh the arrays; if the pipeline itself is late, that is the one incident and nothing else is
judged; else follow the open incidents, then explain what fires and no open incident explains, rule by rule.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from alerting import incidents as life
from alerting.budget import Budget
from alerting.casework import Casework
from alerting.desk import Desk, Receiver, disturbed, silences
from alerting.evaluate import Judged
from alerting.incidents import Hits, Holds, Incident, Measured, Observation
from alerting.points import PointRules
from alerting.ruleset import Rule
from alerting.sensors import Sensors
from tocsin.adapters.state.port import State
from tocsin.adapters.store.port import Store
from tocsin.model.cubes import DEFAULT_CUBES, Cube
from tocsin.model.errors import TocsinError, UnavailableError

PIPELINE_RULE = "pipeline"
LEDGER_RULE = "ledger"
OWN_RULES = (PIPELINE_RULE, LEDGER_RULE)
"""Incidents of Tocsin itself: no quality incident joins them."""
EXPLAINED_MS = 65 * 60_000
DRAINED = "no sessions of the cohort remain, and everyone else is normal"


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Everything that an operator may turn; times in ms."""

    base_url: str = "http://127.0.0.1:8080"
    timezone: str = "UTC"
    holds: Holds = field(default_factory=Holds)
    budget: Budget = field(default_factory=Budget)
    cubes: Iterable[Cube] = DEFAULT_CUBES
    receivers: Sequence[Receiver] = ()
    actions: frozenset[str] = frozenset()
    stale_ms: int = 120_000
    refine_ms: int = 300_000
    refine_every_ms: int = 30_000
    points_every_ms: int = 20_000


@dataclass(frozen=True, slots=True)
class Flag:
    """A wish for the probe to look: the streams or title that an incident names."""

    incident_id: str
    rule: str
    streams: tuple[str, ...]
    cohort: Mapping[str, str]
    sample_sessions: tuple[str, ...]


@dataclass(slots=True)
class TickReport:
    """What a tick did, for logs, `/metrics` and tests."""

    now_ms: int
    lag_ms: int = 0
    slices: int = 0
    stale: bool = False
    error: str = ""
    opened: list[str] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)


class AlertEngine:
    """One engine over one store and one state database. Thread-safe; call `tick` every 10 s."""

    def __init__(
        self, store: Store, state: State, clock: Callable[[], int], rules: Sequence[Rule],
        config: EngineConfig | None = None, on_flag: Callable[[Flag], None] = lambda _flag: None,
    ) -> None:  # fmt: skip
        self.config = config or EngineConfig()
        self.rules = tuple(rules)
        self.state, self.clock, self._on_flag = state, clock, on_flag
        self.desk = Desk(state, tuple(self.config.receivers), self.config.base_url, self.config.actions)
        zone = ZoneInfo(self.config.timezone)
        self.sensors = Sensors(
            store, self.rules, zone, self.config.cubes, self.config.budget,
            lambda start_ms, end_ms: disturbed(state, start_ms, end_ms),
        )  # fmt: skip
        self.casework = Casework(self.sensors, self.desk, self.config.holds)
        self.points = PointRules(store, self.desk, self.rules, self.config.holds)
        self._hits = {rule.name: Hits(self.config.holds) for rule in self.rules}
        self._points_ms = self._refined_ms = -(2**62)
        self._unbalanced = 0
        self._hints: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self.last: TickReport | None = None

    def tick(self, now_ms: int | None = None) -> TickReport:
        """One round at `now_ms` (by default the clock's). A store that is away makes the pipeline stale, never OK."""
        with self._lock:
            now = self.clock() if now_ms is None else now_ms
            report = TickReport(now)
            try:
                self.sensors.refresh(now)
            except UnavailableError as error:
                report.error = str(error)
            newest = max((c.append_ms for c in self.sensors.reader.tail.cursors.values()), default=0)
            report.lag_ms = max(now - newest, 0) if newest else 0
            report.stale = report.lag_ms > self.config.stale_ms
            report.slices = len(self.sensors.index)
            self._pipeline(report)
            self._ledger(report)
            if not report.stale and not report.error:
                self._quality(now, report)
            self.last = report
            return report

    def _quality(self, now: int, report: TickReport) -> None:
        open_incidents = self.desk.open_incidents()
        judged = self.sensors.judge(now, self._levels(open_incidents, now), self._explained(now))
        for incident in open_incidents:
            self._follow(incident, judged, now, report)
        open_incidents = [i for i in self.desk.open_incidents() if i.rule not in OWN_RULES]
        if now - self._refined_ms >= self.config.refine_every_ms:
            self._refined_ms = now
            for incident in open_incidents:
                if incident.rule in judged and now - incident.opened_ms <= self.config.refine_ms:
                    self.casework.refine(incident, judged[incident.rule], now)
            open_incidents = [i for i in self.desk.open_incidents() if i.rule not in OWN_RULES]
        for name, answer in judged.items():
            firing = self._hits[name].update(answer.exceed, answer.strict, now, answer.rule.for_ms)
            changed = self.casework.handle(answer, firing, open_incidents, now)
            report.opened += changed.opened
            report.reopened += changed.reopened
            if changed.opened or changed.reopened or changed.joined:
                open_incidents = [i for i in self.desk.open_incidents() if i.rule not in OWN_RULES]
        self.apply_silences(now)
        if now - self._points_ms >= self.config.points_every_ms:
            self._points_ms = now
            outcome = self.points.run(now, open_incidents)
            report.opened += outcome.opened
            report.resolved += outcome.resolved
        self._flag(now)
        self._hints = self._hint_table(self.desk.open_incidents())

    def _follow(self, incident: Incident, judged: Mapping[str, Judged], now: int, report: TickReport) -> None:
        answer = judged.get(incident.rule)
        if answer is None:
            return
        seen, drained = self._observe(incident, answer)
        if seen == "quiet" and any(self._still(entry, judged) for entry in incident.also):
            seen = "unsure"
        number = self.sensors.index.find(incident.watch[0]) if incident.watch else None
        latest: Measured | None = answer.measured(number, incident.watch[0]) if number is not None else None
        everyone = answer.measured(0, {}).value if len(answer.best.p) else None
        after, change = life.advance(incident, seen, now, self.config.holds)

        def update(stored: Incident) -> Incident:
            fresh, _ = life.advance(stored, seen, now, self.config.holds)
            if fresh.state == "closed" and drained:
                fresh = msgspec.structs.replace(fresh, close_reason=DRAINED)
            return msgspec.structs.replace(fresh, latest=latest or fresh.latest, rest_value=everyone, updated_ms=now)

        text = {"resolved": after.close_reason, "resolving": "back inside the band", "firing": "worse again"}
        self.desk.change(incident.id, update, now, change, text=text.get(change or "", ""))
        if change == "resolved":
            report.resolved.append(incident.id)

    def _observe(self, incident: Incident, answer: Judged) -> tuple[Observation, bool]:
        """What the incident's slice shows; a cohort without sessions is quiet if its parents are (drained)."""
        number = self.sensors.index.find(incident.watch[0]) if incident.watch else None
        if number is None or number >= len(answer.best.p):
            return "no_data", False
        seen = answer.observe(number)
        if seen != "no_data":
            return seen, False
        parents = [answer.observe(parent) for parent in self.sensors.parents_of(incident.watch[0])]
        heard = [parent for parent in parents if parent != "no_data"]
        if heard and all(parent in ("quiet", "unsure") for parent in heard) and heard[-1] == "quiet":
            return "quiet", True
        return "no_data", False

    def _still(self, entry: Mapping[str, Any], judged: Mapping[str, Judged]) -> bool:
        """Whether a joined rule's slice is still bad."""
        answer = judged.get(entry["rule"])
        if answer is not None and answer.signal.shape == "volume":
            return False  # viewers who were moved away do not come back because playback is well again
        number = self.sensors.index.find(entry["evidence"]["slice"])
        return answer is not None and number is not None and answer.observe(number) == "active"

    def _pipeline(self, report: TickReport) -> None:
        """The pipeline's own incident: opens when deltas stop, closes when they come again; inhibits all others."""
        current = [i for i in self.desk.open_incidents() if i.rule == PIPELINE_RULE]
        now = report.now_ms
        if report.stale and not current:
            lag_s = report.lag_ms / 1000
            limit_s = self.config.stale_ms / 1000
            evidence = Measured("pipeline.lag", "s", 0, {}, lag_s, 0.0, 0.0, limit_s, 1.0, 0.0, lag_s / limit_s, 0.0)
            summary = f"No deltas for {lag_s:.0f} s: quality is unknown, not OK. {report.error}".strip()
            incident = Incident(
                id=life.incident_id(PIPELINE_RULE, {}, now), rule=PIPELINE_RULE, metric="pipeline.lag", severity="page",
                cohort={}, opened_ms=now, onset_ms=now - report.lag_ms, updated_ms=now, summary=summary,
                evidence=evidence,
            )  # fmt: skip
            report.opened.append(self.desk.open(incident, now).id)
        elif current and not report.stale and not report.error:
            for incident in current:
                self.desk.change(
                    incident.id, lambda stored: life.close(stored, now, "deltas come again"), now, "resolved",
                    text="deltas come again",
                )  # fmt: skip
                report.resolved.append(incident.id)

    def _ledger(self, report: TickReport) -> None:
        """Counts that do not close are an incident of their own, closed by hand: the numbers cannot be trusted."""
        unbalanced = self.sensors.reader.tail.unbalanced
        if unbalanced <= self._unbalanced:
            return
        new, self._unbalanced = unbalanced - self._unbalanced, unbalanced
        if any(incident.rule == LEDGER_RULE for incident in self.desk.open_incidents()):
            return
        now = report.now_ms
        count, metric = float(new), "pipeline.unbalanced"
        evidence = Measured(metric, "buckets", 0, {}, count, 0.0, 0.0, 0.0, 1.0, 0.0, count, 0.0)
        summary = f"The ledger of {new} bucket(s) does not close: run `tocsin doctor --ledger`"
        incident = Incident(
            id=life.incident_id(LEDGER_RULE, {}, now), rule=LEDGER_RULE, metric=metric, severity="page",
            cohort={}, opened_ms=now, onset_ms=now, updated_ms=now, summary=summary, evidence=evidence,
        )  # fmt: skip
        report.opened.append(self.desk.open(incident, now).id)

    def _levels(self, open_incidents: Sequence[Incident], now: int) -> dict[str, dict[int, float]]:
        levels: dict[str, dict[int, float]] = {}
        for incident in self.desk.recent(now - self.config.holds.level_ms) + list(open_incidents):
            if incident.level_factor is not None and incident.level_until_ms and now < incident.level_until_ms:
                number = self.sensors.index.find(incident.watch[0]) if incident.watch else None
                if number is not None:
                    levels.setdefault(incident.rule, {})[number] = incident.level_factor
        return levels

    def _explained(self, now: int) -> dict[str, list[tuple[Mapping[str, str], int]]]:
        """By rule: cohorts that are quiet again, and when they were last bad; longer ago than a window is forgotten."""
        found: dict[str, list[tuple[Mapping[str, str], int]]] = {}
        for incident in self.desk.recent(now - EXPLAINED_MS):
            if incident.state == "firing":
                continue
            last = max(incident.active_ms, incident.opened_ms)
            for rule in (incident.rule, *(entry["rule"] for entry in incident.also)):
                found.setdefault(rule, []).append((incident.cohort, last))
        return found

    def _flag(self, now: int) -> None:
        """Tell the probe about incidents that name something to decode; kept until it was told."""
        wanted = {rule.name for rule in self.rules if rule.probe}
        for incident in self.desk.open_incidents():
            names_stream = "stream" in incident.cohort or "title" in incident.cohort
            if incident.probed or incident.items or not (names_stream or incident.rule in wanted):
                continue
            streams = (incident.cohort["stream"],) if "stream" in incident.cohort else tuple(incident.worst_streams)
            samples = tuple(incident.cohorts[0].get("sample_sessions", ())) if incident.cohorts else ()
            try:
                self._on_flag(Flag(incident.id, incident.rule, streams, incident.cohort, samples))
            except TocsinError as error:
                text = f"probe could not be asked, tried again next tick: {error}"
                self.desk.change(incident.id, lambda stored: stored, now, None, text=text)
                continue
            self.desk.change(
                incident.id, lambda stored: msgspec.structs.replace(stored, probed=True), now, None,
                text="probe asked to look at " + (", ".join(streams) or "the title"),
            )  # fmt: skip

    def _hint_table(self, open_incidents: Sequence[Incident]) -> list[dict[str, Any]]:
        return [
            {"match": incident.cohort, "hint": incident.hint, "incident": incident.id}
            for incident in open_incidents
            if incident.hint and incident.state == "firing" and not incident.silenced
        ]

    def hints(self, tags: Mapping[str, str]) -> list[dict[str, Any]]:
        """What a player with these tags is told: the hints of firing incidents whose cohort it belongs to."""
        return [
            dict(entry["hint"])
            for entry in self._hints
            if all(tags.get(key) == value for key, value in entry["match"].items())
        ]

    def hint_table(self) -> list[dict[str, Any]]:
        """All hints with whom they concern, for a gateway in another process; valid until the next tick."""
        return list(self._hints)

    def attach_verdict(self, incident_id: str, verdict: Mapping[str, Any]) -> Incident:
        """Put a probe's verdict on an incident and send an updated page; the same verdict twice is one."""
        now = self.clock()
        text = f"probe: {verdict.get('verdict', '?')} {verdict.get('detector', '')} on {verdict.get('stream', '?')}"
        return self.desk.change(
            incident_id, lambda stored: life.add_verdict(stored, verdict, now), now, "update", "probe", text
        )  # fmt: skip

    def acknowledge(self, incident_id: str, who: str) -> Incident:
        """Somebody is on it; told to the receivers."""
        now = self.clock()

        def update(stored: Incident) -> Incident:
            return msgspec.structs.replace(stored, acknowledged_by=who, acknowledged_ms=now, updated_ms=now)

        return self.desk.change(incident_id, update, now, "update", who, "acknowledged")

    def apply_silences(self, now_ms: int | None = None) -> None:
        """Let new and ended silences take hold of the open incidents, at `now_ms` (by default the clock's)."""
        now = self.clock() if now_ms is None else now_ms
        with self.state.transaction() as tx:
            rows = tx.silences(now)
        for incident in self.desk.open_incidents():
            silenced = any(silences(row, incident, now) for row in rows)
            if silenced != incident.silenced:
                self.desk.change(
                    incident.id, lambda stored, to=silenced: msgspec.structs.replace(stored, silenced=to), now, None,  # type: ignore[misc]
                    text="silenced" if silenced else "no longer silenced",
                )  # fmt: skip

    def close(self, incident_id: str, who: str, *, accept_level: bool = False) -> Incident:
        """Close by hand; with `accept_level` the value becomes the baseline for 7 days (a shift that is meant)."""
        now = self.clock()

        def update(stored: Incident) -> Incident:
            if accept_level:
                measured = stored.latest or stored.evidence
                factor = measured.value / measured.baseline if measured.baseline else None
                stored = msgspec.structs.replace(
                    stored, level_factor=factor, level_until_ms=now + self.config.holds.level_ms
                )  # fmt: skip
            return life.close(stored, now, "accepted as the new level" if accept_level else f"closed by {who}")

        return self.desk.change(incident_id, update, now, "resolved", who, "closed by hand")
