"""`GET /api/v1/tags[/key]`: which keys and values there are, page by page."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from query.deps import QueryDeps
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.query_expr import ALL, HasKey, Query
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.text import parse_int

MAX_LIMIT = 1_000
NEXT_HEADERS = ("x-nflx-atlas-next-offset", "x-atlas-next-offset")


def add_routes(routes: APIRouter, deps: QueryDeps) -> None:
    """Add the routes."""

    @routes.get("/api/v1/tags", summary="List the keys of tags")
    def keys(request: Request) -> Response:
        return _answer(request, deps, None)

    @routes.get("/api/v1/tags/{key:path}", summary="List the values of one key")
    def values(request: Request, key: Annotated[str, Path()]) -> Response:
        return _answer(request, deps, key or None)


def _answer(request: Request, deps: QueryDeps, key: str | None) -> Response:
    params = request.query_params
    limit = _limit(params.get("limit"))
    query: Query = ALL if key is None else HasKey(key)
    text = params.get("q")
    if text is not None:
        query = _parse(text, deps.interpreter).and_(query)
    after = params.get("offset", "")
    if params.get("verbose") == "1":
        found = _tags(deps, query, key, after, limit)
        lines = [f"{k}\t{v}\t{n}" for k, v, n in found]
        items: list[object] = [{"key": k, "value": v, "count": n} for k, v, n in found]
        last = f"{found[-1][0]},{found[-1][1]}" if len(found) >= limit else None
    else:
        names = deps.tags.keys(query, after, limit) if key is None else deps.tags.values(query, key, after, limit)
        lines, items = list(names), [*names]
        last = names[-1] if len(names) >= limit else None
    headers = dict.fromkeys(NEXT_HEADERS, last) if last is not None else {}
    if params.get("format") == "txt":
        return Response("\n".join(lines), media_type="text/plain", headers=_ascii(headers))
    return Response(json.dumps(items, ensure_ascii=False), media_type="application/json", headers=_ascii(headers))


def _ascii(headers: dict[str, str]) -> dict[str, str]:
    return {k: v.encode("utf-8").decode("latin-1") for k, v in headers.items()}


def _tags(deps: QueryDeps, query: Query, key: str | None, after: str, limit: int) -> list[tuple[str, str, int]]:
    first, _, second = after.partition(",")
    found = deps.tags.tags(query, key, MAX_LIMIT * 1_000)
    return [(k, v, n) for k, v, n in found if (k, v) > (first, second)][:limit]


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LIMIT
    value = parse_int(text)
    if value is None or value <= 0:
        raise AslError(f"limit must be positive (got {text})")
    return min(value, MAX_LIMIT)


def _parse(text: str, interpreter: Interpreter) -> Query:
    stack = Interpreter(interpreter.vocabulary.groups("std", "query")).run(text)
    if len(stack) == 1 and isinstance(stack[0], Query):
        return stack[0]
    raise AslError(f"expected a single query on the stack of q='{text}'")
