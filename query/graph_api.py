"""`GET /api/v1/graph`: an expression over a range as JSON, CSV, text or an image."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from query.deps import QueryDeps
from query.formats import FORMATS
from query.params import graph_request, look, unknown_format
from tocsin.model.asl.graph import draw


def add_routes(routes: APIRouter, deps: QueryDeps) -> None:
    """Add the route."""

    @routes.get("/api/v1/graph", summary="Evaluate an expression and write it in a format")
    def graph(request: Request) -> Response:
        params = request.query_params
        name = params.get("format", "png")
        wanted = graph_request(params)
        shown = look(params)
        result = draw(wanted, deps.interpreter, deps.source, deps.now_ms(), deps.limits)
        if name not in FORMATS:
            raise unknown_format(name, tuple(FORMATS))
        chosen = FORMATS[name]
        return Response(chosen.write(result, wanted, shown), media_type=chosen.content_type)
