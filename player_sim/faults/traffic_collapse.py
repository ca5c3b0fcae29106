"""Viewers stay away though nothing fails: the application does not offer the play button, say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault


@dataclass(frozen=True, kw_only=True)
class TrafficCollapse(Fault):
    """Only `share` of the usual plays, of the cohort's title or of everything."""

    kind: ClassVar[str] = "traffic_collapse"
    metric: ClassVar[str] = "qoe.sps"

    share: float = 0.3

    def boost(self) -> tuple[float, str]:
        """Fewer plays."""
        return self.share, self.cohort.as_dict().get("title", "")

    def details(self) -> Mapping[str, Any]:
        """Its strength."""
        return {"share": self.share}


FAULT = TrafficCollapse
