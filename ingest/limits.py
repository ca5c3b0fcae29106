"""Token buckets, bounded in memory: by key and network as a small table, by session as one array.

Written as the generic cell rate algorithm: a bucket is one number, the time at which it is full again, so that a
check is a comparison and idle buckets need no clearing (ITU-T I.371, annex A).
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from ingest.settings import Rates

SESSION_SLOTS = 2**18
"""Session buckets; sessions that share one share its rate, which at 2/s against 0.1/s sent leaves room for many."""
_ROUNDING_S = 1e-6


class Buckets:
    """Buckets by name, the least recently used forgotten beyond `entries` (a forgotten one starts full)."""

    def __init__(self, per_s: float, burst: float, entries: int) -> None:
        self._per_s = per_s
        self._burst_s = burst / per_s
        self._entries = entries
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, name: str, tokens: int, now_s: float) -> float:
        """Take `tokens` and return 0, or take none and return after how many seconds there are enough."""
        # What is larger than the bucket fits a full one.
        full_at = max(self._full_at_s.get(name, 0.0), now_s) + min(tokens / self._per_s, self._burst_s)
        wait_s = full_at - now_s - self._burst_s
        if wait_s > 0:
            return wait_s
        self._full_at_s[name] = full_at
        self._full_at_s.move_to_end(name)
        if len(self._full_at_s) > self._entries:
            self._full_at_s.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        return len(self._full_at_s)


class SessionBuckets:
    """One bucket a session, by hash, for whole columns of heartbeats."""

    def __init__(self, rates: Rates) -> None:
        self._step_s = 1 / rates.session_events_per_s
        self._burst_s = rates.session_burst_events * self._step_s
        self._full_at_s = np.zeros(SESSION_SLOTS, np.float64)

    def over(
        self, hashes: npt.NDArray[np.uint64], limited: npt.NDArray[np.bool_], now_s: float
    ) -> npt.NDArray[np.bool_]:
        """Which heartbeats (shape (n,)) are more than their session may send; those not `limited` never are."""
        rows = np.flatnonzero(limited)
        slots = (hashes[rows] % np.uint64(SESSION_SLOTS)).astype(np.int64)
        full_at = np.maximum(self._full_at_s[slots], now_s)
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        nth = np.empty(len(rows), np.int64)
        nth[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)])) + 1
        after = full_at + nth * self._step_s
        refused = after - now_s > self._burst_s + _ROUNDING_S
        taken = ~refused
        np.maximum.at(self._full_at_s, slots[taken], after[taken])
        result = np.zeros(len(hashes), np.bool_)
        result[rows[refused]] = True
        return result
