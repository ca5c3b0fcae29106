"""Casework: from the slices of one rule that fire to incidents: opened, reopened, joined, or children of open ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from alerting import incidents as life
from alerting.desk import Desk, markers
from alerting.evaluate import Judged
from alerting.incidents import Holds, Incident, slice_name
from alerting.investigate import Case, Suspect, investigate
from alerting.localise import KEY_ORDER, Audience
from alerting.rules.evidence import Bools
from alerting.sensors import Sensors
from alerting.slices import contradicts, nested

BEFORE_MS = 30 * 60_000
"""Raw heartbeats read from before the onset."""
SPLIT_MAX_MS = 30 * 60_000
"""An onset longer ago than this is not read from its beginning."""
SUSPECTS_MAX = 200
RECHECK_MS = 60_000
AGAIN_MS = 30_000
"""Raw heartbeats are not read more often than this for slices that an open incident may well explain."""
MOVED_MS = 7 * 86_400_000
MOVED_RECHECK_MS = 600_000
MARKERS_MS = 2 * 3_600_000


@dataclass(slots=True)
class Changed:
    """Ids of incidents that a rule's tick opened, reopened or added its evidence to."""

    opened: list[str] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)


class Casework:
    """Explains what fires by raw heartbeats and keeps the incidents in step."""

    def __init__(self, sensors: Sensors, desk: Desk, holds: Holds) -> None:
        self._sensors, self._desk, self._holds = sensors, desk, holds
        self._children_until: dict[tuple[str, int], int] = {}
        self._investigated_ms: dict[str, int] = {}

    def handle(self, judged: Judged, firing: Bools, open_incidents: Sequence[Incident], now_ms: int) -> Changed:
        """One rule's firing slices: children of open incidents are noted, the rest is investigated."""
        changed = Changed()
        own = [i for i in open_incidents if self._concerns(i, judged.rule.name)]
        suspects = []
        for number in np.flatnonzero(firing).tolist():
            tags = self._sensors.index.tags(number)
            inside = next((i for i in own if _within(tags, i.cohort)), None)
            if inside is not None or self._children_until.get((judged.rule.name, number), 0) > now_ms:
                continue
            best = judged.best
            suspects.append(Suspect(number, tags, float(best.p[number]), float(best.excess[number])))
        if not suspects or self._can_wait(judged.rule.name, suspects, own, now_ms):
            return changed
        self._investigated_ms[judged.rule.name] = now_ms
        suspects = sorted(suspects, key=lambda suspect: (suspect.p, -suspect.excess))[:SUSPECTS_MAX]
        cases, children = self._investigate(judged, suspects, [i.cohort for i in own], now_ms)
        for number, owner in children.items():
            self._children_until[judged.rule.name, number] = now_ms + RECHECK_MS
            self._note_children(own[owner], [self._sensors.index.tags(number)], now_ms)
        for case in cases:
            self._settle(case, judged, now_ms, changed)
        if len(self._children_until) > 10 * SUSPECTS_MAX:
            self._children_until = {key: until for key, until in self._children_until.items() if until > now_ms}
        return changed

    def _can_wait(self, rule: str, suspects: list[Suspect], own: list[Incident], now_ms: int) -> bool:
        """Whether all suspects are likely children of open incidents, and raw heartbeats were read a moment ago."""
        recent = now_ms - self._investigated_ms.get(rule, -(2**62)) < AGAIN_MS
        return recent and all(any(not contradicts(i.cohort, s.tags) for i in own) for s in suspects)

    @staticmethod
    def _concerns(incident: Incident, rule: str) -> bool:
        return incident.rule == rule or any(entry["rule"] == rule for entry in incident.also)

    def _investigate(
        self, judged: Judged, suspects: list[Suspect], known: list[dict[str, str]], now_ms: int
    ) -> tuple[list[Case], dict[int, int]]:  # fmt: skip
        if not judged.signal.in_raw():
            return _without_raw(suspects, known)
        onset = self._sensors.onset_ms(judged, suspects[0].number, now_ms)
        audience, ratio = self._audience(judged, onset, now_ms)
        if len(audience) == 0:
            return _without_raw(suspects, known)
        return investigate(suspects, audience, judged.signal, judged.rule.options, known, ratio)

    def _audience(self, judged: Judged, onset_ms: int, now_ms: int) -> tuple[Audience, float]:
        split = max(onset_ms, now_ms - SPLIT_MAX_MS) // 60_000 * 60_000
        audience = self._sensors.reader.audience(judged.signal, split, now_ms, BEFORE_MS)
        return audience, max(now_ms - split, 1) / BEFORE_MS

    def _settle(self, case: Case, judged: Judged, now_ms: int, changed: Changed) -> None:
        rule = judged.rule
        evidence = judged.measured(case.leader.number, case.leader.tags)
        if judged.signal.shape == "volume" and self._moved_by_us(case, judged.rule.name, now_ms):
            return
        for incident in self._desk.open_incidents():
            told_by_points = bool(incident.items)  # what nobody has felt yet does not absorb what players feel
            if incident.rule != rule.name and not told_by_points and life.can_join(incident, case.cohort):
                already = any(entry["rule"] == rule.name for entry in incident.also)
                self._desk.change(
                    incident.id, lambda stored: life.join(stored, rule.name, evidence, now_ms), now_ms,
                    None if already else "update", text=f"{rule.name} too, in {slice_name(case.cohort)}",
                )  # fmt: skip
                changed.joined.append(incident.id)
                return
        for incident in self._desk.open_incidents():
            if incident.rule == rule.name and _wider(case.cohort, incident.cohort):
                self._widen(incident, case, judged, now_ms)
                changed.joined.append(incident.id)
                return
        for incident in self._desk.recent(now_ms - self._holds.reopen_ms):
            if life.can_reopen(incident, rule.name, case.cohort, now_ms, self._holds):
                self._desk.change(
                    incident.id, lambda stored: life.reopen(stored, evidence, now_ms), now_ms, "reopened",
                    text=f"back in {slice_name(case.cohort)}",
                )  # fmt: skip
                changed.reopened.append(incident.id)
                return
        opened = self._desk.open(self._new(case, judged, now_ms), now_ms, rule.remediate)
        changed.opened.append(opened.id)

    def _widen(self, incident: Incident, case: Case, judged: Judged, now_ms: int) -> None:
        """The trouble is larger than it looked: the same incident with the wider cohort, told as an update."""
        watch = self._sensors.watch(case.cohort, judged, case.leader.tags)
        number = self._sensors.index.find(watch)
        evidence = judged.measured(case.leader.number if number is None else number, watch)

        def update(stored: Incident) -> Incident:
            return msgspec.structs.replace(
                stored, cohort=case.cohort, cohorts=case.cohorts, worst_streams=case.worst_streams, watch=[watch],
                evidence=evidence, hint=fill_hint(judged.rule.hint, case.cohort), updated_ms=now_ms,
            )  # fmt: skip

        self._desk.change(incident.id, update, now_ms, "update", text=f"wider than thought: {slice_name(case.cohort)}")

    def _moved_by_us(self, case: Case, rule: str, now_ms: int) -> bool:
        """Whether a remediation of ours in these days has moved the viewers away: no trouble, but noted there."""
        for incident in self._desk.recent(now_ms - MOVED_MS):
            done = any(run.get("state") == "done" and not run.get("dry_run") for run in incident.actions)
            if not done or not case.cohort or not incident.cohort or contradicts(incident.cohort, case.cohort):
                continue
            if not any(entry["rule"] == rule for entry in incident.also):
                evidence_text = f"{rule} in {slice_name(case.cohort)}: viewers moved by the remediation, nobody paged"
                self._desk.change(incident.id, lambda stored: stored, now_ms, None, text=evidence_text)
            for member in case.members:
                self._children_until[rule, member.number] = now_ms + MOVED_RECHECK_MS
            return True
        return False

    def _new(self, case: Case, judged: Judged, now_ms: int) -> Incident:
        rule = judged.rule
        watch = self._sensors.watch(case.cohort, judged, case.leader.tags)
        number = self._sensors.index.find(watch)
        number = case.leader.number if number is None else number
        onset = self._sensors.onset_ms(judged, case.leader.number, now_ms)
        children = [slice_name(s.tags) for s in case.members if dict(s.tags) != watch]
        return Incident(
            id=life.incident_id(rule.name, case.cohort, now_ms),
            rule=rule.name,
            metric=rule.metric,
            severity=rule.severity,
            cohort=case.cohort,
            opened_ms=now_ms,
            onset_ms=onset,
            updated_ms=now_ms,
            summary=rule.annotations.get("summary", rule.name),
            evidence=judged.measured(number, watch),
            watch=[watch],
            cohorts=case.cohorts,
            children=children[: life.LIST_MAX],
            worst_streams=case.worst_streams,
            hint=fill_hint(rule.hint, case.cohort),
            labels=dict(rule.labels),
            annotations=dict(rule.annotations),
            runbook=rule.runbook,
            markers=markers(self._desk.state, case.cohort, onset - MARKERS_MS, now_ms),
            no_history=bool(judged.no_history[number]),
        )

    def refine(self, incident: Incident, judged: Judged, now_ms: int) -> None:
        """Explain a young incident again with what has come since; a cohort that changed is told as an update."""
        if not judged.signal.in_raw() or incident.state != "firing":
            return
        number = self._sensors.index.find(incident.watch[0]) if incident.watch else None
        if number is None or not judged.exceed[number]:
            return
        suspect = Suspect(number, incident.watch[0], float(judged.best.p[number]), float(judged.best.excess[number]))
        others = [
            other.cohort for other in self._desk.open_incidents()
            if other.id != incident.id and other.rule == incident.rule
        ]  # fmt: skip
        cohort_known = [other for other in others if not contradicts(other, suspect.tags)]
        audience, ratio = self._audience(judged, incident.onset_ms, now_ms)
        if len(audience) == 0:
            return
        cases, _ = investigate([suspect], audience, judged.signal, judged.rule.options, cohort_known, ratio)
        if not cases:
            return
        case = cases[0]
        watch = self._sensors.watch(case.cohort, judged, suspect.tags)
        evidence = judged.measured(self._sensors.index.find(watch) or 0, watch)
        moved = case.cohort != incident.cohort and nested(case.cohort, incident.cohort)
        if not moved and case.cohort != incident.cohort:
            return

        def update(stored: Incident) -> Incident:
            return msgspec.structs.replace(
                stored, cohort=case.cohort, cohorts=case.cohorts, worst_streams=case.worst_streams, watch=[watch],
                evidence=evidence, hint=fill_hint(judged.rule.hint, case.cohort), updated_ms=now_ms,
            )  # fmt: skip

        text = f"localised to {slice_name(case.cohort)}" if moved else ""
        self._desk.change(incident.id, update, now_ms, "update" if moved else None, text=text)

    def _note_children(self, incident: Incident, tags: Sequence[Mapping[str, str]], now_ms: int) -> None:
        names = [slice_name(item) for item in tags]
        if life.add_children(incident, names) is not incident:
            self._desk.change(incident.id, lambda stored: life.add_children(stored, names), now_ms, None)


