"""The gateway's own counts, in plain integers on the event loop, shown to Prometheus at scrape time.

A prometheus_client counter costs a lock and about a microsecond an increment, which is what a heartbeat costs; so the
hot path adds to integers and this collector reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tocsin.model.telemetry import INGEST

UNKNOWN_FIELDS_MAX = 50
"""Names of unknown fields kept apart; the rest are counted as `__other__`."""


@dataclass(slots=True)
class Stats:
    """Counts since the process started; names are those of `tocsin.model.telemetry.INGEST` without the stage."""

    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    tags_other: Counter[str] = field(default_factory=Counter)
    unknown_fields: Counter[str] = field(default_factory=Counter)
    heartbeats_accepted: int = 0
    points_accepted: int = 0
    body_bytes: int = 0
    appended_bytes: int = 0
    flushes: int = 0
    append_failures: int = 0
    append_seconds: float = 0.0
    clock_shifts: int = 0
    tags_ignored: int = 0
    tags_cut: int = 0
    in_flight_bytes: int = 0
    in_flight_heartbeats: int = 0
    log_up: int = 1

    def unknown(self, name: str, times: int = 1) -> None:
        """Count an unknown field under its name, or `__other__` once `UNKNOWN_FIELDS_MAX` names are known."""
        known = name in self.unknown_fields or len(self.unknown_fields) < UNKNOWN_FIELDS_MAX
        self.unknown_fields[name[:64] if known else "__other__"] += times


class StatsCollector(Collector):
    """Shows `Stats` as the metrics of `INGEST`."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """One family an instrument."""
        for instrument in INGEST:
            field_name = instrument.name.removeprefix("tocsin_ingest_").removesuffix("_total")
            value: Counter[str] | int | float = getattr(self._stats, field_name)
            kind = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
            family = kind(instrument.name, instrument.help, labels=instrument.labels)
            if isinstance(value, Counter):
                for label, count in value.items():
                    family.add_metric([label], count)
            else:
                family.add_metric([], value)
            yield family
