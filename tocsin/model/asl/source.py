"""The one port through which the language reads data, and what any adapter of it may share.

Laws of a source, checked by one suite over the in-memory and the store's adapter:
1. `fetch` answers one data expression: the lines are aggregated and consolidated as the request says, on the grid
   `start_ms, start_ms + step_ms, … end_ms` (both ends included); the value at t covers (t - step_ms, t].
2. Lines come sorted by group; a group without any value in the range is not there; the order of equal requests is the
   same each time.
3. A non-grouped aggregate over nothing gives no line (the evaluator shows "NO DATA").
4. Tags are those that the query fixes by `:eq` and the keys of `by`; all of them for `:all`.
5. More than `Limits` allow is refused with the limit and what would fit, before the work is done where possible.
`aggregate` in `collect.py` gives 1 to 5 to any source that can list matching raw lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tocsin.model.asl.lines import Lines
from tocsin.model.asl.query_expr import Query

Aggregate = Literal["all", "sum", "count", "min", "max"]
Consolidation = Literal["avg", "sum", "min", "max"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one data expression may return."""

    lines: int = 1_024
    datapoints: int = 500_000


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One data expression over one grid; `by` is None where nothing is grouped. Times are epoch ms, ends included."""

    query: Query
    start_ms: int
    end_ms: int
    step_ms: int
    aggregate: Aggregate = "sum"
    by: tuple[str, ...] | None = None
    cf: Consolidation = "avg"
    limits: Limits = field(default_factory=Limits)

    @property
    def points(self) -> int:
        """Points of the grid."""
        return (self.end_ms - self.start_ms) // self.step_ms + 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """Lines, remarks for the reader, and from when on (epoch ms) points are not complete yet, if so."""

    lines: Lines
    notices: tuple[str, ...] = ()
    incomplete_from_ms: int | None = None


class SeriesSource(Protocol):
    """Where the language reads lines."""

    @property
    def primary_step_ms(self) -> int:
        """Distance of the points as they are stored."""
        ...

    def fetch(self, request: FetchRequest) -> Fetched:
        """Answer one data expression."""
        ...


class TagSource(Protocol):
    """Where keys and values of tags are listed."""

    def keys(self, query: Query, after: str, limit: int) -> Sequence[str]:
        """Keys of matching series, sorted, those after `after`."""
        ...

    def values(self, query: Query, key: str, after: str, limit: int) -> Sequence[str]:
        """Values of one key of matching series, sorted, those after `after`."""
        ...

    def tags(self, query: Query, key: str | None, limit: int) -> Sequence[tuple[str, str, int]]:
        """Key, value and how many matching series have them."""
        ...
