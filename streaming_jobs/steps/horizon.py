"""The minutes that state is kept for, each in a dense slot; minutes expire by append time exactly.

A heartbeat of minute m is appended between m's start − F and m's end + L, or else it is from the future or late. So
all that was ever counted in a minute that is still open lies in the log's last W = L + 1 min + F: a restart that reads
that much knows as much as a process that never stopped. Slots are freed S (and a bucket) later than they could be, for
a log whose clock steps back; whoever asks about a minute checks by itself that it is still open.
"""

from __future__ import annotations

import numpy as np

from streaming_jobs.steps.arrays import Int64s
from streaming_jobs.steps.settings import MINUTE_MS, CountingSettings


class Slots:
    """Minute (epoch minutes) to slot; at most about W / 1 min slots are in use."""

    def __init__(self, settings: CountingSettings) -> None:
        self._kept_ms = settings.lateness_ms + settings.slack_ms + settings.bucket_ms
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self.capacity = (settings.horizon_ms + settings.slack_ms + settings.bucket_ms) // MINUTE_MS + 2

    def expired(self, clock_ms: int) -> list[int]:
        """Free the slots of minutes that no message can count in any more; returns the slots."""
        oldest = self.oldest(clock_ms)
        gone = [minute for minute in self._slot_of if minute < oldest]
        slots = [self._slot_of.pop(minute) for minute in gone]
        self._free += slots
        return slots

    def oldest(self, clock_ms: int) -> int:
        """The oldest minute that is kept."""
        return (clock_ms - self._kept_ms) // MINUTE_MS

    def take(self, minutes: Int64s) -> Int64s:
        """The slot of each minute, giving one to minutes that have none: shape (n,)."""
        if not len(minutes):
            return minutes
        low = int(minutes.min())
        present = np.flatnonzero(np.bincount(minutes - low))
        for minute in (present + low).tolist():
            if minute not in self._slot_of:
                self._slot_of[minute] = self._free.pop() if self._free else len(self._slot_of)
        self.capacity = max(self.capacity, len(self._slot_of) + len(self._free))
        return self.find(minutes)

    def find(self, minutes: Int64s) -> Int64s:
        """The slot of each minute, -1 where it has none: shape (n,)."""
        if not self._slot_of:
            return np.full(len(minutes), -1, np.int64)
        low, high = min(self._slot_of), max(self._slot_of)
        table = np.full(high - low + 3, -1, np.int64)
        for minute, slot in self._slot_of.items():
            table[minute - low + 1] = slot
        return table[np.clip(minutes - low + 1, 0, high - low + 2)]

    def minute_of_slot(self) -> Int64s:
        """The minute of each slot, a very old one where the slot is free: shape (capacity,)."""
        minutes = np.full(self.capacity, -(2**62), np.int64)
        for minute, slot in self._slot_of.items():
            minutes[slot] = minute
        return minutes
