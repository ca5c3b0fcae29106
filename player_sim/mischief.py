"""What lines do to heartbeats on the way: some arrive twice, some late. Seeded, so that a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass

from player_sim.wire import Envelope


@dataclass(frozen=True, slots=True)
class MischiefSettings:
    """Shares of the envelopes that are sent twice, and that are held back for `late_ms`."""

    twice_share: float = 0.0
    late_share: float = 0.0
    late_ms: int = 60_000


class Mischief:
    """Decides envelope by envelope; holds back late ones until their time."""

    def __init__(self, settings: MischiefSettings, seed: int) -> None:
        self._settings = settings
        self._random = random.Random(seed)
        self._held: list[tuple[int, Envelope]] = []
        self.twice = 0
        self.late = 0

    def pass_on(self, envelope: Envelope, now_ms: int) -> list[Envelope]:
        """What goes out now in place of `envelope`: nothing, itself, or itself twice."""
        if self._random.random() < self._settings.late_share:
            self._held.append((now_ms + self._settings.late_ms, envelope))
            self.late += 1
            return []
        if self._random.random() < self._settings.twice_share:
            self.twice += 1
            return [envelope, envelope]
        return [envelope]

    def due(self, now_ms: int) -> list[Envelope]:
        """Envelopes held back until now; all of them where `now_ms` is past everything."""
        due = [envelope for at_ms, envelope in self._held if at_ms <= now_ms]
        self._held = [(at_ms, envelope) for at_ms, envelope in self._held if at_ms > now_ms]
        return due
