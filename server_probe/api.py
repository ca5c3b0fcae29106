"""HTTP for people and programs: ask for a look, read verdicts and their pictures, say that a verdict was wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.params import Depends
from pydantic import BaseModel, ConfigDict, Field

from server_probe.detectors import chosen
from server_probe.look import Look, TimeRange
from server_probe.ports import QueuePort, VerdictStore
from server_probe.registry import StreamRegistry
from tocsin.model.errors import ConfigError

LIST_MAX = 200


class RangeBody(BaseModel):
    """Seconds of the stream."""

    model_config = ConfigDict(extra="forbid")
    start_s: float = Field(ge=0)
    end_s: float = Field(gt=0)


class ProbeBody(BaseModel):
    """What to look at. Only registered streams: a URL from outside would make the probe read for strangers."""

    model_config = ConfigDict(extra="forbid")
    stream: str = Field(min_length=1, max_length=256)
    incident_id: str = Field("", max_length=128)
    ranges: list[RangeBody] = Field([], max_length=16)
    renditions: list[str] = Field([], max_length=16)
    cdns: list[str] = Field([], max_length=16)
    detectors: list[str] = Field([], max_length=16)


class JudgedBody(BaseModel):
    """What a person says of a verdict."""

    model_config = ConfigDict(extra="forbid")
    judged: Literal["right", "wrong"]


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _look_of(body: ProbeBody, look_id: str, now_ts_s: float) -> Look:
    for part in body.ranges:
        if part.end_s <= part.start_s:
            raise HTTPException(422, f"ranges: end_s={part.end_s} is not after start_s={part.start_s}")
    try:
        detectors = chosen(body.detectors) if body.detectors else ()
    except ConfigError as error:
        raise HTTPException(422, f"detectors: {error}") from error
    return Look(
        id=look_id,
        stream=body.stream,
        reason="asked",
        queued_ts_s=now_ts_s,
        incident_id=body.incident_id,
        ranges=tuple(TimeRange(part.start_s, part.end_s) for part in body.ranges),
        renditions=tuple(body.renditions),
        cdns=tuple(body.cdns),
        detectors=detectors,
    )


def router(
    queue: QueuePort,
    store: VerdictStore,
    registry: StreamRegistry,
    *,
    clock: Callable[[], float],
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    may_run: Sequence[Depends] = (),
    may_read: Sequence[Depends] = (),
) -> APIRouter:
    """The routes under /v1/probes. `may_run` and `may_read` are the dependencies that guard writing and reading."""
    routes = APIRouter(prefix="/v1/probes", tags=["probe"])

    @routes.post("", status_code=202, dependencies=list(may_run))
    def ask(body: ProbeBody) -> Response:
        """Queue a look at a registered stream; its verdict appears under the id that is answered."""
        if registry.get(body.stream) is None:
            raise HTTPException(404, f"stream {body.stream!r} is not registered")
        look = _look_of(body, new_id(), clock())
        if not queue.enqueue(look):
            raise HTTPException(503, "the queue of looks is full", {"Retry-After": "30"})
        return _json({"id": look.id, "state": "waiting"}, 202)

    @routes.get("", dependencies=list(may_read))
    def recent(
        stream: Annotated[str, Query(max_length=256)] = "",
        incident_id: Annotated[str, Query(max_length=128)] = "",
        limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 50,
    ) -> Response:
        """The newest verdicts, newest first, and how many looks wait."""
        verdicts = store.recent(limit, stream, incident_id)
        return _json({"verdicts": verdicts, "waiting": len(queue.waiting())})

    @routes.get("/{look_id}", dependencies=list(may_read))
    def one(look_id: str) -> Response:
        """One verdict, or that it is still waited for."""
        verdict = store.verdict(look_id)
        if verdict is not None:
            return _json({"id": look_id, "state": "done", "verdict": verdict})
        if any(look.id == look_id for look in queue.waiting()):
            return _json({"id": look_id, "state": "waiting"})
        raise HTTPException(404, f"no look {look_id!r}")

    @routes.get("/{look_id}/frame.png", dependencies=list(may_read), response_class=Response)
    def frame(look_id: str, number: Annotated[int, Query(ge=0, le=16)] = 0) -> Response:
        """The evidence picture of one defect."""
        picture = store.frame(look_id, number)
        if picture is None:
            raise HTTPException(404, f"look {look_id!r} has no picture {number}")
        return Response(picture, media_type="image/png", headers={"X-Content-Type-Options": "nosniff"})

    @routes.post("/{look_id}/judged", dependencies=list(may_run))
    def judged(look_id: str, body: JudgedBody) -> Response:
        """Keep a person's word on a verdict."""
        if not store.judge(look_id, body.judged):
            raise HTTPException(404, f"no verdict {look_id!r}")
        return _json({"id": look_id, "judged": body.judged})

    return routes
