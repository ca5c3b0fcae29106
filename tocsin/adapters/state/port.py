"""The state port: what must survive a kill -9, in one small database.

Laws, asserted by one suite over every adapter:

1. A transaction is all or nothing, and is durable once it has returned.
2. A delivery is added once for each key, however often it is put: the key is the idempotency key.
3. Reads see every transaction that returned before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Doc = Mapping[str, Any]
DeliveryState = Literal["queued", "sent", "dead"]
ActionState = Literal["queued", "waiting", "running", "done", "failed", "refused"]

FOREVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident; `doc` is the whole of it as JSON, the other fields are what it is found by."""

    id: str
    rule: str
    state: str
    opened_ms: int
    updated_ms: int
    closed_ms: int | None
    doc: Doc


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One line of an incident's history: what happened, by whom."""

    incident_id: str
    at_ms: int
    kind: str
    who: str
    text: str


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A silence or a declared event: from `starts_ms` to `ends_ms`."""

    id: str
    starts_ms: int
    ends_ms: int
    doc: Doc


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One message to one receiver, until it is sent or dead. `key` is what the receiver deduplicates by."""

    key: str
    incident_id: str
    receiver: str
    created_ms: int
    next_ms: int
    payload: Doc
    state: DeliveryState = "queued"
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One run of a remediation."""

    id: str
    incident_id: str
    action: str
    state: ActionState
    created_ms: int
    finished_ms: int | None = None
    doc: Doc = field(default_factory=dict)


class StateTx(Protocol):
    """Reads and writes inside one transaction."""

    def put_incident(self, row: IncidentRow) -> None:
        """Insert or replace by id."""
        ...

    def incident(self, incident_id: str) -> IncidentRow | None:
        """One incident."""
        ...

    def incidents(self, states: Sequence[str] = (), since_ms: int = 0, limit: int = 500) -> list[IncidentRow]:
        """Newest first; of `states` (all where empty), closed or updated at `since_ms` or later."""
        ...

    def add_line(self, row: TimelineRow) -> None:
        """Append to an incident's timeline."""
        ...

    def timeline(self, incident_id: str, limit: int = 500) -> list[TimelineRow]:
        """Oldest first."""
        ...

    def put_silence(self, row: SpanRow) -> None:
        """Insert or replace by id."""
        ...

    def silences(self, at_ms: int, limit: int = 500) -> list[SpanRow]:
        """Those that have not ended at `at_ms`."""
        ...

    def put_event(self, row: SpanRow) -> None:
        """Insert or replace by id."""
        ...

    def events(self, from_ms: int, to_ms: int, limit: int = 500) -> list[SpanRow]:
        """Those that overlap [from_ms, to_ms]."""
        ...

    def add_delivery(self, row: DeliveryRow) -> bool:
        """Add unless the key is known; whether it was added."""
        ...

    def put_delivery(self, row: DeliveryRow) -> None:
        """Replace by key."""
        ...

    def due_deliveries(self, now_ms: int, limit: int = 100) -> list[DeliveryRow]:
        """Queued ones whose time has come, oldest first."""
        ...

    def deliveries(
        self, incident_id: str = "", state: DeliveryState | None = None, limit: int = 500
    ) -> list[DeliveryRow]:
        """Newest first."""
        ...

    def put_action(self, row: ActionRow) -> None:
        """Insert or replace by id."""
        ...

    def actions(
        self, incident_id: str = "", action: str = "", state: ActionState | None = None, since_ms: int = 0,
        limit: int = 500,
    ) -> list[ActionRow]:  # fmt: skip
        """Oldest first."""
        ...


class State(Protocol):
    """Thread-safe; several processes may open the same database."""

    def transaction(self) -> AbstractContextManager[StateTx]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        ...

    def close(self) -> None:
        """Release."""
        ...
