"""A rendition of one stream lacks some seconds of picture while its sound goes on: its players see it and say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from player_sim.faults.kinds import Fault, Freeze


@dataclass(frozen=True, kw_only=True)
class FrozenRendition(Fault):
    """Whoever plays [at_ms, at_ms + length_ms) of the stream's media time on `rung` (-1: any) reports a frozen picture.

    The stream is the cohort's; in a channel, every lap passes the range.
    """

    kind: ClassVar[str] = "frozen_rendition"
    metric: ClassVar[str] = "qoe.freeze.ratio"

    at_ms: int = 20_000
    length_ms: int = 4_000
    rung: int = 1

    def freeze(self) -> Freeze:
        """The range without picture."""
        return Freeze(self.cohort.as_dict()["stream"], self.at_ms, self.length_ms, self.rung)

    def details(self) -> Mapping[str, Any]:
        """Where the picture is missing."""
        return {"at_ms": self.at_ms, "length_ms": self.length_ms, "rung": self.rung}


FAULT = FrozenRendition
