"""A premiere: one title draws many times its usual audience. Nobody should be woken up by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault


@dataclass(frozen=True, kw_only=True)
class Premiere(Fault):
    """`factor` times the usual plays of the cohort's title."""

    kind: ClassVar[str] = "premiere"
    pages: ClassVar[bool] = False

    factor: float = 5.0

    def boost(self) -> tuple[float, str]:
        """More plays of the title."""
        return self.factor, self.cohort.as_dict()["title"]

    def details(self) -> Mapping[str, Any]:
        """Its strength."""
        return {"factor": self.factor}


FAULT = Premiere
