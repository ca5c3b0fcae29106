"""The picture: bitrate, quality switches, dropped frames, frozen picture."""

from __future__ import annotations

from tocsin.model.catalogue.kinds import Definition, Family, Measure, Metric, Moments

FAMILY = Family(
    name="picture",
    measures=(
        Measure("media_ms", "ms", "media time shown", "media_ms"),
        Measure("bits_kb", "kbit", "kilobits shown", "bits_kb"),
        Measure("upshift_count", "switches", "switches to a higher rendition", "upshift_count"),
        Measure("downshift_count", "switches", "switches to a lower rendition", "downshift_count"),
        Measure("frames_dropped", "frames", "frames dropped", "frames_dropped"),
        Measure("frames_total", "frames", "frames due", "frames_total"),
        Measure("freeze_ms", "ms", "time playing with a frozen picture", "freeze_ms"),
    ),
    moments=(
        Moments("bitrate", "bits shown (100 kbit) over media time (0.1 s)", "bits_kb", ("media_ms",), 100, 100),
        Moments("dropped", "dropped over due frames", "frames_dropped", ("frames_total",)),
        Moments("freeze", "frozen over playing time", "freeze_ms", ("playing_ms",)),
    ),
    metrics=(
        Metric(
            "qoe.bitrate", "ratio", "kbit/s", "time-weighted bitrate", word="bitrate", moments="bitrate",
            definitions={"media": Definition({"bits_kb": 1}, {"media_ms": 1}, scale=1000)}, worse=-1,
        ),
        Metric(
            "qoe.switches", "ratio", "switches/min", "rendition switches a minute of playing", word="switches",
            definitions={"minute": Definition({"upshift_count": 1, "downshift_count": 1}, {"playing_ms": 1}, 60_000)},
            worse=1,
        ),
        Metric(
            "qoe.frames.dropped.ratio", "ratio", "1", "dropped among due frames", word="dropped-frames-ratio",
            moments="dropped", definitions={"total": Definition({"frames_dropped": 1}, {"frames_total": 1})}, worse=1,
        ),
        Metric(
            "qoe.freeze.ratio", "ratio", "1", "frozen picture among playing time", word="freeze-ratio",
            moments="freeze", definitions={"playing": Definition({"freeze_ms": 1}, {"playing_ms": 1})}, worse=1,
        ),
    ),
)  # fmt: skip
