"""A small seeded audience, independent of player_sim: what the end-to-end tests send, kept as one frame for the oracle.

One row of `Audience.rows` is one heartbeat as a player made it. `Audience.requests` are the requests in sending order:
positions of rows. About 5 % of the requests come twice, 5 % late but inside the lateness (at the end of the stream),
and 5 % so late that they no longer count (whole sessions of half an hour ago); a few lie in the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tocsin.adapters.log.port import partition_of
from tocsin.model.columnar import TEXT_COLUMNS, HeartbeatBatch, TextColumn, encode, from_rows
from tocsin.model.heartbeat import BATCH_COLUMNS, OUTCOMES, REASONS, STATES

INTERVAL_MS = 10_000
SPAN_MS = 9 * 60_000
"""Sessions in time lie in the last nine minutes before the audience's `base_ms`: inside a lateness of 15 minutes."""
LONG_AGO_MS = 35 * 60_000
FUTURE_MS = 30 * 60_000
REQUEST_EVENTS_MAX = 6

CHOICES: dict[str, tuple[str, ...]] = {
    "title": tuple(f"title-{n}" for n in range(12)),
    "kind": ("film", "episode"),
    "stream": tuple(f"stream-{n}" for n in range(5)),
    "mode": ("vod", "live"),
    "format": ("hls", "dash"),
    "cdn": ("cdn-a", "cdn-b", "cdn-c"),
    "player": ("web", "tv", "phone"),
    "player_version": ("1.0", "1.1"),
    "app": ("app-1", "app-2", "app-3"),
    "device": ("tv", "phone", "desktop"),
    "os": ("linux", "ios"),
    "network": ("wifi", "cell"),
    "region": ("DE", "FR", "JP", "US"),
    "isp": ("AS1", "AS2", "AS3"),
}
ERRORS = ("net.timeout", "media.decode", "drm.denied")


@dataclass(frozen=True)
class Audience:
    """Heartbeats (one a row, columns of a batch plus tags, `session_id` and `fate`), and requests in sending order.

    `sent_ms`: when each request is sent, rising. `fate` is what counting must make of a row: `aggregated`, `late` or
    `future`.
    """

    rows: pd.DataFrame
    requests: list[npt.NDArray[np.int64]]
    sent_ms: list[int]
    sent_twice: int
    delayed: int

    def messages(self, requests: list[npt.NDArray[np.int64]], partitions: int) -> list[tuple[int, bytes]]:
        """The requests packed as the gateway would: for each partition that has heartbeats, one columnar message."""
        chosen = self.rows.iloc[np.concatenate(requests)]
        homes = np.array([partition_of(session, partitions) for session in chosen["session_id"]])
        return [(int(home), encode(as_batch(chosen[homes == home]))) for home in np.unique(homes)]


def as_batch(rows: pd.DataFrame) -> HeartbeatBatch:
    """Rows of an audience as a columnar batch."""
    numbers = {name: rows[name].to_numpy(np.int64) for name in BATCH_COLUMNS}
    text = {name: TextColumn.of(list(rows[name])) for name in TEXT_COLUMNS}
    return from_rows(list(rows["session_id"]), numbers, text)