def _within(tags: Mapping[str, str], cohort: Mapping[str, str]) -> bool:
    """Whether every session of the slice is in the cohort."""
    return all(tags.get(key) == value for key, value in cohort.items())


def _wider(cohort: Mapping[str, str], known: Mapping[str, str]) -> bool:
    """Whether the cohort holds all of a known one and more; everyone is a trouble of its own."""
    return bool(cohort) and len(cohort) < len(known) and nested(cohort, known)


def _without_raw(suspects: list[Suspect], known: Sequence[Mapping[str, str]]) -> tuple[list[Case], dict[int, int]]:
    """Without raw heartbeats the slices speak for themselves: the most urgent is the cohort, the rest follows it."""
    children = {}
    left = []
    for suspect in suspects:
        owner = next((i for i, cohort in enumerate(known) if not contradicts(cohort, suspect.tags)), None)
        if owner is None:
            left.append(suspect)
        else:
            children[suspect.number] = owner
    cases: list[Case] = []
    while left:
        leader = min(left, key=lambda s: (s.p, -s.excess, len(s.tags)))
        ordered = sorted(leader.tags.items(), key=lambda item: KEY_ORDER.index(item[0]))
        members = [suspect for suspect in left if not contradicts(leader.tags, suspect.tags)]
        cases.append(Case(dict(ordered), leader, [], [], members))
        left = [suspect for suspect in left if suspect not in members]
    return cases, children


def fill_hint(hint: Mapping[str, Any], cohort: Mapping[str, str]) -> dict[str, Any]:
    """The rule's hint with `{cdn}` and the like filled in; empty where the cohort lacks a tag that it needs."""
    filled: dict[str, Any] = {}
    for key, value in hint.items():
        if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
            if value[1:-1] not in cohort:
                return {}
            filled[key] = cohort[value[1:-1]]
        else:
            filled[key] = value
    return filled
