"""The query stage's routes: graph, fetch, tags and expr, as Netflix Atlas answers them."""

from __future__ import annotations

from fastapi import APIRouter

from query import expr_api, fetch_api, graph_api, tags_api
from query.deps import QueryDeps
from query.errors import ErrorRoute


def router(deps: QueryDeps) -> APIRouter:
    """All routes of the query stage."""
    routes = APIRouter(route_class=ErrorRoute, tags=["query"])
    graph_api.add_routes(routes, deps)
    fetch_api.add_routes(routes, deps)
    tags_api.add_routes(routes, deps)
    expr_api.add_routes(routes, deps)
    return routes