def make(seed: int, base_ms: int, sessions: int = 300, span_ms: int = SPAN_MS, silent_share: float = 0.0) -> Audience:
    """The audience of a seed whose last heartbeats end just before `base_ms`; `silent_share` of it never says the end.

    With a `span_ms` of more than the lateness `fate` is no longer right for delayed requests.
    """
    rng = np.random.default_rng(seed)
    made: list[dict[str, Any]] = []
    for number in range(sessions):
        start_ms = base_ms - 20_000 - int(rng.integers(20_000, span_ms - 40_000))
        one = _session(rng, f"s{seed}-{number:05d}", start_ms, base_ms, "aggregated")
        if rng.random() < silent_share:
            one[-1]["outcome"] = 0
        made += one
    for number in range(max(2, sessions // 20)):
        start_ms = base_ms - LONG_AGO_MS - int(rng.integers(0, 60_000))
        made += _session(rng, f"old{seed}-{number:04d}", start_ms, start_ms + 120_000, "late")
    for number in range(3):
        start_ms = base_ms + FUTURE_MS
        made += _session(rng, f"clock{seed}-{number:02d}", start_ms, start_ms + 40_000, "future")
    rows = pd.DataFrame(made)
    return _sent(rng, rows, span_ms)


def _sent(rng: np.random.Generator, rows: pd.DataFrame, span_ms: int) -> Audience:
    """Cut each session into requests of a few heartbeats, order them by time, delay some, send some twice."""
    cut: list[tuple[float, npt.NDArray[np.int64]]] = []
    repeats: list[tuple[float, npt.NDArray[np.int64]]] = []
    last_ms = float(rows.loc[rows["fate"] == "aggregated", "ts_ms"].max())
    delayed = 0
    for fate, positions in _positions_by_session(rows):
        at = 0
        while at < len(positions):
            size = int(rng.integers(1, REQUEST_EVENTS_MAX + 1))
            request = positions[at : at + size]
            at += size
            # Old and future sessions arrive among the others.
            when = float(rows["ts_ms"].iloc[request[-1]]) if fate == "aggregated" else last_ms - rng.random() * span_ms
            if fate == "aggregated" and rng.random() < 0.05:
                delayed += 1
                when = last_ms + rng.random() * 1000
            cut.append((when, request))
            if fate == "aggregated" and rng.random() < 0.05:
                repeats.append((when + rng.random() * 60_000, request))
    ordered = sorted([*cut, *repeats], key=lambda pair: (pair[0], pair[1][0]))
    return Audience(
        rows, [request for _, request in ordered], [int(when) for when, _ in ordered], len(repeats), delayed
    )


def _positions_by_session(rows: pd.DataFrame) -> list[tuple[str, npt.NDArray[np.int64]]]:
    fates = rows["fate"].to_numpy()
    grouped = (np.asarray(at, np.int64) for at in rows.groupby("session_id", sort=False).indices.values())
    return [(str(fates[positions[0]]), positions) for positions in grouped]


def _session(
    rng: np.random.Generator, session_id: str, start_ms: int, until_ms: int, fate: str
) -> list[dict[str, Any]]:
    """One playback: start-up, playing with stalls and switches, an end; heartbeats every 10 s."""
    tags = {key: str(rng.choice(values)) for key, values in CHOICES.items()}
    shared: dict[str, Any] = {
        "session_id": session_id,
        "fate": fate,
        "sdk": "e2e/1",
        "sample_k": int(rng.choice([1, 1, 1, 4])),
    }
    fails_to_start = rng.random() < 0.05
    beats = 1 if fails_to_start else int(rng.integers(3, 40))
    rows: list[dict[str, Any]] = []
    ts_ms = start_ms
    playhead_ms = 0
    for seq in range(beats):
        interval_ms = int(rng.integers(800, 4_000)) if seq == 0 else INTERVAL_MS - int(rng.integers(0, 50))
        if seq and ts_ms + interval_ms >= until_ms:
            break
        ts_ms += interval_ms
        if seq > 2 and rng.random() < 0.03:
            tags = tags | {"cdn": str(rng.choice(CHOICES["cdn"]))}
        row: dict[str, Any] = dict.fromkeys(BATCH_COLUMNS, 0) | shared | tags | {"error": "", "error_message": ""}
        row |= {"seq": seq, "ts_ms": ts_ms, "interval_ms": interval_ms, "startup_ms": -1}
        row |= {"received_ms": ts_ms + int(rng.integers(20, 2_000))}
        if seq == 0:
            row |= _start(rng, interval_ms, fails_to_start)
        else:
            row |= _interval(rng, interval_ms, tags["mode"] == "live")
        playhead_ms += row["playing_ms"]
        row["playhead_ms"] = playhead_ms
        rows.append(row)
    if not fails_to_start:
        outcome = str(rng.choice(["completed", "quit", "failed"], p=[0.3, 0.6, 0.1]))
        _end(rng, rows[-1], outcome)
    return rows


def _start(rng: np.random.Generator, interval_ms: int, fails: bool) -> dict[str, Any]:
    if fails:
        outcome = str(rng.choice(["start_failed", "exit_before_start"]))
        failed = outcome == "start_failed"
        return {
            "reason": REASONS.index("error" if failed else "quit"),
            "state": STATES.index("failed" if failed else "quit"),
            "outcome": OUTCOMES.index(outcome),
            "startup_wait_ms": interval_ms,
            "error_count": int(failed),
            "error_fatal": int(failed),
            "error": str(rng.choice(ERRORS)) if failed else "",
        }
    waited_ms = int(rng.integers(100, interval_ms))
    return {
        "reason": REASONS.index("start"),
        "state": STATES.index("playing"),
        "startup_ms": waited_ms,
        "startup_wait_ms": waited_ms,
        "playing_ms": interval_ms - waited_ms,
        "media_ms": interval_ms - waited_ms,
        "bits_kb": 3 * (interval_ms - waited_ms),
    }


def _interval(rng: np.random.Generator, interval_ms: int, live: bool) -> dict[str, Any]:
    stalls = int(rng.random() < 0.12)
    rebuffer_ms = int(rng.integers(200, 4_000)) if stalls else 0
    seek_wait_ms = int(rng.integers(50, 900)) if rng.random() < 0.05 else 0
    playing_ms = interval_ms - rebuffer_ms - seek_wait_ms
    frames = playing_ms * 25 // 1000
    requests = int(rng.integers(0, 6))
    av_n = int(rng.integers(0, 20))
    offsets = rng.integers(-80, 60, av_n)
    error = rng.random() < 0.02
    return {
        "reason": REASONS.index("interval"),
        "state": STATES.index("playing"),
        "playing_ms": playing_ms,
        "rebuffer_ms": rebuffer_ms,
        "rebuffer_count": stalls,
        "seek_wait_ms": seek_wait_ms,
        "seek_count": int(seek_wait_ms > 0),
        "media_ms": playing_ms,
        "bits_kb": playing_ms * int(rng.choice([800, 2_400, 5_000])) // 1000,
        "bitrate_video_kbps": int(rng.choice([800, 2_400, 5_000])),
        "upshift_count": int(rng.random() < 0.1),
        "downshift_count": int(rng.random() < 0.08),
        "freeze_ms": int(rng.integers(100, 500)) if rng.random() < 0.03 else 0,
        "frames_total": frames,
        "frames_dropped": int(rng.integers(0, 5)) if frames > 10 else 0,
        "av_n": av_n,
        "av_sum_ms": int(offsets.sum()),
        "av_sumsq_ms2": int((offsets**2).sum()),
        "av_absmax_ms": int(np.abs(offsets).max()) if av_n else 0,
        "latency_n": int(live),
        "latency_sum_ms": int(rng.integers(2_000, 9_000)) if live else 0,
        "req_n": requests,
        "req_err_n": int(rng.integers(0, 2)) if requests else 0,
        "req_ms_sum": requests * int(rng.integers(20, 400)),
        "req_kb": requests * int(rng.integers(500, 9_000)),
        "error_count": int(error),
        "error": str(rng.choice(ERRORS)) if error else "",
        "error_technical": int(error),
    }


def _end(rng: np.random.Generator, row: dict[str, Any], outcome: str) -> None:
    reason, state = {"completed": ("ended", "ended"), "quit": ("quit", "quit"), "failed": ("error", "failed")}[outcome]
    row |= {"reason": REASONS.index(reason), "state": STATES.index(state), "outcome": OUTCOMES.index(outcome)}
    if outcome == "failed":
        row |= {"error_count": 1, "error_fatal": 1, "error_technical": 1, "error": str(rng.choice(ERRORS))}
