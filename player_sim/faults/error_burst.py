"""A cohort's players report errors that they survive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault, Mask
from player_sim.layout import Records


@dataclass(frozen=True, kw_only=True)
class ErrorBurst(Fault):
    """Errors `factor` times as often, failed requests with them."""

    kind: ClassVar[str] = "error_burst"
    metric: ClassVar[str] = "qoe.errors"

    factor: float = 30.0

    def change(self, modifiers: Records, hit: Mask, strength: float) -> None:
        """Report more errors."""
        modifiers["error_rate"][hit] *= 1 + (self.factor - 1) * strength
        modifiers["request_failure"][hit] += 0.02 * strength

    def details(self) -> Mapping[str, Any]:
        """Its strength."""
        return {"factor": self.factor}


FAULT = ErrorBurst
