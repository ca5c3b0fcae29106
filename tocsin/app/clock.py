"""The clock that every part is given: real time, or a demonstration's, which a conductor sets in a file.

A demonstration needs an hour of an audience in two minutes, on machines of any speed. Its clock is a number in a small
file that all processes of the run map into memory; whoever conducts the run moves it on, as fast as the line keeps up.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
from pathlib import Path
from typing import Protocol

_FORMAT = struct.Struct("<q")
POLL_S = 0.01
"""How often a waiter looks at a conducted clock: a quarter of a second of its time at 25 times real time."""


class Clock(Protocol):
    """Epoch milliseconds, and waiting for a time."""

    def now_ms(self) -> int:
        """The time as every part of Tocsin sees it."""
        ...

    def wait_until(self, until_ms: int, stop: threading.Event) -> bool:
        """Sleep until the clock shows `until_ms` or `stop` is set; true where the time was reached."""
        ...


class RealClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def wait_until(self, until_ms: int, stop: threading.Event) -> bool:
        """Sleep in steps, so that a step of the machine's clock is noticed."""
        while (left_ms := until_ms - self.now_ms()) > 0:
            if stop.wait(min(left_ms / 1000, 1.0)):
                return False
        return True


class ConductedClock:
    """A clock in a file; `set_ms` is for the one who conducts, everybody else reads."""

    def __init__(self, path: Path, start_ms: int | None = None) -> None:
        if start_ms is not None:
            path.write_bytes(_FORMAT.pack(start_ms))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORMAT.size)

    def now_ms(self) -> int:
        """What the conductor last set."""
        return int(_FORMAT.unpack_from(self._memory)[0])

    def set_ms(self, now_ms: int) -> None:
        """Move the clock on; it never goes back."""
        if now_ms > self.now_ms():
            _FORMAT.pack_into(self._memory, 0, now_ms)

    def wait_until(self, until_ms: int, stop: threading.Event) -> bool:
        """Look again and again: only the conductor knows when it will be that late."""
        while self.now_ms() < until_ms:
            if stop.wait(POLL_S):
                return False
        return True
