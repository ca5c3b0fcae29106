"""What a fault is: a stretch of time, a cohort, what it does to the sessions in it, and its row in the truth file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from player_sim.audience import World
from player_sim.layout import Records

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Freeze:
    """Media time [at_ms, at_ms + length_ms) of a stream on one rung of its ladder (-1: all)."""

    stream: str
    at_ms: int
    length_ms: int
    rung: int


@dataclass(frozen=True, slots=True)
class Cohort:
    """Sessions whose tags have these values; none given means everybody."""

    tags: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(**tags: str) -> Cohort:
        """`Cohort.of(cdn="cdn-b", device="tv")`."""
        return Cohort(tuple(sorted(tags.items())))

    def mask(self, world: World, records: Records) -> Mask:
        """Which sessions or heartbeats belong to it, shape (n,)."""
        mask = np.ones(len(records), np.bool_)
        for tag, name in self.tags:
            mask &= records[tag] == world.code_of(tag, name)
        return mask

    def as_dict(self) -> dict[str, str]:
        """Tag to value."""
        return dict(self.tags)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault in [start_ms, end_ms), epoch ms.

    `metric` is what it should show in, empty where no player can see it; `pages` says whether a person should be told.
    """

    kind: ClassVar[str] = ""
    metric: ClassVar[str] = ""
    pages: ClassVar[bool] = True

    start_ms: int
    end_ms: int
    cohort: Cohort = Cohort()
    ramp_ms: int = 0
    """Time from onset to full strength."""

    def active(self, now_ms: int) -> bool:
        """Whether it is on at `now_ms`."""
        return self.start_ms <= now_ms < self.end_ms

    def strength(self, now_ms: int) -> float:
        """How much of it has set in at `now_ms`, 0 to 1."""
        return min(1.0, max(0.0, (now_ms - self.start_ms) / self.ramp_ms)) if self.ramp_ms else 1.0

    def change(self, modifiers: Records, hit: Mask, strength: float) -> None:
        """Change `layout.MODIFIER`s where `hit` (shape (n,)), in place; called while active."""

    def boost(self) -> tuple[float, str] | None:
        """How many times the usual plays there are while active, and of which title (empty: all); None for as usual."""
        return None

    def freeze(self) -> Freeze | None:
        """The range of a stream whose picture is missing while active, if any."""
        return None

    def ends_with(self, cdn: str, device: str | None) -> bool:
        """Whether taking all viewers (of one device class, None all) off a CDN ends it."""
        tags = self.cohort.as_dict()
        return tags.get("cdn") == cdn and device in (None, tags.get("device"))

    def details(self) -> Mapping[str, Any]:
        """What else the truth file should say."""
        return {}
