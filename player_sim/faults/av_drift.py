"""A cohort's picture runs late against its sound, as after a faulty app release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault, Mask
from player_sim.layout import Records


@dataclass(frozen=True, kw_only=True)
class AvDrift(Fault):
    """The A/V offset moves by `shift_ms` (negative: the picture is late)."""

    kind: ClassVar[str] = "av_drift"
    metric: ClassVar[str] = "qoe.av_offset"

    shift_ms: float = -120.0

    def change(self, modifiers: Records, hit: Mask, strength: float) -> None:
        """Drift apart."""
        modifiers["av_shift_ms"][hit] += self.shift_ms * strength

    def details(self) -> Mapping[str, Any]:
        """Its strength."""
        return {"shift_ms": self.shift_ms}


FAULT = AvDrift
