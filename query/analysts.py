"""The routes for analysts, which read the store's tables as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fastapi import APIRouter

from query import dictionary_api, sessions_api, sql_api
from query.errors import ErrorRoute
from tocsin.adapters.store.port import Store
from tocsin.model.cubes import Cube


def router(store: Store, cubes: Sequence[Cube], keep_days: Mapping[str, int], now_ms: Callable[[], int]) -> APIRouter:
    """All of them; `cubes` and `keep_days` are the installation's, `now_ms` its time in epoch ms."""
    routes = APIRouter(route_class=ErrorRoute, tags=["analysts"])
    sql_api.add_routes(routes, store)
    dictionary_api.add_routes(routes, cubes, keep_days)
    sessions_api.add_routes(routes, store, now_ms)
    return routes
