"""`GET /api/v1/graph`: an expression over a range as JSON, CSV, text or an image.

Browsers show no body of an error where they expect an image: to them errors of an expression come as a picture, with
status 200 as the original answers them.
"""

from __future__ import annotations

import re

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from query.chart_error import draw_error
from query.deps import QueryDeps
from query.formats import FORMATS
from query.params import Look, graph_request, look, unknown_format
from query.presentation import presented
from tocsin.model.asl.graph import GraphRequest, draw
from tocsin.model.errors import TocsinError

_BROWSER = re.compile("mozilla|msie|gecko|chrome|opera|webkit", re.IGNORECASE)
_IMAGE = "png"


def add_routes(routes: APIRouter, deps: QueryDeps) -> None:
    """Add the route."""

    @routes.get("/api/v1/graph", summary="Evaluate an expression and write it in a format")
    def graph(request: Request) -> Response:
        params = request.query_params
        name = params.get("format", "png")
        wanted = graph_request(params)
        shown = look(params)
        try:
            return _answer(deps, wanted, shown, name)
        except TocsinError as error:
            if name != _IMAGE or not _BROWSER.search(request.headers.get("user-agent", "")):
                raise
            picture = draw_error(str(error), shown.width, shown.height, shown.theme)
            return Response(picture, media_type=FORMATS[_IMAGE].content_type)


def _answer(deps: QueryDeps, wanted: GraphRequest, shown: Look, name: str) -> Response:
    result = draw(wanted, deps.interpreter, deps.source, deps.now_ms(), deps.limits)
    if name not in FORMATS:
        raise unknown_format(name, tuple(FORMATS))
    body = FORMATS[name].write(presented(result, shown), wanted, shown)
    return Response(body, media_type=FORMATS[name].content_type)
