"""A source that shows a caller only what is theirs.

A token may be bound to a tenant: tags that every heartbeat and published series must have, as `cdn=b` for a CDN that
may see its own share, or `app=kids-2.1`. They are and-ed into every query at the source, below the language, so no
expression reaches around them. Which tenant holds stands in the request's context, which threads and streams inherit.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Protocol

from tocsin.model.asl.query_expr import Equal, Query
from tocsin.model.asl.source import Fetched, FetchRequest, SeriesSource, TagSource

TENANT: ContextVar[Mapping[str, str]] = ContextVar("tenant", default={})  # noqa: B039  it is never changed
"""Tags of the caller's tenant; empty: everything."""


def restricted(query: Query) -> Query:
    """A query with the conditions of the caller's tenant."""
    conditions = (Equal(key, value) for key, value in sorted(TENANT.get().items()))
    return functools.reduce(Query.and_, conditions, query)


class FullSource(SeriesSource, TagSource, Protocol):
    """Lines and tags."""


class TenantSource:
    """`SeriesSource` and `TagSource` over another, restricted to the caller's tenant."""

    def __init__(self, source: FullSource) -> None:
        self._source = source

    @property
    def primary_step_ms(self) -> int:
        """Distance of the points as they are stored."""
        return self._source.primary_step_ms

    def fetch(self, request: FetchRequest) -> Fetched:
        """Answer one data expression over what is the tenant's."""
        return self._source.fetch(dataclasses.replace(request, query=restricted(request.query)))

    def keys(self, query: Query, after: str, limit: int) -> Sequence[str]:
        """Keys of matching series, sorted, those after `after`."""
        return self._source.keys(restricted(query), after, limit)

    def values(self, query: Query, key: str, after: str, limit: int) -> Sequence[str]:
        """Values of one key of matching series, sorted, those after `after`."""
        return self._source.values(restricted(query), key, after, limit)

    def tags(self, query: Query, key: str | None, limit: int) -> Sequence[tuple[str, str, int]]:
        """Key, value and how many matching series have them."""
        return self._source.tags(restricted(query), key, limit)
