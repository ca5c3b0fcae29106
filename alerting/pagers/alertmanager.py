"""Prometheus Alertmanager, API v2: one alert a request, told again every minute.

Alertmanager keeps alerts in memory until its next snapshot and ends those that nobody repeats, so firing alerts are
sent again at least once a minute, and resolved ones for five. One alert a request: a batch with one bad alert answers
400 and stores its siblings all the same, and could not be retried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alerting.pagers import PagerRequest, PagerType

FIRING_FOR_MS = 300_000
"""An alert that is not told again ends this long after the last time."""
_LABEL = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """One Alertmanager at `url` (its root, without /api/v2)."""

    name: str
    url: str
    level_triggered: bool = True

    def request(self, page: Mapping[str, Any], key: str, now_ms: int) -> PagerRequest:
        """The POST of one alert; labels are its identity, so they hold nothing that changes in its life."""
        closed = page.get("state") == "closed"
        ends_ms = page["closed_ms"] if closed and page.get("closed_ms") else now_ms + FIRING_FOR_MS
        labels = {
            "alertname": page["rule"], "severity": page["severity"], "incident": page["incident"],
            **{_LABEL.sub("_", name): value for name, value in page.get("labels", {}).items()},
        }  # fmt: skip
        annotations = {
            "summary": page["title"], "description": page["text"],
            "cohort": json.dumps(page.get("cohort", {}), ensure_ascii=False), "revision": str(page.get("revision", 0)),
            **page.get("annotations", {}),
        }  # fmt: skip
        if page.get("runbook"):
            annotations["runbook_url"] = page["runbook"]
        alert = {
            "labels": labels,
            "annotations": {name: str(value) for name, value in annotations.items()},
            "startsAt": _iso(page["opened_ms"]),
            "endsAt": _iso(ends_ms),
            "generatorURL": page.get("links", {}).get("incident", ""),
        }
        body = json.dumps([alert], ensure_ascii=False).encode()
        headers = {"content-type": "application/json", "idempotency-key": key}
        return PagerRequest("POST", f"{self.url.rstrip('/')}/api/v2/alerts", body, headers)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


PAGER = PagerType("alertmanager", lambda c: Alertmanager(str(c["name"]), str(c["url"])), ("name", "url"))
