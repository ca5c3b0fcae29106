"""Step (e): how many heartbeats the sequence numbers say were sent: rises of (largest seq + 1) of a session.

The largest seq is taken over the minutes that are open, so it is a function of the log's last W. A session seen for
the first time at seq s counts s + 1 where s is below 64, the most that one minute can hold; above, its beginning is
taken to lie before the horizon and not to be lost.
"""

from __future__ import annotations

import numpy as np

from streaming_jobs.steps.arrays import Int32s, Int64s, grown
from tocsin.model.compiled import compiled
from tocsin.model.heartbeat import SEQ_PER_MINUTE_MAX


@compiled
def _rises(
    sessions: Int64s, slots: Int64s, seqs: Int64s, open_from: Int64s, minute_of_slot: Int64s, top: Int32s,
    unseen_max: int, rises: Int64s,
) -> None:  # fmt: skip
    for i in range(len(sessions)):
        session, seq = sessions[i], seqs[i]
        largest = -1
        for slot in range(len(minute_of_slot)):
            if top[session, slot] > largest and minute_of_slot[slot] >= open_from[i]:
                largest = top[session, slot]
        if seq > largest:
            rises[i] = seq - largest if largest >= 0 or seq < unseen_max else 1
        if seq > top[session, slots[i]]:
            top[session, slots[i]] = seq


class Expected:
    """Largest seq of each session and open minute."""

    def __init__(self) -> None:
        self._top: Int32s = np.zeros((0, 0), np.int32)

    def fit(self, sessions: int, slots: int) -> None:
        """Make room."""
        if self._top.shape != (sessions, slots):
            self._top = grown(self._top, (sessions, slots), -1)

    def expire(self, slots: list[int]) -> None:
        """Forget the minutes of `slots`."""
        self._top[:, slots] = -1

    def rises(self, sessions: Int64s, slots: Int64s, seqs: Int64s, open_from: Int64s, minute_of_slot: Int64s) -> Int64s:
        """What each unique heartbeat, in log order, adds to `expected`: shape (n,)."""
        rises = np.zeros(len(sessions), np.int64)
        _rises(sessions, slots, seqs, open_from, minute_of_slot, self._top, SEQ_PER_MINUTE_MAX, rises)
        return rises
