"""Rebuffering: how long and how often playback stalls after it has started."""

from __future__ import annotations

from tocsin.model.catalogue.kinds import Definition, Family, Measure, Metric, Moments

FAMILY = Family(
    name="rebuffer",
    measures=(
        Measure("playing_ms", "ms", "time playing", "playing_ms"),
        Measure("rebuffer_ms", "ms", "time stalled", "rebuffer_ms"),
        Measure("seek_wait_ms", "ms", "time waiting after a seek", "seek_wait_ms"),
        Measure("paused_ms", "ms", "time paused", "paused_ms"),
        Measure("ad_ms", "ms", "time in advertisements", "ad_ms"),
        Measure("rebuffer_count", "stalls", "stalls begun", "rebuffer_count"),
        Measure("seek_count", "seeks", "seeks begun", "seek_count"),
    ),
    moments=(
        Moments(
            "rebuffer", "stalled time over watching time",
            "rebuffer_ms", ("playing_ms", "rebuffer_ms", "seek_wait_ms", "startup_wait_ms"),
        ),
    ),
    metrics=(
        Metric("qoe.rebuffer.ms", "counter", "ms/s", "time stalled", {"rebuffer_ms": 1}, worse=1),
        Metric(
            "qoe.rebuffer.ratio", "ratio", "1", "share of the watching time that is stalled",
            word="rebuffer-ratio", moments="rebuffer", worse=1,
            definitions={
                "cta": Definition(
                    {"rebuffer_ms": 1}, {"playing_ms": 1, "rebuffer_ms": 1, "seek_wait_ms": 1, "startup_wait_ms": 1},
                    doc="R/(P+R+S+K), CTA-2066 and Mux",
                ),
                "cirr": Definition({"rebuffer_ms": 1}, {"playing_ms": 1, "rebuffer_ms": 1}, doc="R/(P+R)"),
            },
        ),
        Metric(
            "qoe.rebuffer.frequency", "ratio", "stalls/h", "stalls in an hour of playing", word="rebuffer-frequency",
            definitions={"hour": Definition({"rebuffer_count": 1}, {"playing_ms": 1}, scale=3_600_000)}, worse=1,
        ),
    ),
)  # fmt: skip
