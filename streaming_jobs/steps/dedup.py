"""Step (b): count each heartbeat once. The key is (session, seq, minute of ts_ms as sent).

A u64 bitmap for each session and minute holds the seqs seen, at bit `seq & 63`: the schema allows at most 64
heartbeats of a session a minute, with no gaps in seq, so the 64 seqs of a minute never meet. (A sender that breaks
this limit has its surplus counted as duplicates.)

Bitmaps live in the slot of the minute that the heartbeat counts in, so that they expire with it. Where the gateway
shifted the clock, that is not the minute as sent, and copies of one heartbeat may be shifted to different minutes:
such heartbeats are kept in a chain a session, by both minutes, and all open ones are looked at.
"""

from __future__ import annotations

import numpy as np

from streaming_jobs.steps.arrays import Bools, Int32s, Int64s, UInt64s, grown
from tocsin.model.compiled import compiled

_FIRST_ODD = 256


@compiled
def _mark(
    sessions: Int64s, slots: Int64s, minutes: Int64s, sent_minutes: Int64s, sent_slots: Int64s, seqs: Int64s,
    open_from: Int64s, bits: UInt64s, head: Int32s, odd: Int64s, odd_bits: UInt64s, used: int, unique: Bools,
) -> int:  # fmt: skip
    """`odd`: rows (session, sent minute, minute, next). Fills `unique`; returns how many odd rows are used."""
    for i in range(len(sessions)):
        session, sent, minute = sessions[i], sent_minutes[i], minutes[i]
        bit = np.uint64(1) << np.uint64(seqs[i] & 63)
        home = sent_slots[i]
        if home >= 0 and sent >= open_from[i] and bits[home, session] & bit:
            continue
        seen, mine, at = False, -1, head[session]
        while at >= 0:
            if odd[at, 1] == sent and odd[at, 2] >= open_from[i]:
                if odd_bits[at] & bit:
                    seen = True
                    break
                if odd[at, 2] == minute:
                    mine = at
            at = odd[at, 3]
        if seen:
            continue
        unique[i] = True
        if minute == sent:
            bits[slots[i], session] |= bit
            continue
        if mine < 0:
            mine = used
            odd[mine, 0], odd[mine, 1], odd[mine, 2], odd[mine, 3] = session, sent, minute, head[session]
            odd_bits[mine] = np.uint64(0)
            head[session] = mine
            used += 1
        odd_bits[mine] |= bit
    return used


class Dedup:
    """What has been seen in the minutes that are open."""

    def __init__(self) -> None:
        self._bits: UInt64s = np.zeros((0, 0), np.uint64)
        self._head: Int32s = np.zeros(0, np.int32)
        self._odd: Int64s = np.zeros((_FIRST_ODD, 4), np.int64)
        self._odd_bits: UInt64s = np.zeros(_FIRST_ODD, np.uint64)
        self._used = 0

    def fit(self, sessions: int, slots: int) -> None:
        """Make room."""
        if self._bits.shape != (slots, sessions):
            self._bits = grown(self._bits, (slots, sessions), 0)
            self._head = grown(self._head, (sessions,), -1)

    def expire(self, slots: list[int], oldest_minute: int) -> None:
        """Forget the minutes of `slots`, which are those before `oldest_minute`."""
        self._bits[slots] = 0
        kept = np.flatnonzero(self._odd[: self._used, 2] >= oldest_minute)
        if len(kept) == self._used:
            return
        self._head[self._odd[: self._used, 0]] = -1
        self._odd[: len(kept)] = self._odd[kept]
        self._odd_bits[: len(kept)] = self._odd_bits[kept]
        self._used = len(kept)
        for row, session in enumerate(self._odd[: self._used, 0].tolist()):
            self._odd[row, 3] = self._head[session]
            self._head[session] = row

    def unique(
        self, sessions: Int64s, slots: Int64s, minutes: Int64s, sent_minutes: Int64s, sent_slots: Int64s,
        seqs: Int64s, open_from: Int64s,
    ) -> Bools:  # fmt: skip
        """Which heartbeats (in time, in log order) are seen for the first time: shape (n,)."""
        shifted = int(np.count_nonzero(minutes != sent_minutes))
        if self._used + shifted > len(self._odd):
            capacity = 2 * (self._used + shifted)
            self._odd = grown(self._odd, (capacity, 4), 0)
            self._odd_bits = grown(self._odd_bits, (capacity,), 0)
        unique = np.zeros(len(sessions), np.bool_)
        self._used = _mark(
            sessions, slots, minutes, sent_minutes, sent_slots, seqs, open_from,
            self._bits, self._head, self._odd, self._odd_bits, self._used, unique,
        )  # fmt: skip
        return unique
