"""Media requests and live latency."""

from __future__ import annotations

from tocsin.model.catalogue.kinds import Definition, Family, Measure, Metric, Moments

FAMILY = Family(
    name="delivery",
    measures=(
        Measure("req_n", "requests", "media requests", "req_n"),
        Measure("req_err_n", "requests", "media requests that failed", "req_err_n"),
        Measure("req_ms_sum", "ms", "time of media requests", "req_ms_sum"),
        Measure("req_kb", "kbit", "kilobits received", "req_kb"),
        Measure("latency_n", "samples", "live latency samples", "latency_n"),
        Measure("latency_sum_ms", "ms", "live latency summed", "latency_sum_ms"),
    ),
    moments=(Moments("request", "failed over all media requests", "req_err_n", ("req_n",)),),
    metrics=(
        Metric(
            "qoe.request.error.ratio", "ratio", "1", "media requests that fail", word="request-error-ratio",
            moments="request", definitions={"all": Definition({"req_err_n": 1}, {"req_n": 1})}, worse=1,
        ),
        Metric(
            "qoe.request.time", "ratio", "ms", "mean time of a media request", word="request-time",
            definitions={"mean": Definition({"req_ms_sum": 1}, {"req_n": 1})}, worse=1,
        ),
        Metric(
            "qoe.latency", "ratio", "ms", "mean live latency", word="live-latency",
            definitions={"mean": Definition({"latency_sum_ms": 1}, {"latency_n": 1})}, worse=1,
        ),
    ),
)  # fmt: skip
