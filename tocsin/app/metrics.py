"""`/metrics` of a core process: the figures of its parts in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from tocsin.model.errors import UnavailableError
from tocsin.model.telemetry import CORE

if TYPE_CHECKING:
    from tocsin.app.core import Core


class CoreFigures(Collector):
    """Reads the parts at each scrape and keeps nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def collect(self) -> Iterator[Metric]:
        """One family an instrument of `CORE` that has a value here."""
        values = self._values()
        for instrument in CORE:
            if instrument.name in values:
                yield GaugeMetricFamily(instrument.name, instrument.help, value=values[instrument.name])

    def describe(self) -> Iterator[Metric]:
        """Nothing: the store is not asked before the first scrape."""
        yield from ()

    def _values(self) -> dict[str, float]:
        core = self._core
        values = {"tocsin_core_loops_failed": float(len(core.loops.failed))}
        try:
            values["tocsin_core_complete_until_seconds"] = (core.source.watermark_ms() or 0) / 1000
            values["tocsin_core_store_up"] = 1.0
        except UnavailableError:
            values["tocsin_core_store_up"] = 0.0
        if core.alerts is not None:
            values["tocsin_alerting_incidents_open"] = float(len(core.alerts.engine.desk.open_incidents()))
            tick = core.alerts.engine.last
            if tick is not None:
                values["tocsin_alerting_tick_seconds"] = tick.now_ms / 1000
                values["tocsin_alerting_slices"] = float(tick.slices)
        if core.probes is not None:
            values["tocsin_probe_looks_waiting"] = float(len(core.probes.queue.waiting()))
        return values


def metrics_router(core: Core) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["status"])
    registry = CollectorRegistry()
    registry.register(CoreFigures(core))

    @routes.get("/metrics")
    def metrics() -> Response:
        """Own telemetry, Prometheus text."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes
