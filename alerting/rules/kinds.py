"""What a rule kind is: one file in this folder with a `KIND`, found by the registry.

A kind judges either `sums` (arrays over all slices, `judge`) or `points` (the last published points of series,
`judge_points`). `properties` are the JSON Schema of the fields that only this kind has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from alerting.rules.evidence import Evidence, Options, Outcome


@dataclass(frozen=True, slots=True)
class LastPoint:
    """The newest point of one published series."""

    name: str
    tags: Mapping[str, str]
    ts_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What a points kind found: one incident's worth. `items` lists the members, most urgent first."""

    cohort: Mapping[str, str]
    value: float
    limit: float
    since_ms: int
    summary: str
    items: Sequence[Mapping[str, str]] = ()


Judge = Callable[[Evidence, Options], Outcome]
JudgePoints = Callable[[Sequence[LastPoint], Options, int], list[Finding]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A rule kind. `series_of` names the series that `judge_points` wants for a rule's metric."""

    name: str
    doc: str
    judge: Judge | None = None
    judge_points: JudgePoints | None = None
    series_of: Callable[[str], tuple[str, ...]] = lambda metric: (metric,)
    properties: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    tested: bool = False
    """Whether its p is a probability under the budget (week over week), or a fixed confidence (thresholds)."""


Reach = Literal["sums", "points"]
