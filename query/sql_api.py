"""`POST /v1/sql`: an analyst's own SELECT over the store's tables, read-only and within limits."""

from __future__ import annotations

import threading
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from query.sql_formats import FORMATS, SqlFormat, format_named
from query.sql_guard import QUERY_CHARACTERS_MAX, checked
from tocsin.adapters.store.port import QueryLimits, Store
from tocsin.model.errors import InputError, LimitExceededError, UnavailableError

BODY_BYTES_MAX = 1 << 20
PARAMETERS_MAX = 100
AT_ONCE_MAX = 4
TIME_S_MAX = 30.0
MEMORY_MIB_MAX = 1_024
ROWS_MAX = max(known.rows_max for known in FORMATS.values())


class SqlLimits(BaseModel):
    """What the query may take: seconds, MiB of the store's memory, rows of the result."""

    model_config = ConfigDict(extra="forbid")
    time_s: Annotated[float, Field(gt=0, le=TIME_S_MAX)] = 10.0
    memory_mib: Annotated[int, Field(ge=1, le=MEMORY_MIB_MAX)] = 512
    rows: Annotated[int, Field(ge=1, le=ROWS_MAX)] = 100_000


class SqlRequest(BaseModel):
    """The body: one SELECT, the values of its `{name:Type}` placeholders, the format of the answer, and limits."""

    model_config = ConfigDict(extra="forbid")
    query: Annotated[str, Field(min_length=1, max_length=QUERY_CHARACTERS_MAX)]
    params: Annotated[dict[str, Any], Field(max_length=PARAMETERS_MAX)] = {}
    format: str = ""
    limits: SqlLimits = SqlLimits()


def _openapi() -> dict[str, Any]:
    """The body is read by hand, for its limit: so is its schema, with the limits' own in its place."""
    schema = SqlRequest.model_json_schema()
    schema["properties"]["limits"] = schema.pop("$defs")["SqlLimits"]
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "Rows", "content": {one.content_type: {} for one in FORMATS.values()}}},
    }


def add_routes(routes: APIRouter, store: Store) -> None:
    """Add the route."""
    places = threading.BoundedSemaphore(AT_ONCE_MAX)

    def answer(asked: SqlRequest, chosen: SqlFormat) -> Response:
        limits = QueryLimits(
            asked.limits.time_s, asked.limits.memory_mib << 20, min(asked.limits.rows, chosen.rows_max)
        )
        sql = checked(asked.query, asked.params)
        if not places.acquire(blocking=False):
            raise UnavailableError(f"running the query: {AT_ONCE_MAX} run already, and no more do at once")
        try:
            return Response(
                chosen.write(store.query_limited(sql, asked.params, limits)), media_type=chosen.content_type
            )
        except LimitExceededError as error:
            raise InputError(f"running the query: {error}; {_fits(error, limits, chosen)}") from error
        finally:
            places.release()

    @routes.post("/v1/sql", summary="Answer one read-only SELECT", openapi_extra=_openapi())
    async def sql(request: Request) -> Response:
        asked = await _body(request)
        named = request.query_params.get("format", asked.format)
        chosen = format_named(named, request.headers.get("accept", ""))
        return await run_in_threadpool(answer, asked, chosen)


async def _body(request: Request) -> SqlRequest:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise InputError(f"reading the request: its body is over {BODY_BYTES_MAX} bytes")
    try:
        return SqlRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:5])
        raise InputError(f"reading the request: {wrong}") from error


def _fits(error: LimitExceededError, limits: QueryLimits, chosen: SqlFormat) -> str:
    """What to ask instead."""
    if error.limit == "rows":
        more = f"; `limits.rows` may be up to {chosen.rows_max}" if limits.rows < chosen.rows_max else ""
        other = f"; arrow, csv and parquet may have {ROWS_MAX}" if chosen.rows_max < ROWS_MAX else ""
        return f"LIMIT {limits.rows} or an aggregate fits{more}{other}"
    if error.limit == "time":
        return f"a shorter range, or `hours` for `minutes`, fits; `limits.time_s` may be up to {TIME_S_MAX:g}"
    return f"fewer columns or groups fit; `limits.memory_mib` may be up to {MEMORY_MIB_MAX}"
