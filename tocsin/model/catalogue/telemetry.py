"""The telemetry itself: how much of it is lost, and how late it comes."""

from __future__ import annotations

import numpy as np

from tocsin.model.catalogue.kinds import Columns, Definition, Family, Histogram, Int64s, Measure, Metric


def _lag_ms(c: Columns) -> Int64s:
    lag: Int64s = np.maximum(c["received_ms"] - c["ts_ms"] - c["shift_ms"], 0)
    return lag


FAMILY = Family(
    name="telemetry",
    measures=(
        Measure(
            "expected", "heartbeats", "what sequence numbers say was sent: rises of max seq + 1 (set by the jobs)",
            "expected",
        ),
        Measure("lag_ms", "ms", "received minus event time, summed", _lag_ms),
    ),
    histograms=(Histogram("lag_hist", "heartbeats by lag", _lag_ms),),
    metrics=(
        Metric(
            "qoe.telemetry.loss.ratio", "ratio", "1", "heartbeats that never came", word="telemetry-loss-ratio",
            definitions={"seq": Definition({"expected": 1, "heartbeats": -1}, {"expected": 1})}, worse=1,
        ),
        Metric(
            "qoe.telemetry.lag", "timer", "ms", "received minus event time", histogram="lag_hist",
            word="telemetry-lag", definitions={"mean": Definition({"lag_ms": 1}, {"heartbeats": 1})}, worse=1,
        ),
    ),
)  # fmt: skip
