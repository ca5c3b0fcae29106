"""HTTP for incidents, rules, silences, declared events and hints: a router that the application mounts.

Who may call what is the application's business: it passes dependencies that check tokens (`read`, `write`), and `who`,
which names the caller for the timeline.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import xxhash
from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from alerting.desk import OPEN_STATES
from alerting.engine import AlertEngine
from alerting.page import from_doc, page
from alerting.remedy import ActionRunner
from alerting.ruleset import Rule, json_schema
from tocsin.adapters.state.port import SpanRow
from tocsin.model.errors import InputError
from tocsin.model.tags import IDENTITY_KEYS

SPAN_MAX_MS = 366 * 86_400_000
_MATCH: Any = Field(default_factory=dict, max_length=16)


class Model(BaseModel):
    """Base of bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class SilenceBody(Model):
    """A silence: `match` may hold rule, severity, metric and tag keys; all must fit."""

    match: dict[str, str] = _MATCH
    starts_ms: int | None = Field(default=None, ge=0)
    ends_ms: int = Field(ge=0)
    comment: str = Field(default="", max_length=500)


class EventBody(Model):
    """A declared event: a premiere, a deploy, a holiday; its weeks are no baseline where `match` fits."""

    kind: Literal["premiere", "deploy", "holiday", "maintenance", "other"] = "other"
    name: str = Field(min_length=1, max_length=200)
    match: dict[str, str] = _MATCH
    starts_ms: int = Field(ge=0)
    ends_ms: int = Field(ge=0)


class CloseBody(Model):
    """How to close: `accept_level` makes the present value the baseline for a week."""

    accept_level: bool = False


class ActionBody(Model):
    """The action to run on an incident."""

    action: str = Field(min_length=1, max_length=64)


def anonymous(_request: Request) -> str:
    """Who calls, where the application does not say."""
    return "api"


def create_router(
    engine: AlertEngine, runner: ActionRunner | None = None, *, read: Sequence[Any] = (), write: Sequence[Any] = (),
    who: Callable[..., str] = anonymous,
) -> APIRouter:  # fmt: skip
    """The router; `read` and `write` are dependencies of the routes that read and change."""
    router = APIRouter(prefix="/v1", tags=["alerting"])
    reading, writing = list(read), list(write)
    _incident_routes(router, engine, runner, reading, writing, who)
    _span_routes(router, engine, reading, writing, who)

    @router.get("/rules", dependencies=reading)
    def rules() -> dict[str, Any]:
        """The rules in force."""
        return {"rules": [_rule_doc(rule) for rule in engine.rules]}

    @router.get("/rules/schema", dependencies=reading)
    def schema() -> dict[str, Any]:
        """The JSON Schema of a rules file."""
        return json_schema()

    @router.get("/hints")
    def hints(request: Request) -> dict[str, Any]:
        """What a player with these tags (query parameters) is told; nothing where all is well."""
        tags = {key: value for key, value in request.query_params.items() if key in IDENTITY_KEYS}
        return {"hints": engine.hints(tags)}

    return router


