"""Attempts, plays and how they end: failures, exits before start, plays per second, viewers at once."""

from __future__ import annotations

import numpy as np

from tocsin.model.catalogue.kinds import Columns, Definition, Derive, Family, Int64s, Measure, Metric
from tocsin.model.heartbeat import OUTCOMES

EBVS_WAIT_MS = 1_000
"""A viewer who leaves sooner did not wait for the picture: not counted as an exit before start."""


def _ended_as(outcome: str) -> Derive:
    code = OUTCOMES.index(outcome)

    def ended(c: Columns) -> Int64s:
        return np.asarray(c["outcome"] == code, np.int64)

    return ended


def _exits_before_start(c: Columns) -> Int64s:
    left = c["outcome"] == OUTCOMES.index("exit_before_start")
    return np.asarray(left & (c["startup_wait_ms"] >= EBVS_WAIT_MS) & (c["error_fatal"] == 0), np.int64)


FAMILY = Family(
    name="plays",
    measures=(
        Measure("heartbeats", "heartbeats", "heartbeats counted", lambda c: np.ones_like(c["seq"])),
        Measure("attempts", "plays", "first heartbeats (seq 0)", lambda c: (c["seq"] == 0).astype(np.int64)),
        Measure("plays", "plays", "first frames shown", lambda c: (c["startup_ms"] >= 0).astype(np.int64)),
        Measure("ended", "plays", "sessions ended, by any outcome", lambda c: (c["outcome"] > 0).astype(np.int64)),
        Measure("completed", "plays", "ended at the title's end", _ended_as("completed")),
        Measure("quits", "plays", "ended by the viewer", _ended_as("quit")),
        Measure("failed", "plays", "ended by a fatal error after the start", _ended_as("failed")),
        Measure("start_failed", "plays", "ended by a fatal error before the first frame", _ended_as("start_failed")),
        Measure("exits_before_start", "plays", "left after waiting 1 s or more, no fatal error", _exits_before_start),
        Measure("timeouts", "plays", "silent for the session time-out", _ended_as("timeout")),
        Measure("errors", "errors", "errors reported", "error_count"),
    ),
    metrics=(
        Metric("qoe.attempts", "counter", "plays/s", "playback attempts", {"attempts": 1}),
        Metric("qoe.plays", "counter", "plays/s", "plays started", {"plays": 1}),
        Metric("qoe.sps", "counter", "plays/s", "plays per second, the headline signal", {"plays": 1}, worse=-1),
        Metric("qoe.ended", "counter", "plays/s", "sessions ended", {"ended": 1}),
        Metric("qoe.errors", "counter", "errors/s", "errors", {"errors": 1}, worse=1),
        Metric("qoe.sessions", "counter", "session-minutes/s", "distinct sessions seen a minute", {"n": 1}),
        Metric(
            "qoe.concurrent", "counter", "viewers",
            "mean viewers at once: exact and additive (Little's law)",
            {"playing_ms": 1, "rebuffer_ms": 1, "seek_wait_ms": 1, "startup_wait_ms": 1}, scale=1 / 1000, worse=-1,
        ),
        Metric(
            "qoe.failure.ratio", "ratio", "1", "playback failures among ended sessions", word="failure-ratio",
            definitions={"ended": Definition({"failed": 1}, {"ended": 1}),
                         "plays": Definition({"failed": 1}, {"plays": 1})}, worse=1,
        ),
        Metric(
            "qoe.start_failure", "ratio", "1", "video start failures (VSF)", word="start-failure",
            definitions={"attempts": Definition({"start_failed": 1}, {"attempts": 1})}, worse=1,
        ),
        Metric(
            "qoe.exit_before_start", "ratio", "1", "exits before video start (EBVS)", word="exit-before-start",
            definitions={"attempts": Definition({"exits_before_start": 1}, {"attempts": 1})}, worse=1,
        ),
    ),
)  # fmt: skip
