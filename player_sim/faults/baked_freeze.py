"""A frozen picture was encoded into one stream: players show every frame on time and report nothing.

Only somebody who decodes the stream can find it; the fault is here for its row in the truth file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault


@dataclass(frozen=True, kw_only=True)
class BakedFreeze(Fault):
    """The picture of the cohort's stream stands still in [at_ms, at_ms + length_ms) of its media time."""

    kind: ClassVar[str] = "baked_freeze"

    at_ms: int = 30_000
    length_ms: int = 4_000

    def details(self) -> Mapping[str, Any]:
        """Where the picture stands still."""
        return {"at_ms": self.at_ms, "length_ms": self.length_ms}


FAULT = BakedFreeze
