"""The routes for analysts, which read the store's tables as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter

from query import dictionary_api, sql_api
from query.errors import ErrorRoute
from tocsin.adapters.store.port import Store
from tocsin.model.cubes import DEFAULT_CUBES, Cube


def router(
    store: Store, cubes: Sequence[Cube] = DEFAULT_CUBES, keep_days: Mapping[str, int] | None = None
) -> APIRouter:
    """All of them; `cubes` and `keep_days` are the installation's, for its dictionary."""
    routes = APIRouter(route_class=ErrorRoute, tags=["analysts"])
    sql_api.add_routes(routes, store)
    dictionary_api.add_routes(routes, cubes, keep_days or {})
    return routes
