"""A CDN is out: plays fail to start, running ones lose requests and break off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault, Mask
from player_sim.layout import Records


@dataclass(frozen=True, kw_only=True)
class StartFailures(Fault):
    """`share` of the cohort's plays fail to start; its requests fail as often, and its fatal errors rise with that."""

    kind: ClassVar[str] = "start_failures"
    metric: ClassVar[str] = "qoe.start_failure"

    share: float = 0.5

    def change(self, modifiers: Records, hit: Mask, strength: float) -> None:
        """Fail."""
        share = self.share * strength
        modifiers["start_failure"][hit] += share
        modifiers["request_failure"][hit] += share * 0.5
        modifiers["fatal_rate"][hit] *= 1 + 40 * share

    def details(self) -> Mapping[str, Any]:
        """Its strength."""
        return {"share": self.share}


FAULT = StartFailures
