"""The query stage's routes: graph, fetch, tags and expr, as Netflix Atlas answers them."""

from __future__ import annotations

from fastapi import APIRouter

from query import explain_api, expr_api, fetch_api, graph_api, tags_api
from query.deps import QueryDeps
from query.errors import ErrorRoute
from query.explain_api import Explainer


def router(deps: QueryDeps, explainer: Explainer | None = None) -> APIRouter:
    """All routes of the query stage; without an explainer points are not explained."""
    routes = APIRouter(route_class=ErrorRoute, tags=["query"])
    graph_api.add_routes(routes, deps)
    fetch_api.add_routes(routes, deps)
    tags_api.add_routes(routes, deps)
    expr_api.add_routes(routes, deps)
    if explainer is not None:
        explain_api.add_routes(routes, deps, explainer)
    return routes
