"""Step (b) for heartbeats that are late or from the future: they are kept raw, and a copy of one is not kept again.

They have no minute to live in. A key (session, seq, minute as sent) is a copy where the same key, likewise not in time,
was appended within the last W. (A late copy of a heartbeat that came in time, or a copy in time of one that came from
the future, is not known for a copy: its first is forgotten, or was never counted.)
"""

from __future__ import annotations

import numpy as np

from streaming_jobs.steps.compiled import Bools, Int64s
from streaming_jobs.steps.settings import CountingSettings

_Key = tuple[str, int, int]


class Stragglers:
    """Append time of the newest copy of each key, oldest first."""

    def __init__(self, settings: CountingSettings) -> None:
        self._horizon_ms = settings.horizon_ms
        self._kept_ms = settings.horizon_ms + settings.slack_ms + settings.bucket_ms
        self._newest: dict[_Key, int] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def expire(self, clock_ms: int) -> None:
        """Forget keys that no message can be a copy of any more."""
        old = []
        for key, append_ms in self._newest.items():
            if append_ms >= clock_ms - self._kept_ms:
                break
            old.append(key)
        for key in old:
            del self._newest[key]

    def unique(self, session_ids: list[str], seqs: Int64s, sent_minutes: Int64s, append_ms: Int64s) -> Bools:
        """Which heartbeats (none in time, in log order) are no copies: shape (n,)."""
        unique = np.zeros(len(session_ids), np.bool_)
        keys = zip(session_ids, seqs.tolist(), sent_minutes.tolist(), strict=True)
        for row, (key, appended) in enumerate(zip(keys, append_ms.tolist(), strict=True)):
            before = self._newest.pop(key, None)
            unique[row] = before is None or before < appended - self._horizon_ms
            self._newest[key] = appended
        return unique
