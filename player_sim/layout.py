"""Layouts of the simulator's arrays: a session while it lives, a heartbeat as it leaves the player, what faults change.

They are numpy record types, so that the compiled state machine reads and writes fields by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tocsin.model.heartbeat import BATCH_COLUMNS, NUMERIC

Int64s = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

WAITING, STARTING, PLAYING, REBUFFERING, SEEKING, PAUSED, OVER = range(7)
"""States of a simulated session; WAITING has not pressed play yet, OVER sends nothing more."""

SUMS: tuple[str, ...] = tuple(
    name for name in NUMERIC if name not in ("seq", "ts_ms", "interval_ms", "playhead_ms", "startup_ms")
)
"""What a player adds up since its last heartbeat."""

TAGS: tuple[str, ...] = ("title", "stream", "cdn", "device", "region", "isp", "app", "player", "network")
"""Codes of a session into the name tables of the world."""

SESSION = np.dtype(
    [
        ("sid", "u8"), ("rng", "u8"), ("start_ms", "i8"), ("clock_ms", "i8"), ("state", "i8"), ("left_ms", "i8"),
        ("leave_ms", "i8"), ("report_ms", "i8"), ("reported_ms", "i8"), ("switch_ms", "i8"), ("switch_cdn", "i8"),
        ("seq", "i8"), ("minute", "i8"), ("minute_reports", "i8"), ("playhead_ms", "i8"), ("length_ms", "i8"),
        ("loops", "i8"), ("live", "i8"), ("started", "i8"), ("gave_up", "i8"), ("fails_at_ms", "i8"),
        ("pending_startup_ms", "i8"), ("pending_error", "i8"), ("pending_fatal", "i8"), ("killed", "i8"),
        ("closes_page", "i8"), ("rung", "i8"), ("rung_target", "i8"), ("bits_rest", "i8"), ("frames_rest", "i8"),
        ("segment_rest_ms", "i8"), ("row", "i8"), ("silent", "i8"),
        ("hazard", "f8"), ("startup_plan_ms", "f8"), ("patience_ms", "f8"), ("intent_ms", "f8"),
        ("start_fail_share", "f8"), ("stall_rate", "f8"), ("stall_median_ms", "f8"), ("seek_rate", "f8"),
        ("pause_rate", "f8"), ("error_rate", "f8"), ("fatal_rate", "f8"), ("av_mean_ms", "f8"), ("av_sd_ms", "f8"),
        ("drop_share", "f8"), ("request_fail_share", "f8"), ("request_ms", "f8"), ("latency_ms", "f8"),
        *((name, "i8") for name in TAGS),
        *((name, "i8") for name in SUMS),
    ]
)  # fmt: skip
"""`row` is a number of its own in order of arrival; rates are events a millisecond of playing; `*_rest` carry what
rounding left over; `silent` marks an end that nobody was told of; `leave_ms` is when the viewer's patience or
intent ends."""

HEARTBEAT = np.dtype(
    [
        *((name, "i8") for name in NUMERIC),
        *((name, "i8") for name in ("reason", "state", "outcome", "bitrate_video_kbps", "bitrate_audio_kbps")),
        *((name, "i8") for name in ("error_code", "error_fatal", "error_technical")),
        ("sid", "u8"), ("row", "i8"),
        *((name, "i8") for name in TAGS),
    ]
)  # fmt: skip
"""One heartbeat. `error_code` is 0 for none, else 1 + index into the world's error names. Every field has 8 bytes, so
an array of n may be viewed as an int64 matrix (n, fields)."""

MODIFIER = np.dtype(
    [
        ("stall_rate", "f8"), ("stall_length", "f8"), ("startup", "f8"), ("start_failure", "f8"),
        ("error_rate", "f8"), ("fatal_rate", "f8"), ("request_failure", "f8"), ("av_shift_ms", "f8"),
    ]
)  # fmt: skip
"""What faults and the weather of networks do to one session: factors, but `start_failure` and `request_failure` are
added probabilities and `av_shift_ms` an added offset."""

FREEZE = np.dtype([("at_ms", "i8"), ("length_ms", "i8"), ("rung", "i8")])
"""A range of a stream's media time whose picture is missing: by stream; length 0 where none, rung -1 for all rungs."""

FIELDS: tuple[str, ...] = HEARTBEAT.names or ()


def neutral_modifiers(n: int) -> Records:
    """Modifiers that change nothing, shape (n,)."""
    modifiers = np.zeros(n, MODIFIER)
    for name in ("stall_rate", "stall_length", "startup", "error_rate", "fatal_rate"):
        modifiers[name] = 1.0
    return modifiers


def joined(parts: Sequence[Records], dtype: np.dtype[np.void]) -> Records:
    """The records one after the other; as plain bytes they are copied ten times as fast."""
    raw = np.dtype((np.void, dtype.itemsize))
    if not parts:
        return np.zeros(0, dtype)
    return np.concatenate([np.ascontiguousarray(part).view(raw) for part in parts]).view(dtype)


def columns_of(rows: Records, received_ms: Int64s | None = None) -> Mapping[str, Int64s]:
    """Heartbeats as the catalogue's columns (every name of `BATCH_COLUMNS`): views where the layout has the field.

    `received_ms` defaults to the heartbeat's own time.
    """
    zero = np.zeros(len(rows), np.int64)
    columns: dict[str, Int64s] = {name: rows[name] if name in FIELDS else zero for name in BATCH_COLUMNS}
    columns["sample_k"] = np.ones(len(rows), np.int64)
    columns["received_ms"] = rows["ts_ms"] if received_ms is None else received_ms
    return columns


def matrix_of(rows: Records) -> Int64s:
    """The rows as an int64 matrix (n, fields), without a copy; columns in the order of `FIELDS`."""
    return rows.view(np.int64).reshape(len(rows), len(FIELDS))
