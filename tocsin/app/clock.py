"""The clock that every part is given: real time, or a scaled clock that catches up with it.

A demonstration needs an hour of an audience in two minutes. The scaled clock starts `behind_s` before real time, runs
`rate` times as fast, and is real time from the moment it has caught up. All processes of one run share its anchor.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Epoch milliseconds; `anchor_ms` is the real time at which a scaled clock started."""

    rate: float = 1.0
    behind_ms: int = 0
    anchor_ms: int = 0

    def now_ms(self) -> int:
        """The time as every part of Tocsin sees it."""
        real_ms = time.time_ns() // 1_000_000
        if self.rate == 1.0:
            return real_ms
        return min(real_ms, self.anchor_ms - self.behind_ms + int((real_ms - self.anchor_ms) * self.rate))

    @property
    def caught_up_ms(self) -> int:
        """Real time at which the clock is real time again."""
        if self.rate <= 1.0:
            return self.anchor_ms
        return self.anchor_ms + int(self.behind_ms / (self.rate - 1.0))

    def real_s(self, until_ms: int) -> float:
        """Real seconds until the clock shows `until_ms`; 0 where that has passed."""
        now = self.now_ms()
        if until_ms <= now:
            return 0.0
        if self.rate == 1.0:
            return (until_ms - now) / 1000
        real_ms = time.time_ns() // 1_000_000
        scaled = (until_ms - now) / self.rate
        ahead = until_ms - real_ms
        return max(scaled, float(ahead)) / 1000

    def wait_until(self, until_ms: int, stop: threading.Event) -> bool:
        """Sleep until the clock shows `until_ms` or `stop` is set; true where the time was reached."""
        while (left_s := self.real_s(until_ms)) > 0:
            if stop.wait(min(left_s, 1.0)):
                return False
        return True


def starting_now(rate: float, behind_s: float) -> Clock:
    """A clock that starts `behind_s` before now and catches up at `rate`; rate 1 is real time."""
    if rate <= 1.0:
        return Clock()
    return Clock(rate, int(behind_s * 1000), time.time_ns() // 1_000_000)
