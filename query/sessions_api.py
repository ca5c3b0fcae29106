"""`GET /v1/sessions/{id}`: what is known of one playback, heartbeat by heartbeat, to read at once or to follow.

Whoever follows sends `next` of the last answer as `after`. Heartbeats come in buckets of the log, each stored whole,
and all of a session are in one partition, so those of later buckets are all that is new.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query

from tocsin.adapters.store.port import Store
from tocsin.model.heartbeat import NOT_STARTED, OUTCOMES, REASONS, STATES
from tocsin.model.tables import HEARTBEATS, SESSIONS
from tocsin.model.tags import TAG_KEYS

HEARTBEATS_MAX = 10_000
SPAN_MS = 24 * 3_600_000
"""How far back the heartbeats of a session that has no row in `sessions` yet are looked for."""
_NAMES = {"reason": REASONS, "state": STATES, "outcome": OUTCOMES}
_PLACES = frozenset({"log_partition", "start_offset", "append_day", "minute", "session_id"})
_COLUMNS = tuple(name for name in HEARTBEATS.column_names if name not in _PLACES)


def add_routes(routes: APIRouter, store: Store, now_ms: Callable[[], int]) -> None:
    """Add the route."""

    @routes.get("/v1/sessions/{session_id}", summary="One playback: its heartbeats, and its totals once it has ended")
    def session(session_id: str, after: Annotated[int, Query(ge=-1)] = -1) -> dict[str, Any]:
        totals = _totals(store, session_id)
        since_ms = now_ms() - SPAN_MS if totals is None else totals["start_ms"]
        rows = store.query(
            f"SELECT start_offset, {', '.join(_COLUMNS)} FROM heartbeats WHERE session_id = {{id:String}}"
            " AND minute >= toStartOfMinute(toDateTime({since:Int64}, 'UTC')) AND append_day >= toDate({since:Int64})"
            f" AND start_offset > {{after:Int64}} ORDER BY start_offset, append_ms, seq LIMIT {HEARTBEATS_MAX}",
            {"id": session_id, "since": since_ms // 1000, "after": after},
        )
        return {
            "session_id": session_id,
            "heartbeats": [_heartbeat(dict(zip(_COLUMNS, row[1:], strict=True))) for row in rows],
            "session": totals,
            "next": max((row[0] for row in rows), default=after),
        }


def _totals(store: Store, session_id: str) -> dict[str, Any] | None:
    names = SESSIONS.column_names
    rows = store.query(
        f"SELECT {', '.join(names)} FROM sessions FINAL WHERE session_id = {{id:String}}", {"id": session_id}
    )
    return _without_empty_tags(dict(zip(names, rows[0], strict=True))) if rows else None


def _heartbeat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with names for codes; numbers that are 0 and texts that are empty say nothing and are left out."""
    kept = {name: value for name, value in row.items() if value not in (0, "") or name in ("seq", "state", "reason")}
    if kept.get("startup_ms") == NOT_STARTED or row["row_kind"] in ("timeout", "resumed"):
        kept.pop("startup_ms", None)
    named = {name: names[row[name]] for name, names in _NAMES.items() if name in kept}
    return _without_empty_tags({**kept, **named})


def _without_empty_tags(row: dict[str, Any]) -> dict[str, Any]:
    tags = {key: row[key] for key in TAG_KEYS if row.get(key)}
    return {**{name: value for name, value in row.items() if name not in TAG_KEYS}, "tags": tags}
