"""`GET /api/v2/fetch`: the lines of an expression as server-sent events, chunk by chunk of the range.

The whole range is evaluated before it is cut, so that filters, topk and words that look back see all of it, whatever
the chunks are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import StreamingResponse

from query.deps import QueryDeps
from query.formats import numbers
from query.formats.v2_json import line_id
from query.params import graph_request
from tocsin.model.asl.evaluate import load
from tocsin.model.asl.graph import OFFSET_TAG, Grid, make_grid, parse_exprs
from tocsin.model.asl.lines import Lines
from tocsin.model.asl.series_expr import EvalContext
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.times import format_duration
from tocsin.model.errors import TocsinError

CHUNK_POINTS = 60


def _event(item: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(item) + b"\n\n"


def _message(kind: str, text: str) -> bytes:
    return _event({"type": kind, "message": text})


def add_routes(routes: APIRouter, deps: QueryDeps) -> None:
    """Add the route."""

    @routes.get("/api/v2/fetch", summary="Evaluate an expression into a stream of events")
    def fetch(request: Request) -> StreamingResponse:
        wanted = graph_request(request.query_params)
        exprs = parse_exprs(wanted, deps.interpreter)
        grid = make_grid(wanted, deps.source.primary_step_ms, deps.now_ms(), cap_width=False)
        return StreamingResponse(_stream(deps, exprs, grid), media_type="text/event-stream")


def _stream(deps: QueryDeps, exprs: list[StyleExpr], grid: Grid) -> Iterator[bytes]:
    yield _message("info", "heartbeat")
    try:
        context = EvalContext(grid.start_ms, grid.end_ms, grid.step_ms, deps.now_ms())
        loaded = load([e.expr for e in exprs], context, deps.source, deps.limits)
        for notice in loaded.notices:
            yield _message("info", notice)
        results = [(styled, styled.expr.eval(loaded.context)) for styled in exprs]
        for first, last in _chunks(grid):
            for styled, lines in results:
                yield from _items(styled, lines, grid, first, last)
    except TocsinError as error:
        yield _message("error", str(error))
    yield _message("close", "operation complete")


def _chunks(grid: Grid) -> Iterator[tuple[int, int]]:
    """Point indices [first, last) of pieces that end at multiples of the chunk's length."""
    span = CHUNK_POINTS * grid.step_ms
    start = grid.start_ms
    while start < grid.end_ms:
        end = min(start // span * span + span, grid.end_ms)
        yield (start - grid.start_ms) // grid.step_ms, (end - grid.start_ms) // grid.step_ms
        start = end


def _items(styled: StyleExpr, lines: Lines, grid: Grid, first: int, last: int) -> Iterator[bytes]:
    query = str(styled)
    offset = format_duration(styled.offset_ms)
    for head, values in zip(lines.heads, lines.values[:, first:last], strict=True):
        if (values != values).all():
            continue
        text = head.text
        tags = {**head.tags, OFFSET_TAG: offset}
        item: dict[str, Any] = {"type": "timeseries", "id": line_id(tags, query), "query": query}
        if styled.expr.grouping:
            item["groupByKeys"] = list(styled.expr.grouping)
        item |= {
            "label": styled.legend(lambda text=text: text, head.tags) or text,  # type: ignore[misc]
            "tags": tags,
            "start": grid.start_ms + first * grid.step_ms,
            "end": grid.start_ms + last * grid.step_ms,
            "step": grid.step_ms,
            "data": {"type": "array", "values": numbers.rows(values[None, :])[0]},
        }
        yield _event(item)
