"""Rules on published points: artwork that lacks before a launch, defects that the probe has seen.

A finding is an incident at once (nothing about it is random); it closes once the finding is gone for `close_ms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from alerting import incidents as life
from alerting.desk import Desk
from alerting.incidents import Holds, Incident, Measured
from alerting.rules import KINDS
from alerting.rules.kinds import Finding, LastPoint
from alerting.ruleset import Rule
from tocsin.adapters.store.port import Store
from tocsin.model.catalogue import METRICS

KEEP_MS = 40 * 86_400_000
"""Points older than this are gone from the store anyway."""


@dataclass(slots=True)
class PointsReport:
    """Ids of incidents that a round opened or closed."""

    opened: list[str] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)


class PointRules:
    """All rules whose metric is a published series."""

    def __init__(self, store: Store, desk: Desk, rules: Sequence[Rule], holds: Holds) -> None:
        self._store, self._desk, self._holds = store, desk, holds
        self._rules = [r for r in rules if r.enabled and r.metric not in METRICS and KINDS[r.kind].judge_points]

    def run(self, now_ms: int, open_incidents: Sequence[Incident]) -> PointsReport:
        """One round over all rules."""
        report = PointsReport()
        for rule in self._rules:
            kind = KINDS[rule.kind]
            names = kind.series_of(rule.metric)
            points = last_points(self._store, names, now_ms - KEEP_MS)
            findings = kind.judge_points(points, rule.options, now_ms) if kind.judge_points else []
            own = [incident for incident in open_incidents if incident.rule == rule.name]
            for finding in findings:
                self._found(rule, finding, own, now_ms, report)
            cohorts = [dict(finding.cohort) for finding in findings]
            for incident in own:
                seen: life.Observation = "active" if incident.cohort in cohorts else "quiet"
                after, change = life.advance(incident, seen, now_ms, self._holds)
                if after == incident and change is None:
                    continue
                self._desk.change(
                    incident.id, lambda stored, seen=seen: life.advance(stored, seen, now_ms, self._holds)[0],  # type: ignore[misc]
                    now_ms, change, text="complete again" if change == "resolved" else "",
                )  # fmt: skip
                if change == "resolved":
                    report.resolved.append(incident.id)
        return report

    def _found(
        self, rule: Rule, finding: Finding, own: Sequence[Incident], now_ms: int, report: PointsReport
    ) -> None:  # fmt: skip
        evidence = Measured(
            rule.metric, "", 0, dict(finding.cohort), finding.value, finding.limit, finding.limit, finding.limit,
            finding.value, 0.0, 1e9, finding.value,
        )  # fmt: skip
        same = next((incident for incident in own if incident.cohort == dict(finding.cohort)), None)
        items = [dict(item) for item in finding.items][: life.LIST_MAX]
        if same is not None:
            if same.items != items:
                self._desk.change(
                    same.id,
                    lambda stored: msgspec.structs.replace(
                        stored, items=items, summary=finding.summary, evidence=evidence, updated_ms=now_ms
                    ),
                    now_ms, "update" if len(items) > len(same.items) else None, text=finding.summary,
                )  # fmt: skip
            return
        for incident in self._desk.open_incidents():
            if incident.rule != rule.name and finding.cohort and life.can_join(incident, finding.cohort):
                if not any(entry["rule"] == rule.name for entry in incident.also):
                    self._desk.change(
                        incident.id, lambda stored: life.join(stored, rule.name, evidence, now_ms), now_ms, "update",
                        text=finding.summary,
                    )  # fmt: skip
                return
        for incident in self._desk.recent(now_ms - self._holds.reopen_ms):
            if life.can_reopen(incident, rule.name, finding.cohort, now_ms, self._holds):
                self._desk.change(
                    incident.id, lambda stored: life.reopen(stored, evidence, now_ms), now_ms, "reopened",
                    text=finding.summary,
                )  # fmt: skip
                return
        opened = self._desk.open(self._new(rule, finding, evidence, items, now_ms), now_ms, rule.remediate)
        report.opened.append(opened.id)

    def _new(
        self, rule: Rule, finding: Finding, evidence: Measured, items: list[dict[str, str]], now_ms: int
    ) -> Incident:  # fmt: skip
        return Incident(
            id=life.incident_id(rule.name, finding.cohort, now_ms), rule=rule.name, metric=rule.metric,
            severity=rule.severity, cohort=dict(finding.cohort), opened_ms=now_ms, onset_ms=finding.since_ms,
            updated_ms=now_ms, summary=finding.summary, evidence=evidence, items=[dict(item) for item in items],
            labels=dict(rule.labels), annotations=dict(rule.annotations), runbook=rule.runbook,
            watch=[dict(finding.cohort)],
        )  # fmt: skip


def last_points(store: Store, names: Sequence[str], since_ms: int) -> list[LastPoint]:
    """The newest point of each series with one of `names`, no older than `since_ms`."""
    rows = store.query(
        "SELECT name, any(tags), max(ts_ms), argMax(value, (ts_ms, log_partition, start_offset, ordinal))"
        " FROM series WHERE name IN {names:Array(String)} AND ts_ms >= {since:Int64} GROUP BY name, series_id"
        " ORDER BY name, series_id LIMIT 100000",
        {"names": list(names), "since": since_ms},
    )
    return [LastPoint(str(name), dict(tags), int(ts_ms), float(value)) for name, tags, ts_ms, value in rows]
