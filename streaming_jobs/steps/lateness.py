"""Step (c): which heartbeats come in time, judged by their own message's append time only.

A heartbeat happens at `ts_ms + shift_ms`. It is late where that is more than L before its append time, and from the
future where it is more than F after. Either kind is kept raw and not counted.
"""

from __future__ import annotations

import numpy as np

from streaming_jobs.steps.arrays import Int64s
from streaming_jobs.steps.settings import MINUTE_MS, CountingSettings

IN_TIME, LATE, FUTURE = 0, 1, 2


def classify(event_ms: Int64s, append_ms: Int64s, settings: CountingSettings) -> Int64s:
    """IN_TIME, LATE or FUTURE for each heartbeat: shape (n,)."""
    late = event_ms < append_ms - settings.lateness_ms
    future = event_ms > append_ms + settings.future_ms
    return np.where(late, LATE, np.where(future, FUTURE, IN_TIME)).astype(np.int64)


def oldest_open_minute(append_ms: Int64s, settings: CountingSettings) -> Int64s:
    """The oldest minute (epoch minutes) that a heartbeat appended then can still count in: shape (n,)."""
    return (append_ms - settings.lateness_ms) // MINUTE_MS
