"""What the query stage is given: where data and tags are read, the clock, the vocabulary and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tocsin.model.asl.source import Limits, SeriesSource, TagSource
from tocsin.model.asl.stack import Interpreter
from tocsin.model.asl.words import TOCSIN


@dataclass(frozen=True)
class QueryDeps:
    """`now_ms` gives the service's time in epoch ms; `wait` passes so many seconds between two looks of a stream."""

    source: SeriesSource
    tags: TagSource
    now_ms: Callable[[], int]
    interpreter: Interpreter = field(default_factory=lambda: Interpreter(TOCSIN))
    limits: Limits = field(default_factory=Limits)
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep
