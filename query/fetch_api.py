"""`GET /api/v2/fetch`: the lines of an expression as server-sent events, chunk by chunk of the range.

The whole range is evaluated before it is cut, so that filters, topk, offsets and words that look back see all of it,
whatever the chunks are. With `follow=1` the stream stays open and sends each point once its minutes are complete.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from query.deps import QueryDeps
from query.formats import numbers
from query.formats.v2_json import line_id
from query.params import graph_request
from tocsin.model.asl.evaluate import Loaded, load
from tocsin.model.asl.graph import OFFSET_TAG, Grid, make_grid, parse_exprs
from tocsin.model.asl.lines import Lines
from tocsin.model.asl.series_expr import EvalContext
from tocsin.model.asl.style_expr import StyleExpr
from tocsin.model.asl.times import SECOND, format_duration
from tocsin.model.errors import TocsinError, UnavailableError

CHUNK_POINTS = 60
FOLLOWERS_MAX = 64
"""Streams that may stay open at once."""
POLL_S = 2.0
HEARTBEAT_S = 10.0
SETTLE_MS = 30 * SECOND
"""Published points are taken as complete this long after their minute; heartbeats tell it by the ledger."""
FOLLOWED_POINTS_MAX = 1_440
"""A followed range starts to slide once it is this long."""


def _event(item: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(item) + b"\n\n"


def _message(kind: str, text: str) -> bytes:
    return _event({"type": kind, "message": text})


def add_routes(routes: APIRouter, deps: QueryDeps) -> None:
    """Add the route."""
    followers: set[object] = set()

    @routes.get("/api/v2/fetch", summary="Evaluate an expression into a stream of events")
    def fetch(request: Request) -> StreamingResponse:
        params = request.query_params
        wanted = graph_request(params)
        exprs = parse_exprs(wanted, deps.interpreter)
        grid = make_grid(wanted, deps.source.primary_step_ms, deps.now_ms(), cap_width=False)
        stream = _Stream(deps, exprs, grid)
        if params.get("follow") != "1":
            return StreamingResponse(stream.once(), media_type="text/event-stream")
        if len(followers) >= FOLLOWERS_MAX:
            raise UnavailableError(
                f"following '{wanted.q}': {FOLLOWERS_MAX} streams are open, the most allowed; close one or ask again"
            )
        return StreamingResponse(stream.follow(followers), media_type="text/event-stream")


@dataclass
class _Stream:
    """One subscription: its expressions over a grid whose end is exclusive."""

    deps: QueryDeps
    exprs: list[StyleExpr]
    grid: Grid
    said: set[str] = field(default_factory=set)

    def once(self) -> Iterator[bytes]:
        """The range, then the end."""
        yield _message("info", "heartbeat")
        yield from self._range()
        yield _message("close", "operation complete")

    def _range(self) -> Iterator[bytes]:
        try:
            loaded, results = self._evaluate(self.grid)
            yield from self._notices(loaded)
            for first, last in _chunks(self.grid):
                for styled, lines in results:
                    yield from _items(styled, lines, self.grid, first, last)
        except TocsinError as error:
            yield _message("error", str(error))

    def _notices(self, loaded: Loaded) -> Iterator[bytes]:
        for notice in loaded.notices:
            if notice not in self.said:
                self.said.add(notice)
                yield _message("info", notice)

    def _evaluate(self, grid: Grid) -> tuple[Loaded, list[tuple[StyleExpr, Lines]]]:
        context = EvalContext(grid.start_ms, grid.end_ms, grid.step_ms, self.deps.now_ms())
        loaded = load([e.expr for e in self.exprs], context, self.deps.source, self.deps.limits)
        return loaded, [(styled, styled.expr.eval(loaded.context)) for styled in self.exprs]

    async def follow(self, followers: set[object]) -> AsyncIterator[bytes]:
        """The range, then every point as it becomes complete, until the reader goes."""
        followers.add(self)
        try:
            for chunk in await run_in_threadpool(lambda: [_message("info", "heartbeat"), *self._range()]):
                yield chunk
            sent_ms, quiet_s = self.grid.end_ms, 0.0
            while True:
                await self.deps.wait(POLL_S)
                quiet_s += POLL_S
                chunks, sent_ms = await run_in_threadpool(self._since, sent_ms)
                for chunk in chunks:
                    yield chunk
                if chunks or quiet_s >= HEARTBEAT_S:
                    quiet_s = 0.0
                    yield _message("info", "heartbeat")
        finally:
            followers.discard(self)

    def __hash__(self) -> int:
        return id(self)

    def _since(self, sent_ms: int) -> tuple[list[bytes], int]:
        """Events of points from `sent_ms` on that are complete, and the first point that is not."""
        step = self.grid.step_ms
        settled = (self.deps.now_ms() - SETTLE_MS) // step * step + step
        if settled <= sent_ms:
            return [], sent_ms
        start = max(self.grid.start_ms, settled - FOLLOWED_POINTS_MAX * step)
        grid = Grid(start, settled, step, self.grid.zone)
        try:
            loaded, results = self._evaluate(grid)
        except TocsinError as error:
            return [_message("error", str(error))], sent_ms
        end = settled
        if loaded.incomplete_from_ms is not None:
            end = min(end, -(-loaded.incomplete_from_ms // step) * step)
        first, last = (max(sent_ms, start) - start) // step, (end - start) // step
        if last <= first:
            return [], sent_ms
        return [item for styled, lines in results for item in _items(styled, lines, grid, first, last)], end


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