def _incident_routes(
    router: APIRouter, engine: AlertEngine, runner: ActionRunner | None, read: list[Any], write: list[Any],
    who: Callable[..., str],
) -> None:  # fmt: skip
    Who = Annotated[str, Depends(who)]  # noqa: N806  a type

    @router.get("/incidents", dependencies=read)
    def incidents(
        state: Annotated[Literal["open", "closed", "all"], Query()] = "all",
        since_ms: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        """Incidents, newest first."""
        states = {"open": OPEN_STATES, "closed": ("closed",), "all": ()}[state]
        with engine.state.transaction() as tx:
            rows = tx.incidents(states, since_ms, limit)
        base, now = engine.config.base_url, engine.clock()
        return {"incidents": [page(from_doc(row.doc), "read", base, now) for row in rows]}

    @router.get("/incidents/{incident_id}", dependencies=read)
    def incident(incident_id: str) -> dict[str, Any]:
        """One incident: its page, timeline, deliveries and actions."""
        found = _found(lambda: engine.desk.incident(incident_id))
        with engine.state.transaction() as tx:
            lines = tx.timeline(incident_id)
            deliveries = tx.deliveries(incident_id)
            actions = tx.actions(incident_id)
        return {
            **page(found, "read", engine.config.base_url, engine.clock()),
            "latest": msgspec.to_builtins(found.latest),
            "timeline": [msgspec.to_builtins(line) for line in lines],
            "deliveries": [
                {"key": d.key, "receiver": d.receiver, "state": d.state, "attempts": d.attempts, "error": d.error,
                 "created_ms": d.created_ms, "next_ms": d.next_ms}
                for d in deliveries
            ],
            "action_runs": [msgspec.to_builtins(run) for run in actions],
        }  # fmt: skip

    @router.post("/incidents/{incident_id}/ack", dependencies=write)
    def acknowledge(incident_id: str, caller: Who) -> dict[str, Any]:
        """Somebody is on it."""
        return {"incident": _found(lambda: engine.acknowledge(incident_id, caller)).id, "acknowledged_by": caller}

    @router.post("/incidents/{incident_id}/close", dependencies=write)
    def close(incident_id: str, caller: Who, body: Annotated[CloseBody | None, Body()] = None) -> dict[str, Any]:
        """Close it; optionally accept the present level."""
        accept = body.accept_level if body else False
        found = _found(lambda: engine.close(incident_id, caller, accept_level=accept))
        return {"incident": found.id, "state": found.state}

    @router.post("/incidents/{incident_id}/silence", dependencies=write, status_code=201)
    def silence(incident_id: str, caller: Who, minutes: Annotated[int, Query(ge=1, le=43_200)] = 60) -> dict[str, Any]:
        """Silence its rule in its cohort for some minutes."""
        found = _found(lambda: engine.desk.incident(incident_id))
        now = engine.clock()
        match = {"rule": found.rule, **found.cohort}
        return _put_silence(engine, match, now, now + minutes * 60_000, caller, f"incident {incident_id}")

    @router.post("/incidents/{incident_id}/verdicts", dependencies=write)
    def verdict(incident_id: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Attach a probe's verdict; an updated page goes out."""
        return {"incident": _found(lambda: engine.attach_verdict(incident_id, body)).id}

    @router.post("/incidents/{incident_id}/actions", dependencies=write, status_code=202)
    def act(incident_id: str, body: ActionBody, caller: Who) -> dict[str, Any]:
        """Ask for a remediation."""
        _found(lambda: engine.desk.queue_action(incident_id, body.action, engine.clock(), caller))
        return {"incident": incident_id, "action": body.action, "state": "queued"}

    @router.post("/actions/{run_id}/approve", dependencies=write)
    def approve(run_id: str, caller: Who) -> dict[str, Any]:
        """Let a waiting remediation go."""
        if runner is None:
            raise HTTPException(404, "no actions are configured")
        _found(lambda: runner.approve(run_id, caller))
        return {"run": run_id, "state": "queued"}


def _span_routes(
    router: APIRouter, engine: AlertEngine, read: list[Any], write: list[Any], who: Callable[..., str]
) -> None:  # fmt: skip
    Who = Annotated[str, Depends(who)]  # noqa: N806  a type

    @router.get("/silences", dependencies=read)
    def silences() -> dict[str, Any]:
        """Silences that have not ended."""
        with engine.state.transaction() as tx:
            return {"silences": [_span_doc(row) for row in tx.silences(engine.clock())]}

    @router.post("/silences", dependencies=write, status_code=201)
    def add_silence(body: SilenceBody, caller: Who) -> dict[str, Any]:
        """Silence what fits `match`: incidents are kept, nobody is told."""
        start = engine.clock() if body.starts_ms is None else body.starts_ms
        return _put_silence(engine, body.match, start, body.ends_ms, caller, body.comment)

    @router.delete("/silences/{silence_id}", dependencies=write, status_code=204)
    def end_silence(silence_id: str) -> Response:
        """End a silence now."""
        now = engine.clock()
        with engine.state.transaction() as tx:
            row = next((row for row in tx.silences(now) if row.id == silence_id), None)
            if row is None:
                raise HTTPException(404, f"no silence {silence_id} is in force")
            tx.put_silence(SpanRow(row.id, min(row.starts_ms, now), now, row.doc))
        return Response(status_code=204)

    @router.get("/events", dependencies=read)
    def events(from_ms: Annotated[int, Query(ge=0)] = 0, to_ms: Annotated[int, Query(ge=0)] = 2**53) -> dict[str, Any]:
        """Declared events in a time."""
        with engine.state.transaction() as tx:
            return {"events": [_span_doc(row) for row in tx.events(from_ms, to_ms)]}

    @router.post("/events", dependencies=write, status_code=201)
    def add_event(body: EventBody, caller: Who) -> dict[str, Any]:
        """Declare an event."""
        _check_span(body.starts_ms, body.ends_ms)
        _check_match(body.match, ())
        doc = {"kind": body.kind, "name": body.name, "match": body.match, "by": caller}
        row = SpanRow(_span_id("event", doc, body.starts_ms), body.starts_ms, body.ends_ms, doc)
        with engine.state.transaction() as tx:
            tx.put_event(row)
        return _span_doc(row)


def _put_silence(
    engine: AlertEngine, match: dict[str, str], start: int, end: int, who: str, comment: str
) -> dict[str, Any]:  # fmt: skip
    _check_span(start, end)
    _check_match(match, ("rule", "severity", "metric"))
    doc = {"match": match, "by": who, "comment": comment}
    row = SpanRow(_span_id("silence", doc, start), start, end, doc)
    with engine.state.transaction() as tx:
        tx.put_silence(row)
    engine.apply_silences()
    return _span_doc(row)


def _check_span(start: int, end: int) -> None:
    if not 0 < end - start <= SPAN_MAX_MS:
        raise HTTPException(422, f"ends_ms must be after starts_ms ({start}) by at most a year, not {end}")


def _check_match(match: dict[str, str], extra: Sequence[str]) -> None:
    for key in match:
        if key not in (*IDENTITY_KEYS, *extra):
            raise HTTPException(422, f"match: unknown key {key!r}; known: {', '.join((*extra, *IDENTITY_KEYS))}")


def _span_id(kind: str, doc: dict[str, Any], start: int) -> str:
    return xxhash.xxh3_64_hexdigest(f"{kind}|{sorted(doc.items())}|{start}".encode())


def _span_doc(row: SpanRow) -> dict[str, Any]:
    return {"id": row.id, "starts_ms": row.starts_ms, "ends_ms": row.ends_ms, **row.doc}


def _rule_doc(rule: Rule) -> dict[str, Any]:
    doc: dict[str, Any] = msgspec.to_builtins(rule)
    return doc


def _found(call: Callable[[], Any]) -> Any:
    """The call's answer; what does not exist is answered 404."""
    try:
        return call()
    except InputError as error:
        raise HTTPException(404, str(error)) from error
