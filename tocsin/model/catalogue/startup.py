"""Start-up time: from the play request to the first frame."""

from __future__ import annotations

import numpy as np

from tocsin.model.catalogue.kinds import Columns, Definition, Family, Histogram, Int64s, Measure, Metric


def _startup_ms(c: Columns) -> Int64s:
    return np.maximum(c["startup_ms"], 0)


FAMILY = Family(
    name="startup",
    measures=(
        Measure("startup_ms", "ms", "start-up times summed", _startup_ms),
        Measure("startup_wait_ms", "ms", "time spent waiting for the first frame", "startup_wait_ms"),
    ),
    histograms=(Histogram("startup_hist", "plays by start-up time", "startup_ms"),),
    metrics=(
        Metric(
            "qoe.startup", "timer", "ms", "start-up time", histogram="startup_hist", word="startup-time",
            definitions={"mean": Definition({"startup_ms": 1}, {"plays": 1})}, worse=1,
        ),
    ),
)  # fmt: skip
