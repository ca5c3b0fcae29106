"""Step (f): sessions that fall silent have ended; if they come back, the end is taken back.

A session is active at the append time of its last unique, in-time heartbeat. At the end of each bucket, sessions whose
last activity lies `timeout_ms` or more before the bucket's last append time end with outcome `timeout`, in the minute
of (last activity + timeout_ms), under the tags and sample_k of the last activity. A later heartbeat takes that back
with −1 in the same minute, while that minute is open; after that the time-out stands.

A session that ended by outcome does not time out, and stragglers with a smaller seq than the outcome's are no
activity; a heartbeat with a larger seq means that it went on. A session is remembered while its last activity is not
older than W before the previous bucket's end, so all of this is a function of the log's last W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streaming_jobs.steps.arrays import Int64s, grown
from streaming_jobs.steps.settings import MINUTE_MS, CountingSettings
from tocsin.model.compiled import compiled

_LAST, _HELD, _ENDED_SEQ, _TIMED_OUT, _TAG_SET, _SAMPLE_K = range(6)
_NEVER = -(2**62)
_EMPTY: Int64s = np.array([_NEVER, _NEVER, -1, -1, -1, 1], np.int64)


@dataclass(frozen=True, slots=True)
class Endings:
    """Sessions that timed out (sign 1) or came back (sign -1): parallel arrays of shape (m,)."""

    sessions: Int64s
    tag_sets: Int64s
    sample_k: Int64s
    minutes: Int64s
    signs: Int64s


@compiled
def _observe(
    sessions: Int64s, append_ms: Int64s, seqs: Int64s, outcomes: Int64s, tag_sets: Int64s, sample_k: Int64s,
    open_from: Int64s, remembered_from: int, state: Int64s, back: Int64s,
) -> int:  # fmt: skip
    """Fills `back` with rows (session, tag set, sample_k, minute) of sessions that came back; returns how many."""
    n_back = 0
    for i in range(len(sessions)):
        row = state[sessions[i]]
        row[_HELD] = max(row[_HELD], append_ms[i])
        if row[_LAST] < remembered_from:
            row[_ENDED_SEQ] = -1
            row[_TIMED_OUT] = -1
        elif seqs[i] < row[_ENDED_SEQ]:
            continue
        if row[_TIMED_OUT] >= open_from[i]:
            back[n_back, 0], back[n_back, 1], back[n_back, 2] = sessions[i], row[_TAG_SET], row[_SAMPLE_K]
            back[n_back, 3] = row[_TIMED_OUT]
            n_back += 1
        row[_LAST] = append_ms[i]
        row[_ENDED_SEQ] = seqs[i] if outcomes[i] > 0 else -1
        row[_TIMED_OUT] = -1
        row[_TAG_SET] = tag_sets[i]
        row[_SAMPLE_K] = sample_k[i]
    return n_back


class Timeouts:
    """Last activity of each session."""

    def __init__(self, settings: CountingSettings) -> None:
        self._settings = settings
        self._state: Int64s = np.zeros((0, len(_EMPTY)), np.int64)
        self._previous_end_ms = _NEVER

    def fit(self, sessions: int) -> None:
        """Make room."""
        used = len(self._state)
        if used != sessions:
            self._state = grown(self._state, (sessions, len(_EMPTY)), 0)
            self._state[used:] = _EMPTY

    def observe(
        self, sessions: Int64s, append_ms: Int64s, seqs: Int64s, outcomes: Int64s, tag_sets: Int64s,
        sample_k: Int64s, open_from: Int64s,
    ) -> Endings:  # fmt: skip
        """Take unique heartbeats, in log order; returns the sessions that came back."""
        back = np.empty((len(sessions), 4), np.int64)
        remembered_from = self._previous_end_ms - self._settings.horizon_ms
        count = _observe(
            sessions, append_ms, seqs, outcomes, tag_sets, sample_k, open_from, remembered_from, self._state, back
        )
        returned, tag_set, weight, minute = (column.copy() for column in back[:count].T)
        return Endings(returned, tag_set, weight, minute, np.full(count, -1, np.int64))

    def end_of_bucket(self, end_ms: int) -> Endings:
        """The sessions that have timed out by the bucket's last append time."""
        self._previous_end_ms = end_ms
        state, timeout_ms = self._state, self._settings.timeout_ms
        silent = (state[:, _LAST] + timeout_ms <= end_ms) & (state[:, _LAST] != _NEVER)
        silent &= (state[:, _TIMED_OUT] < 0) & (state[:, _ENDED_SEQ] < 0)
        sessions = np.flatnonzero(silent)
        minutes = (state[sessions, _LAST] + timeout_ms) // MINUTE_MS
        state[sessions, _TIMED_OUT] = minutes
        return Endings(
            sessions, state[sessions, _TAG_SET], state[sessions, _SAMPLE_K], minutes,
            np.ones(len(sessions), np.int64),
        )  # fmt: skip

    def forgotten(self, clock_ms: int) -> Int64s:
        """Free sessions that no state can refer to any more; returns their numbers."""
        settings = self._settings
        kept_ms = settings.horizon_ms + settings.slack_ms + settings.bucket_ms
        held = self._state[:, _HELD]
        sessions = np.flatnonzero((held != _NEVER) & (held < clock_ms - kept_ms))
        self._state[sessions] = _EMPTY
        return sessions

    def tag_sets_used(self) -> Int64s:
        """Tag sets of the sessions that are remembered, with repeats."""
        tag_sets = self._state[:, _TAG_SET]
        return tag_sets[tag_sets >= 0]

    def renumber(self, new_tag_set: Int64s) -> None:
        """Replace each tag set by `new_tag_set[tag set]`."""
        used = np.flatnonzero(self._state[:, _TAG_SET] >= 0)
        self._state[used, _TAG_SET] = new_tag_set[self._state[used, _TAG_SET]]
