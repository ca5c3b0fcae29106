"""The desk: every change of an incident is one transaction that also queues what must be told.

Incident, timeline line and outgoing messages commit together, so a kill -9 at any point leaves either all or nothing;
the outbox sends later, at least once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerting.incidents import Change, Incident
from alerting.page import from_doc, page, to_doc
from alerting.slices import contradicts
from tocsin.adapters.state.port import ActionRow, DeliveryRow, IncidentRow, SpanRow, State, StateTx, TimelineRow
from tocsin.model.errors import InputError

OPEN_STATES = ("firing", "resolving")
SYSTEM = "tocsin"

Update = Callable[[Incident], Incident]


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told: the pager's name and the severities that it takes."""

    name: str
    severities: tuple[str, ...] = ("page", "ticket", "info")


@dataclass(frozen=True, slots=True)
class Desk:
    """Reads and writes incidents in `state` and queues pages to `receivers`."""

    state: State
    receivers: Sequence[Receiver]
    base_url: str
    actions: frozenset[str] = field(default_factory=frozenset)

    def incident(self, incident_id: str) -> Incident:
        """One incident; raises `InputError` where there is none."""
        with self.state.transaction() as tx:
            return _load(tx, incident_id)

    def open_incidents(self) -> list[Incident]:
        """Those firing or resolving, newest first."""
        with self.state.transaction() as tx:
            return [from_doc(row.doc) for row in tx.incidents(OPEN_STATES)]

    def recent(self, since_ms: int, limit: int = 500) -> list[Incident]:
        """Those that changed since `since_ms`, newest first, open ones included."""
        with self.state.transaction() as tx:
            return [from_doc(row.doc) for row in tx.incidents((), since_ms, limit)]

    def open(self, incident: Incident, now_ms: int, remediate: str = "") -> Incident:
        """Store a new incident, page, and queue its remediation; a second call with the same id changes nothing."""
        with self.state.transaction() as tx:
            if tx.incident(incident.id) is not None:
                return _load(tx, incident.id)
            silenced = any(silences(row, incident, now_ms) for row in tx.silences(now_ms))
            incident = msgspec.structs.replace(incident, silenced=silenced, revision=1, seen_ms=now_ms)
            self._tell(tx, incident, "opened", now_ms, SYSTEM, incident.summary)
            if remediate and not silenced:
                self._queue_action(tx, incident, remediate, now_ms)
            return incident

    def change(
        self, incident_id: str, update: Update, now_ms: int, change: Change | None, who: str = SYSTEM, text: str = ""
    ) -> Incident:  # fmt: skip
        """Apply `update` to the stored incident; where `change` is told, the receivers hear of it."""
        with self.state.transaction() as tx:
            before = _load(tx, incident_id)
            after = update(before)
            if change in ("reopened", "update", "resolved"):
                if after.revision == before.revision:
                    after = msgspec.structs.replace(after, revision=before.revision + 1)
                self._tell(tx, after, change, now_ms, who, text)
            else:
                _store(tx, after)
                if change or text:
                    tx.add_line(TimelineRow(incident_id, now_ms, change or "note", who, text))
            return after

    def _tell(self, tx: StateTx, incident: Incident, change: Change, now_ms: int, who: str, text: str) -> None:
        _store(tx, incident)
        tx.add_line(TimelineRow(incident.id, now_ms, change, who, text))
        if incident.silenced or incident.inhibited:
            return
        payload = page(incident, change, self.base_url, now_ms)
        for receiver in self.receivers:
            if incident.severity in receiver.severities:
                key = f"{incident.id}:{incident.revision}:{receiver.name}"
                tx.add_delivery(DeliveryRow(key, incident.id, receiver.name, now_ms, now_ms, payload))

    def _queue_action(self, tx: StateTx, incident: Incident, action: str, now_ms: int) -> None:
        if action not in self.actions:
            tx.add_line(TimelineRow(incident.id, now_ms, "action", SYSTEM, f"action {action} is not configured"))
            return
        tx.put_action(ActionRow(f"{incident.id}-{action}"[:32], incident.id, action, "queued", now_ms))

    def queue_action(self, incident_id: str, action: str, now_ms: int, who: str) -> None:
        """Ask for a remediation by hand."""
        if action not in self.actions:
            raise InputError(f"running action {action!r}: not configured; known: {', '.join(sorted(self.actions))}")
        with self.state.transaction() as tx:
            incident = _load(tx, incident_id)
            tx.add_line(TimelineRow(incident_id, now_ms, "action", who, f"asked for {action}"))
            self._queue_action(tx, incident, action, now_ms)


def _load(tx: StateTx, incident_id: str) -> Incident:
    row = tx.incident(incident_id)
    if row is None:
        raise InputError(f"reading incident {incident_id!r}: there is none; list them with GET /v1/incidents")
    return from_doc(row.doc)


def _store(tx: StateTx, incident: Incident) -> None:
    tx.put_incident(
        IncidentRow(
            incident.id, incident.rule, incident.state, incident.opened_ms, incident.updated_ms, incident.closed_ms,
            to_doc(incident),
        )
    )  # fmt: skip


def silences(row: SpanRow, incident: Incident, now_ms: int) -> bool:
    """Whether a silence holds for an incident now: its `match` may name the rule, the severity and cohort tags."""
    if not row.starts_ms <= now_ms < row.ends_ms:
        return False
    match: Mapping[str, Any] = row.doc.get("match", {})
    own = {"rule": incident.rule, "severity": incident.severity, "metric": incident.metric}
    tags = {key: value for key, value in match.items() if key not in own}
    fixed = all(own[key] == value for key, value in match.items() if key in own)
    return fixed and all(incident.cohort.get(key) == value for key, value in tags.items())


def disturbed(state: State, from_ms: int, to_ms: int) -> list[dict[str, str]]:
    """Cohorts of incidents and declared events that overlap a time: their weeks are no baseline."""
    with state.transaction() as tx:
        events = [dict(row.doc.get("match", {})) for row in tx.events(from_ms, to_ms)]
        rows = [row for row in tx.incidents((), from_ms, 500) if row.opened_ms <= to_ms]
    cohorts = [
        from_doc(row.doc).cohort for row in rows if (row.closed_ms or to_ms) >= from_ms and not row.doc.get("items")
    ]
    return [*events, *cohorts]


def markers(state: State, cohort: Mapping[str, str], from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """Declared events (deploys, premieres) near an incident, for its page."""
    with state.transaction() as tx:
        rows = tx.events(from_ms, to_ms)
    return [
        {"id": row.id, "starts_ms": row.starts_ms, "ends_ms": row.ends_ms, **row.doc}
        for row in rows
        if not contradicts(row.doc.get("match", {}), cohort)
    ][:20]
