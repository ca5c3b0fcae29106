"""A cohort waits longer for the first frame, as after a slow licence server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault, Mask
from player_sim.layout import Records


@dataclass(frozen=True, kw_only=True)
class SlowStart(Fault):
    """Start-up takes `factor` times as long."""

    kind: ClassVar[str] = "slow_start"
    metric: ClassVar[str] = "qoe.startup"

    factor: float = 3.0

    def change(self, modifiers: Records, hit: Mask, strength: float) -> None:
        """Start more slowly."""
        modifiers["startup"][hit] *= 1 + (self.factor - 1) * strength

    def details(self) -> Mapping[str, Any]:
        """Its strength."""
        return {"factor": self.factor}


FAULT = SlowStart
