"""The page: everything that on-call needs to decide whether to get up, as one JSON document and one paragraph."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from alerting.incidents import Incident, Measured, slice_name
from tocsin.model.catalogue import METRICS

SCHEMA = "tocsin.page/1"
GRAPH_BEFORE_MS = 2 * 3_600_000
GRAPH_AFTER_MS = 600_000


def page(incident: Incident, change: str, base_url: str, now_ms: int) -> dict[str, Any]:
    """The page of an incident after `change` (opened, reopened, update, resolved, test)."""
    evidence = incident.evidence
    best = incident.cohorts[0] if incident.cohorts else {}
    return {
        "schema": SCHEMA,
        "change": change,
        "incident": incident.id,
        "revision": incident.revision,
        "at_ms": now_ms,
        "state": incident.state,
        "severity": incident.severity,
        "rule": incident.rule,
        "metric": incident.metric,
        "title": title(incident),
        "text": text(incident),
        "since_ms": incident.onset_ms,
        "opened_ms": incident.opened_ms,
        "closed_ms": incident.closed_ms,
        "cohort": incident.cohort,
        "value": evidence.value,
        "unit": evidence.unit,
        "baseline": {"value": evidence.baseline, "low": evidence.low, "high": evidence.high},
        "history": "no history yet" if incident.no_history else "four weeks",
        "n": evidence.n,
        "p": evidence.p,
        "effect": evidence.effect,
        "window_minutes": evidence.window_minutes,
        "cohorts": incident.cohorts,
        "affected_sessions": best.get("affected", round(evidence.excess)),
        "share": best.get("share"),
        "counterfactual": best.get("counterfactual_text", ""),
        "sample_sessions": best.get("sample_sessions", []),
        "worst_streams": incident.worst_streams,
        "also": incident.also,
        "children": incident.children,
        "items": incident.items,
        "markers": incident.markers,
        "verdicts": incident.verdicts,
        "actions": incident.actions,
        "hint": incident.hint,
        "labels": incident.labels,
        "annotations": incident.annotations,
        "runbook": incident.runbook,
        "acknowledged_by": incident.acknowledged_by,
        "links": links(incident, base_url),
    }


def title(incident: Incident) -> str:
    """One line: what, where, how bad."""
    where = slice_name(incident.cohort)
    if incident.items:
        return f"{incident.rule}: {incident.summary}"
    evidence = incident.evidence
    usual = f", usually {number(evidence.baseline, evidence.unit)}" if evidence.baseline is not None else ""
    return f"{incident.rule}: {where} at {number(evidence.value, evidence.unit)}{usual}"


def text(incident: Incident) -> str:
    """The paragraph that a human reads."""
    since = datetime.fromtimestamp(incident.onset_ms / 1000, UTC).strftime("%H:%M UTC")
    parts = [f"{incident.summary.rstrip('.')}. Since {since}."]
    if not incident.items:
        parts.append(_evidence_text(incident.evidence, incident.no_history))
    if incident.cohorts:
        best = incident.cohorts[0]
        parts.append(
            f"{best['affected']} sessions affected, {best['share']:.1%} of the audience; "
            f"lift {best['lift']:.1f} in {slice_name(best['cohort'])}. {best['counterfactual_text']}"
        )
    if incident.also:
        parts.append("Also: " + ", ".join(entry["rule"] for entry in incident.also) + ".")
    parts += [
        f"Probe: {verdict.get('verdict', '?')} ({verdict.get('detector', '?')}) on {verdict.get('stream', '?')}."
        for verdict in incident.verdicts[-3:]
    ]
    if incident.state == "closed":
        parts.append(f"Closed: {incident.close_reason}.")
    return " ".join(part for part in parts if part)


def _evidence_text(evidence: Measured, no_history: bool) -> str:
    value = number(evidence.value, evidence.unit)
    sample = f"n = {evidence.n:.0f} in {evidence.window_minutes} min, p = {evidence.p:.1g}"
    if no_history or evidence.baseline is None or evidence.low is None or evidence.high is None:
        return f"{value}; no history yet, judged by a fixed limit or the last hour ({sample})."
    band = f"{number(evidence.low, evidence.unit)} to {number(evidence.high, evidence.unit)}"
    usual = number(evidence.baseline, evidence.unit)
    return f"{value}, {evidence.effect:.1f} times the usual {usual} ({band}; {sample})."


def number(value: float, unit: str) -> str:
    """A value as people read it: shares in per cent."""
    if unit == "1":
        return f"{value:.2%}"
    return f"{value:,.0f} {unit}" if abs(value) >= 1_000 else f"{value:.3g} {unit}"


def links(incident: Incident, base_url: str) -> dict[str, str]:
    """Absolute links to the incident, its graph over last week's, and each sample session."""
    base = base_url.rstrip("/")
    found = {"incident": f"{base}/incidents/{incident.id}"}
    expression = graph_expression(incident.metric, incident.cohort)
    if expression:
        end = (incident.closed_ms or incident.updated_ms) + GRAPH_AFTER_MS
        found["graph"] = (
            f"{base}/api/v1/graph?q={quote(expression)}&s={incident.onset_ms - GRAPH_BEFORE_MS}&e={end}&format=png"
        )
    return found


def graph_expression(metric: str, cohort: Mapping[str, str]) -> str:
    """The stack-language expression of a metric in a cohort with last week's curve; empty for published series."""
    found = METRICS.get(metric)
    if found is None:
        return ""
    query = ":true"
    for index, (key, value) in enumerate(cohort.items()):
        query = f"{key},{value},:eq" if index == 0 else f"{query},{key},{value},:eq,:and"
    line = f"{query},:{found.word}" if found.word else f"name,{metric},:eq,{query},:and,:sum"
    return f"{line},:dup,1w,:offset"


def to_doc(incident: Incident) -> dict[str, Any]:
    """The incident as JSON values."""
    doc: dict[str, Any] = msgspec.to_builtins(incident)
    return doc


def from_doc(doc: Mapping[str, Any]) -> Incident:
    """The incident of a stored document."""
    return msgspec.convert(doc, Incident)
