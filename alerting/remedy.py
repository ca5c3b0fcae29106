"""Runs remediations: dry by default, approved, limited, at most once, and measured against those not touched.

A run that was under way when the process died is marked failed with "outcome unknown": a call that drains a CDN must
not be made twice by guess. The effect is the cohort's value and everyone else's, before and `EFFECT_AFTER_MS` after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import msgspec

from alerting.actions import ConfiguredAction
from alerting.desk import Desk
from alerting.incidents import LIST_MAX, Incident
from alerting.page import page
from tocsin.adapters.state.port import ActionRow, ActionState
from tocsin.model.errors import InputError

HOUR_MS = 3_600_000
TIMEOUT_S = 30.0
EFFECT_AFTER_MS = 120_000


class ActionRunner:
    """Runs what the desk has queued; call `recover` once at the start and `run_once` every few seconds."""

    def __init__(
        self, desk: Desk, actions: Sequence[ConfiguredAction], clock: Callable[[], int], client: httpx.Client,
        effect_after_ms: int = EFFECT_AFTER_MS,
    ) -> None:  # fmt: skip
        self._desk, self._clock, self._client = desk, clock, client
        self._actions = {action.name: action for action in actions}
        self._effect_after_ms = effect_after_ms

    def recover(self) -> int:
        """Mark runs that a dead process left under way; answers how many."""
        with self._desk.state.transaction() as tx:
            rows = tx.actions(state="running")
        for row in rows:
            self._finish(row, "failed", {"error": "outcome unknown: the process ended during the call; not repeated"})
        return len(rows)

    def run_once(self) -> list[str]:
        """Run queued actions and measure those that are due; answers the ids of runs that ended."""
        with self._desk.state.transaction() as tx:
            queued = tx.actions(state="queued")
            finished = tx.actions(state="done", since_ms=self._clock() - 24 * HOUR_MS)
        ended = [row.id for row in queued if self._run(row)]
        for row in finished:
            self._measure(row)
        return ended

    def approve(self, run_id: str, who: str) -> None:
        """Let a waiting run go; raises `InputError` where none waits under that id."""
        now = self._clock()
        with self._desk.state.transaction() as tx:
            row = next((row for row in tx.actions(state="waiting") if row.id == run_id), None)
            if row is None:
                raise InputError(f"approving action run {run_id!r}: none waits under that id")
            tx.put_action(replace(row, state="queued", doc={**row.doc, "approved_by": who, "approved_ms": now}))

    def _run(self, row: ActionRow) -> bool:
        configured = self._actions.get(row.action)
        now = self._clock()
        if configured is None:
            return self._finish(row, "refused", {"error": f"action {row.action} is no longer configured"})
        if configured.approval and not configured.dry_run and not row.doc.get("approved_by"):
            return self._finish(row, "waiting", {"needs": "approval"})
        with self._desk.state.transaction() as tx:
            recent = [
                other for other in tx.actions(action=row.action, since_ms=now - HOUR_MS)
                if other.state in ("done", "running", "failed") and other.id != row.id
            ]  # fmt: skip
        if len(recent) >= configured.per_hour:
            limit = f"rate limit: {len(recent)} runs in the last hour, at most {configured.per_hour}"
            return self._finish(row, "refused", {"error": limit})
        incident = self._desk.incident(row.incident_id)
        try:
            request = configured.action.request(page(incident, "action", self._desk.base_url, now), row.id)
        except InputError as error:
            return self._finish(row, "refused", {"error": str(error)})
        call = {"method": request.method, "url": request.url}
        if configured.dry_run:
            return self._finish(row, "done", {"dry_run": True, "would_call": call})
        with self._desk.state.transaction() as tx:
            tx.put_action(replace(row, state="running"))
        try:
            response = self._client.request(
                request.method, request.url, content=request.body, headers=dict(request.headers), timeout=TIMEOUT_S,
                follow_redirects=False,
            )  # fmt: skip
        except httpx.HTTPError as error:
            return self._finish(row, "failed", {"call": call, "error": f"{type(error).__name__}: {error}"[:500]})
        outcome = {"call": call, "status": response.status_code, "answer": response.text[:500]}
        return self._finish(row, "done" if response.is_success else "failed", outcome)

    def _finish(self, row: ActionRow, state: ActionState, outcome: Mapping[str, Any]) -> bool:
        """Store the run's end, and write it on the incident."""
        now = self._clock()
        incident = self._desk.incident(row.incident_id)
        doc = {**row.doc, **outcome}
        if state == "done":
            doc["before"] = _values(incident)
        done = replace(row, state=state, finished_ms=now, doc=doc)
        with self._desk.state.transaction() as tx:
            tx.put_action(done)
        text = f"{row.action}: {state} " + " ".join(f"{key}={value}" for key, value in outcome.items())
        self._note(done, now, text)
        return state != "waiting"

    def _note(self, row: ActionRow, now: int, text: str) -> None:
        entry = {"id": row.id, "action": row.action, "state": row.state, "at_ms": now, **row.doc}

        def update(stored: Incident) -> Incident:
            kept = [other for other in stored.actions if other.get("id") != row.id]
            return msgspec.structs.replace(stored, actions=[*kept, entry][-LIST_MAX:], updated_ms=now)

        self._desk.change(row.incident_id, update, now, "update", "remedy", text)

    def _measure(self, row: ActionRow) -> None:
        """Once, some time after a run: the cohort's value and the rest's, then and now."""
        now = self._clock()
        if "after" in row.doc or row.finished_ms is None or now - row.finished_ms < self._effect_after_ms:
            return
        incident = self._desk.incident(row.incident_id)
        measured = replace(row, doc={**row.doc, "after": _values(incident), "incident_state": incident.state})
        with self._desk.state.transaction() as tx:
            tx.put_action(measured)
        then, since = measured.doc["before"], measured.doc["after"]
        text = f"{row.action}: cohort {then['cohort']} → {since['cohort']}, others {then['others']} → {since['others']}"
        self._note(measured, now, text)


def _values(incident: Incident) -> dict[str, Any]:
    """The cohort's newest value and everyone else's, in the metric's unit."""
    latest = incident.latest or incident.evidence
    best = incident.cohorts[0] if incident.cohorts else {}
    others = incident.rest_value if incident.rest_value is not None else best.get("counterfactual")
    return {"cohort": latest.value, "others": others, "unit": latest.unit}
