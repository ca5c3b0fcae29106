"""The routes for analysts, which read the store's tables as they are."""

from __future__ import annotations

from fastapi import APIRouter

from query import sql_api
from query.errors import ErrorRoute
from tocsin.adapters.store.port import Store


def router(store: Store) -> APIRouter:
    """All of them."""
    routes = APIRouter(route_class=ErrorRoute, tags=["analysts"])
    sql_api.add_routes(routes, store)
    return routes
