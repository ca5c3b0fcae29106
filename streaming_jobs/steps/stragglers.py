"""Step (b) for heartbeats that are late or from the future: they are kept raw, and a copy of one is not kept again.

They have no minute to live in. A key (session, seq, minute as sent) is a copy where the same key, likewise not in time,
was appended within the last W. (A late copy of a heartbeat that came in time, or a copy in time of one that came from
the future, is not known for a copy: its first is forgotten, or was never counted.)
"""

from __future__ import annotations

import numpy as np

from streaming_jobs.steps.arrays import Bools, Int64s
from streaming_jobs.steps.copies import Copies


class Stragglers(Copies):
    """Keys are (session id, seq, minute as sent)."""

    def unique(self, session_ids: list[str], seqs: Int64s, sent_minutes: Int64s, append_ms: Int64s) -> Bools:
        """Which heartbeats (none in time, in log order) are no copies: shape (n,)."""
        keys = zip(session_ids, seqs.tolist(), sent_minutes.tolist(), strict=True)
        first = [self.is_first(key, at) for key, at in zip(keys, append_ms.tolist(), strict=True)]
        return np.array(first, np.bool_)
