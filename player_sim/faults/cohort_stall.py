"""A cohort begins to stall: more stalls and longer ones, at once or on a ramp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault, Mask
from player_sim.layout import Records


@dataclass(frozen=True, kw_only=True)
class CohortStall(Fault):
    """Stall rate times `factor` and stall length times `length_factor`."""

    kind: ClassVar[str] = "cohort_stall"
    metric: ClassVar[str] = "qoe.rebuffer.ratio"

    factor: float = 8.0
    length_factor: float = 2.0

    def change(self, modifiers: Records, hit: Mask, strength: float) -> None:
        """Stall more."""
        modifiers["stall_rate"][hit] *= 1 + (self.factor - 1) * strength
        modifiers["stall_length"][hit] *= 1 + (self.length_factor - 1) * strength

    def details(self) -> Mapping[str, Any]:
        """Its strength."""
        return {"factor": self.factor, "length_factor": self.length_factor}


FAULT = CohortStall
