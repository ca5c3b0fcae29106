"""`GET /v1/dictionary`: what the tables, columns, metrics, tags and cubes of this installation mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter

from tocsin.model.cubes import Cube
from tocsin.model.dictionary import Dictionary, dictionary


def add_routes(routes: APIRouter, cubes: Sequence[Cube], keep_days: Mapping[str, int]) -> None:
    """Add the route."""
    found = dictionary(cubes, keep_days)

    @routes.get("/v1/dictionary", summary="Tables, columns, metrics, tags and cubes")
    def data_dictionary() -> Dictionary:
        return found
