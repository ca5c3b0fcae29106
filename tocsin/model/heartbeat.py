"""The heartbeat, schema `tocsin.heartbeat/1`: what a player reports of the seconds since its last report.

Every duration and count is a delta sum, so heartbeats merge by addition over time, sessions and shards; only
`av_absmax_ms` merges by maximum. The schema only grows: unknown fields are ignored and a field never changes meaning.

Laws beyond the types, checked on whole columns (`law_violations`):

* startup_wait + playing + rebuffer + seek_wait + paused + ad <= interval (the rest is idle time);
* freeze <= playing; frames_dropped <= frames_total; req_err_n <= req_n;
* moments fit their n: n = 0 implies sums of 0.

Source: design/telemetry.md section 1; CTA-2066 and CTA-5004 for the terms.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

SCHEMA = "tocsin.heartbeat/1"
EVENTS_MAX = 500
SEQ_PER_MINUTE_MAX = 64
NOT_STARTED = -1
"""Value of `startup_ms` in a heartbeat that does not carry the first frame."""
ROUNDING_MS = 10
"""Slack of the interval law: each of six parts is rounded to a millisecond by itself."""
INTERVAL_MS_MAX = 3_600_000

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Epoch = Annotated[int, msgspec.Meta(ge=0, le=2**43)]
SESSION_ID_ALPHABET = (string.ascii_letters + string.digits + "_.:~-").encode()
SessionId = Annotated[str, msgspec.Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9_.:~-]+$")]
Text = Annotated[str, msgspec.Meta(max_length=256)]

Reason = Literal["start", "interval", "state", "error", "ended", "quit", "exit"]
State = Literal["idle", "starting", "playing", "rebuffering", "seeking", "paused", "ended", "failed", "quit"]
Outcome = Literal["completed", "quit", "failed", "start_failed", "exit_before_start", "timeout"]

REASONS: tuple[str, ...] = ("start", "interval", "state", "error", "ended", "quit", "exit")
STATES: tuple[str, ...] = (
    "idle", "starting", "playing", "rebuffering", "seeking", "paused", "ended", "failed", "quit",
)  # fmt: skip
OUTCOMES: tuple[str, ...] = ("", "completed", "quit", "failed", "start_failed", "exit_before_start", "timeout")
"""Index 0 is "none yet"."""


class Bitrate(msgspec.Struct, frozen=True, gc=False):
    """Bitrate of the rendition on screen, kbit/s."""

    video: Count = 0
    audio: Count = 0


class PlaybackError(msgspec.Struct, frozen=True, gc=False):
    """What went wrong; `technical` is false where a business rule refused (rights, concurrency)."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    fatal: bool = False
    technical: bool = True
    message: Text = ""


class Event(msgspec.Struct, gc=False):
    """One heartbeat of one session. Numeric fields stand in the order of `NUMERIC`; see the module for the laws."""

    seq: Count
    ts_ms: Epoch
    interval_ms: Annotated[int, msgspec.Meta(ge=0, le=INTERVAL_MS_MAX)]
    playhead_ms: Annotated[int, msgspec.Meta(ge=0, le=2**43)]
    session_id: SessionId
    reason: Reason
    state: State
    startup_ms: Annotated[int, msgspec.Meta(ge=NOT_STARTED, le=2**31 - 1)] = NOT_STARTED
    startup_wait_ms: Count = 0
    playing_ms: Count = 0
    rebuffer_ms: Count = 0
    seek_wait_ms: Count = 0
    paused_ms: Count = 0
    ad_ms: Count = 0
    freeze_ms: Count = 0
    media_ms: Count = 0
    bits_kb: Count = 0
    rebuffer_count: Count = 0
    seek_count: Count = 0
    upshift_count: Count = 0
    downshift_count: Count = 0
    error_count: Count = 0
    frames_dropped: Count = 0
    frames_total: Count = 0
    av_n: Count = 0
    av_sum_ms: Signed = 0
    av_sumsq_ms2: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    av_absmax_ms: Count = 0
    latency_n: Count = 0
    latency_sum_ms: Count = 0
    req_n: Count = 0
    req_err_n: Count = 0
    req_ms_sum: Count = 0
    req_kb: Count = 0
    bitrate_kbps: Bitrate | None = None
    outcome: Outcome | None = None
    error: PlaybackError | None = None
    tags: dict[str, str] | None = None


