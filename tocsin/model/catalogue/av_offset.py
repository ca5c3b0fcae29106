"""A/V offset: shown video time minus audio clock; negative means that the picture is late (ITU-R BT.1359 sign)."""

from __future__ import annotations

from tocsin.model.catalogue.kinds import Definition, Family, Measure, Metric, Moments

FAMILY = Family(
    name="av_offset",
    measures=(
        Measure("av_n", "samples", "A/V offset samples", "av_n"),
        Measure("av_sum_ms", "ms", "A/V offsets summed", "av_sum_ms"),
        Measure("av_sumsq_ms2", "ms²", "squared A/V offsets summed", "av_sumsq_ms2"),
        Measure("av_absmax_ms", "ms", "largest absolute A/V offset", "av_absmax_ms", by="max"),
    ),
    moments=(Moments("av", "A/V offset over samples", "av_sum_ms", ("av_n",)),),
    metrics=(
        Metric(
            "qoe.av_offset", "ratio", "ms", "mean A/V offset", word="av-offset", moments="av",
            definitions={"mean": Definition({"av_sum_ms": 1}, {"av_n": 1})},
        ),
        Metric(
            "qoe.av_offset.sd", "ratio", "ms", "standard deviation of the A/V offset", word="av-offset-sd",
            definitions={"sd": Definition({"av_sumsq_ms2": 1}, {"av_n": 1}, form="sd", mean={"av_sum_ms": 1})},
            worse=1,
        ),
        Metric("qoe.av_offset.absmax", "max", "ms", "largest A/V offset", {"av_absmax_ms": 1}, worse=1),
    ),
)  # fmt: skip
