"""`GET /v1/explain`: where one number of a graph comes from.

It answers with the definition of the number, the sums of its parts, whether its minutes are complete and their ledger
closes, which cube answered, and the sessions that sum to it, largest first. The number is computed again from those
sessions' raw heartbeats: `agrees` is true where both are equal, false where they are not, and null where raw heartbeats
cannot tell; `differences` says why.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from fastapi import Query as Parameter

from query.deps import QueryDeps
from query.explain_point import Formula, Point, find_point
from query.explain_reads import (
    Span,
    describe_sessions,
    heartbeat_fates,
    largest,
    ledger_of,
    playbacks_kept,
    session_sums,
    tables_of,
)
from query.source import SETTLE_MS, StoreSource
from tocsin.adapters.store.port import Store
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.query_expr import Equal
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import HOUR
from tocsin.model.asl.words.catalogue import formula as as_text
from tocsin.model.asl.words.catalogue import part_name
from tocsin.model.catalogue import MEASURES
from tocsin.model.tags import TAG_KEYS

SESSIONS_MAX = 500
RELATIVE_TOLERANCE = 1e-9
AHEAD_MS = 65_000
"""How long before its minute a heartbeat may be appended: a minute's clock error and a bucket."""

Tags = Annotated[list[str] | None, Parameter(alias="tag", description="KEY=VALUE of the line, where q has several.")]


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains points over one store. `lateness_ms`: how old a heartbeat may be and still count."""

    store: Store
    source: StoreSource
    lateness_ms: int


def add_routes(routes: APIRouter, deps: QueryDeps, explainer: Explainer) -> None:
    """Add the route."""

    @routes.get("/v1/explain", summary="Explain one point of a line: definition, ledger, sessions")
    def explain(
        q: Annotated[str, Parameter(description="Expression of the stack language.")],
        at: Annotated[str, Parameter(description="Time of the point, as in graph's s and e.")],
        step: Annotated[str | None, Parameter(description="1m, 10m, 1h …; 1m by default.")] = None,
        tag: Tags = None,
        offset: Annotated[int, Parameter(ge=0, description="Sessions to skip.")] = 0,
        limit: Annotated[int, Parameter(ge=1, le=SESSIONS_MAX, description="Sessions to list.")] = 20,
    ) -> dict[str, Any]:
        chosen = dict(_pair(text) for text in tag or ())
        point = find_point(q, at, step, chosen, deps.interpreter, explainer.source, deps.now_ms(), deps.limits)
        return _Explanation(explainer, point, deps.now_ms()).document(offset, limit)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise AslError(f"tag must be KEY=VALUE, not '{text}'")
    return key, value


class _Explanation:
    """One point with what was read for it."""

    def __init__(self, explainer: Explainer, point: Point, now_ms: int) -> None:
        self._store, self._source, self._lateness_ms = explainer.store, explainer.source, explainer.lateness_ms
        self._point, self._now_ms = point, now_ms
        request = self._request(point.formula.parts[0])
        plans = self._source.plans(request)
        if not plans:
            raise AslError(f"no heartbeat can match '{point.query}': known tags are {', '.join(TAG_KEYS)}")
        self._cube = plans[0].cube
        self._span = Span(self._source.raw_condition(plans[0].condition, request), point.start_ms, point.end_ms)
        self._tables = tables_of(self._store, self._cube, self._span) if self._cube else ["heartbeats"]
        self._sums = {part: self._stored(part) for part in point.formula.parts}
        self._sessions = session_sums(self._store, point.formula.parts, self._span)

    def _request(self, part: str) -> FetchRequest:
        end_ms = self._point.end_ms
        return FetchRequest(self._point.query.and_(Equal("name", part_name(part))), end_ms, end_ms, self._point.step_ms)

    def _stored(self, part: str) -> float:
        """The sum of a part over the minutes, as graphs read it."""
        lines = self._source.fetch(self._request(part)).lines
        return float(lines.values[0, 0]) * self._point.step_ms / 1000 if len(lines) else 0.0

    def document(self, offset: int, limit: int) -> dict[str, Any]:
        """The answer; sessions from `offset` on."""
        point = self._point
        total = len(self._sessions.ids)
        summed = self._summed()
        differences = self._unknown() or self._unequal(summed)
        return {
            "at_ms": point.at_ms,
            "from_ms": point.start_ms,
            "to_ms": point.end_ms,
            "step_ms": point.step_ms,
            "query": point.program,
            "tags": dict(point.tags),
            "value": _finite(point.value),
            "value_of_sessions": _finite(summed),
            "agrees": None if self._unknown() else not differences,
            "differences": differences,
            "definition": _definition(point.formula),
            "parts": self._parts(),
            "source": {"cube": self._cube.name if self._cube else None, "tables": self._tables},
            "completeness": self._completeness(),
            "ledger": self._ledger(),
            "heartbeats": self._fates,
            "sessions_total": total,
            "sessions": self._listed(offset, limit),
            "next_offset": offset + limit if offset + limit < total else None,
        }

    @functools.cached_property
    def _fates(self) -> dict[str, int]:
        return heartbeat_fates(self._store, self._span, self._point.end_ms + SETTLE_MS)

    def _summed(self) -> float:
        """The point's value from the sums over sessions; NaN where they cannot tell."""
        if not self._sessions.ids or self._sessions.untold:
            return math.nan
        return self._point.formula.value(self._sessions.totals(), self._point.step_ms / 1000)

    def _unknown(self) -> list[str]:
        """Why raw heartbeats cannot tell whether the number is right, if so."""
        reasons = [
            f"{part} is no sum over the heartbeats of these minutes: {_meaning(part)}" for part in self._sessions.untold
        ]
        if not any(self._fates.values()) and any(self._sums.values()):
            reasons.append(
                f"no raw heartbeats of these minutes are stored (they are kept for {self._source.raw_days} days); left"
                f" are the sums in {', '.join(self._tables)}, and {playbacks_kept(self._store, self._span)} playbacks"
                " in table sessions that were playing then"
            )
        if self._tables == ["hours"] and self._point.step_ms < HOUR:
            reasons.append("only the sums of the hour are left: each of its minutes shows the hour's mean")
        return reasons

    def _unequal(self, summed: float) -> list[str]:
        value = self._point.value
        if math.isclose(value, summed, rel_tol=RELATIVE_TOLERANCE) or (math.isnan(value) and math.isnan(summed)):
            return []
        if not self._completeness()["complete"]:
            return ["a bucket's heartbeats are stored just before its sums, and one is being stored: ask again"]
        return ["the sums are not those of the heartbeats: `tocsin doctor --ledger` shows what is missing or double"]

    def _parts(self) -> list[dict[str, Any]]:
        found = self._sessions.totals() if self._sessions.ids else {}
        of = self._point.formula.definition
        return [
            {
                "name": part,
                "unit": MEASURES[part].unit if part in MEASURES else "session-minutes",
                "meaning": _meaning(part),
                "in_numerator": of.numerator.get(part, 0),
                "in_denominator": of.denominator.get(part, 0),
                "sum": _finite(self._sums[part]),
                "sum_of_sessions": found.get(part),
            }
            for part in self._point.formula.parts
        ]

    def _completeness(self) -> dict[str, Any]:
        end_ms = self._point.end_ms
        counted = self._source.watermark_ms() or 0
        complete_ms, final_ms = end_ms + SETTLE_MS, end_ms + self._lateness_ms
        if counted >= final_ms:
            text = "final: what comes now is too late to count, and is only counted as late"
        elif counted >= complete_ms:
            text = f"complete; late heartbeats are still added until {_clock(final_ms)}"
        else:
            text = f"not complete: heartbeats of these minutes are counted until {_clock(complete_ms)} as they come"
        return {
            "complete": counted >= complete_ms,
            "final": counted >= final_ms,
            "counted_until_ms": counted,
            "complete_at_ms": complete_ms,
            "final_at_ms": final_ms,
            "text": text,
        }

    def _ledger(self) -> dict[str, Any]:
        """The buckets that may hold heartbeats of the minutes."""
        low_ms, high_ms = self._point.start_ms - AHEAD_MS, self._point.end_ms + self._lateness_ms
        return {"appended_from_ms": low_ms, "appended_to_ms": high_ms, **ledger_of(self._store, low_ms, high_ms)}

    def _listed(self, offset: int, limit: int) -> list[dict[str, Any]]:
        """Sessions by what they add: to the number itself where it is a rate, else to its numerator (where that is no
        sum over heartbeats: to its denominator)."""
        sessions, formula = self._sessions, self._point.formula
        of = formula.definition
        ranked = [part for part in of.numerator if part in sessions.amounts]
        factors = of.numerator if ranked else of.denominator
        scale = 1.0 if of.denominator else of.scale * 1000 / self._point.step_ms
        adds = np.zeros(len(sessions.ids))
        for part in ranked or (part for part in of.denominator if part in sessions.amounts):
            adds += factors[part] * scale * sessions.amounts[part]
        shown = largest(adds, sessions.ids, offset, limit)
        described = describe_sessions(self._store, [sessions.ids[i] for i in shown], self._span)
        whole = float(adds.sum())
        rows = []
        for i in shown:
            parts = {part: float(amounts[i]) for part, amounts in sessions.amounts.items()}
            heartbeats, tags = described[sessions.ids[i]]
            own = math.nan if sessions.untold else formula.value(parts, self._point.step_ms / 1000)
            rows.append({
                "session_id": sessions.ids[i], "adds": float(adds[i]), "share": adds[i] / whole if whole else None,
                "value": _finite(own), "parts": parts, "heartbeats": heartbeats, "tags": tags,
            })  # fmt: skip
        return rows


def _definition(formula: Formula) -> dict[str, Any]:
    """The words and the formula of what is shown, and the other definitions that its word has."""
    metric = formula.metric
    others = {} if metric is None else {k: as_text(d) for k, d in metric.definitions.items() if k != formula.choice}
    return {
        "metric": formula.name,
        "meaning": formula.doc,
        "unit": formula.unit,
        "word": f":{metric.word}" if metric is not None and metric.word and formula.choice else None,
        "definition": formula.choice or None,
        "source": formula.definition.doc or None,
        "formula": as_text(formula.definition),
        "other_definitions": others,
    }


def _meaning(part: str) -> str:
    return MEASURES[part].doc if part in MEASURES else "a session seen in a minute under one set of tags"


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def _clock(time_ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC):%H:%M:%SZ}"