class Sdk(msgspec.Struct, frozen=True, gc=False):
    """Who measured: name and version of the reporting library."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""
    version: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Envelope(msgspec.Struct, gc=False):
    """One POST of heartbeats; `sample_rate` is 1/k, and `sent_ts_ms` is stamped at every attempt."""

    schema: Literal["tocsin.heartbeat/1"]
    sent_ts_ms: Epoch
    events: Annotated[list[Event], msgspec.Meta(max_length=EVENTS_MAX)]
    sdk: Sdk = Sdk()
    sample_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    tags: dict[str, str] = {}


class LooseEnvelope(msgspec.Struct):
    """The same envelope with its events undecoded, to accept the good events of a request that has bad ones."""

    schema: Literal["tocsin.heartbeat/1"]
    sent_ts_ms: Epoch
    events: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=EVENTS_MAX)]
    sdk: Sdk = Sdk()
    sample_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    tags: dict[str, str] = {}


_SKIPPED = {"session_id", "reason", "state", "bitrate_kbps", "outcome", "error", "tags"}
NUMERIC: tuple[str, ...] = tuple(name for name in Event.__struct_fields__ if name not in _SKIPPED)
"""Event fields that are plain integers, in the order of the struct."""

BATCH_COLUMNS: tuple[str, ...] = (
    *NUMERIC,
    "reason", "state", "outcome",  # codes into REASONS, STATES, OUTCOMES
    "bitrate_video_kbps", "bitrate_audio_kbps",
    "error_fatal", "error_technical",
    "sample_k", "received_ms", "shift_ms",
)  # fmt: skip
"""Integer columns of a batch. `shift_ms` is added to `ts_ms` where the sender's clock was off by more than 30 s."""

decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_loose = msgspec.json.Decoder(LooseEnvelope).decode
decode_event = msgspec.json.Decoder(Event).decode

Columns = Mapping[str, npt.NDArray[np.int64]]

LAWS: tuple[str, ...] = (
    "the parts of the interval sum to more than interval_ms",
    "freeze_ms is more than playing_ms",
    "frames_dropped is more than frames_total",
    "req_err_n is more than req_n",
    "av_sum_ms, av_sumsq_ms2 or av_absmax_ms without av_n",
    "latency_sum_ms without latency_n",
)


def law_violations(columns: Columns) -> npt.NDArray[np.int64]:
    """Which law each heartbeat breaks: shape (n,), 0 where none, else 1 + index into `LAWS` (the first broken)."""
    parts = (
        columns["startup_wait_ms"] + columns["playing_ms"] + columns["rebuffer_ms"]
        + columns["seek_wait_ms"] + columns["paused_ms"] + columns["ad_ms"]
    )  # fmt: skip
    moments = (columns["av_sum_ms"] != 0) | (columns["av_sumsq_ms2"] != 0) | (columns["av_absmax_ms"] != 0)
    broken = (
        parts > columns["interval_ms"] + ROUNDING_MS,
        columns["freeze_ms"] > columns["playing_ms"] + 1,
        columns["frames_dropped"] > columns["frames_total"],
        columns["req_err_n"] > columns["req_n"],
        (columns["av_n"] == 0) & moments,
        (columns["latency_n"] == 0) & (columns["latency_sum_ms"] != 0),
    )
    result = np.zeros(len(parts), dtype=np.int64)
    for law in range(len(LAWS), 0, -1):
        result[broken[law - 1]] = law
    return result
