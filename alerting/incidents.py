"""The life of an incident, as values: ok → pending → firing → resolving → closed, and back within the hour.

```
          2 of 3 ticks past α,            quiet                     quiet for `close_ms`
          or one past the strict level    ┌──────────► resolving ───────────────► closed
ok ─► pending ──────────► firing ─────────┤               │                        │
      (a slice's bits)      ▲             └─ active ◄─────┘                        │
                            └───────── the same cohort within `reopen_ms` ◄────────┘
```

Quiet means p > 0.05 and effect < 1.2 in the short windows. What is neither quiet nor active stops the closing clock and
does not reset it; no data neither opens nor closes. Time is passed in; nothing here reads a clock or a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from alerting.rules.evidence import Bools, Ints
from alerting.slices import nested

Observation = Literal["active", "quiet", "unsure", "no_data"]
State = Literal["firing", "resolving", "closed"]
Change = Literal["opened", "reopened", "update", "resolving", "firing", "resolved"]

CLOSE_P = 0.05
CLOSE_EFFECT = 1.2
LIST_MAX = 100
"""Children, verdicts and actions that an incident lists; more are counted by the timeline."""


@dataclass(frozen=True, slots=True)
class Holds:
    """How long things must last, ms. `of_ticks` of the last `ticks` ticks open an incident."""

    close_ms: int = 30 * 60_000
    reopen_ms: int = 60 * 60_000
    of_ticks: int = 2
    ticks: int = 3
    level_ms: int = 7 * 86_400_000


class Measured(msgspec.Struct, frozen=True):
    """What one slice showed in one window: value and band in the metric's unit, n plays or session-minutes."""

    metric: str
    unit: str
    window_minutes: int
    slice: dict[str, str]
    value: float
    baseline: float | None
    low: float | None
    high: float | None
    n: float
    p: float
    effect: float
    excess: float


class Incident(msgspec.Struct, kw_only=True):
    """One incident, the whole of what is stored of it. `watch` are the slices that tell whether it goes on."""

    id: str
    rule: str
    metric: str
    severity: str
    cohort: dict[str, str]
    opened_ms: int
    onset_ms: int
    updated_ms: int
    summary: str
    evidence: Measured
    state: State = "firing"
    closed_ms: int | None = None
    quiet_ms: int = 0
    active_ms: int = 0
    seen_ms: int = 0
    latest: Measured | None = None
    rest_value: float | None = None
    watch: list[dict[str, str]] = []
    cohorts: list[dict[str, Any]] = []
    children: list[str] = []
    also: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    actions: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    hint: dict[str, Any] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    runbook: str = ""
    markers: list[dict[str, Any]] = []
    worst_streams: list[str] = []
    no_history: bool = False
    silenced: bool = False
    inhibited: bool = False
    probed: bool = False
    acknowledged_by: str = ""
    acknowledged_ms: int | None = None
    reopened: int = 0
    revision: int = 0
    level_factor: float | None = None
    level_until_ms: int | None = None
    close_reason: str = ""


def incident_id(rule: str, cohort: Mapping[str, str], opened_ms: int) -> str:
    """Stable id of an incident: the same opening, computed again after a crash, is the same incident."""
    text = f"{rule}|{sorted(cohort.items())}|{opened_ms}"
    return xxhash.xxh3_64_hexdigest(text.encode())


class Hits:
    """Which slices of one rule are pending and which have earned an incident. Bits of the last ticks, shape (S,)."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._bits: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._since: Ints = np.zeros(0, np.int64)

    def update(self, exceed: Bools, strict: Bools, now_ms: int, for_ms: int = 0) -> Bools:
        """Note one tick; returns the slices that open: 2 of 3 ticks or one strict, once it lasted for `for_ms`."""
        missing = len(exceed) - len(self._bits)
        if missing > 0:
            self._bits = np.concatenate([self._bits, np.zeros(missing, np.uint8)])
            self._since = np.concatenate([self._since, np.full(missing, -1, np.int64)])
        mask = (1 << self._holds.ticks) - 1
        self._bits = ((self._bits << 1) & mask).astype(np.uint8) | exceed.astype(np.uint8)
        pending = self._bits > 0
        self._since = np.where(pending, np.where(self._since < 0, now_ms, self._since), -1)
        count = np.unpackbits(self._bits[:, None], axis=1).sum(axis=1)
        lasting = now_ms - self._since >= for_ms
        return np.asarray(pending & lasting & ((count >= self._holds.of_ticks) | (strict & exceed)), dtype=np.bool_)

    def pending(self) -> Bools:
        """Slices with a hit in the last ticks."""
        return np.asarray(self._bits > 0, dtype=np.bool_)


def advance(incident: Incident, seen: Observation, now_ms: int, holds: Holds) -> tuple[Incident, Change | None]:
    """The incident after one tick, and what changed in its life (None: nothing that anybody must hear)."""
    elapsed = max(now_ms - incident.seen_ms, 0) if incident.seen_ms else 0
    if incident.state == "closed":
        return incident, None
    if seen == "active":
        change: Change | None = "firing" if incident.state == "resolving" else None
        return msgspec.structs.replace(incident, state="firing", quiet_ms=0, seen_ms=now_ms, active_ms=now_ms), change
    if seen != "quiet":
        return msgspec.structs.replace(incident, seen_ms=now_ms), None
    if incident.state == "firing":
        return msgspec.structs.replace(incident, state="resolving", quiet_ms=0, seen_ms=now_ms), "resolving"
    quiet = incident.quiet_ms + elapsed
    if quiet < holds.close_ms:
        return msgspec.structs.replace(incident, quiet_ms=quiet, seen_ms=now_ms), None
    return close(incident, now_ms, "back to normal"), "resolved"


def close(incident: Incident, now_ms: int, reason: str) -> Incident:
    """The incident, closed."""
    return msgspec.structs.replace(
        incident, state="closed", closed_ms=now_ms, updated_ms=now_ms, seen_ms=now_ms, close_reason=reason,
        revision=incident.revision + 1,
    )  # fmt: skip


def reopen(incident: Incident, evidence: Measured, now_ms: int) -> Incident:
    """The incident, firing again under its old id."""
    return msgspec.structs.replace(
        incident, state="firing", closed_ms=None, quiet_ms=0, updated_ms=now_ms, seen_ms=now_ms, latest=evidence,
        reopened=incident.reopened + 1, revision=incident.revision + 1, close_reason="",
    )  # fmt: skip


def can_reopen(incident: Incident, rule: str, cohort: Mapping[str, str], now_ms: int, holds: Holds) -> bool:
    """Whether this closed incident is the one that comes back."""
    return (
        incident.state == "closed"
        and incident.rule == rule
        and incident.closed_ms is not None
        and now_ms - incident.closed_ms <= holds.reopen_ms
        and _same_place(incident, cohort)
    )


def can_join(incident: Incident, cohort: Mapping[str, str]) -> bool:
    """Whether another rule's finding in `cohort` is the same trouble as this open incident, seen by another metric."""
    return incident.state != "closed" and _same_place(incident, cohort)


def _same_place(incident: Incident, cohort: Mapping[str, str]) -> bool:
    if incident.cohort == dict(cohort):
        return True
    if not incident.cohort or not cohort:
        return False
    streams = incident.cohort.get("stream"), cohort.get("stream")
    if streams[1] is not None and streams[0] is None and "title" in incident.cohort:
        return streams[1] in incident.worst_streams[:1]
    return nested(incident.cohort, cohort)


def join(incident: Incident, rule: str, evidence: Measured, now_ms: int) -> Incident:
    """The incident with another metric's evidence; the newest of each rule is kept."""
    also = [entry for entry in incident.also if entry["rule"] != rule]
    also.append({"rule": rule, "at_ms": now_ms, "evidence": msgspec.to_builtins(evidence)})
    return msgspec.structs.replace(incident, also=also[-LIST_MAX:], updated_ms=now_ms)


def add_children(incident: Incident, names: list[str]) -> Incident:
    """The incident with more inhibited slices (names), each once, at most `LIST_MAX`."""
    children = list(dict.fromkeys([*incident.children, *names]))[:LIST_MAX]
    return incident if children == incident.children else msgspec.structs.replace(incident, children=children)


def add_verdict(incident: Incident, verdict: Mapping[str, Any], now_ms: int) -> Incident:
    """The incident with a probe's verdict; a verdict of the same look and detector replaces the earlier one."""
    key = _verdict_key(verdict)
    kept = [earlier for earlier in incident.verdicts if key[0] is None or _verdict_key(earlier) != key]
    return msgspec.structs.replace(
        incident, verdicts=[*kept, dict(verdict)][-LIST_MAX:], updated_ms=now_ms, revision=incident.revision + 1
    )


def _verdict_key(verdict: Mapping[str, Any]) -> tuple[Any, ...]:
    return verdict.get("look_id"), verdict.get("detector"), verdict.get("stream")


def slice_name(tags: Mapping[str, str]) -> str:
    """`cdn=b device=tv`, `everyone` for the root."""
    return " ".join(f"{key}={value}" for key, value in tags.items()) or "everyone"
