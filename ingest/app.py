"""The ingest role as one ASGI application: the hot route, behind it FastAPI, behind that any other application.

`build` wires it for a writer; `serve` runs it until SIGTERM or SIGINT, and answers what is in flight before it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from ingest import openapi, publish, server
from ingest.gateway import Asgi, Gateway, Hints, no_hints
from ingest.settings import IngestSettings
from ingest.stats import Stats, StatsCollector
from tocsin.adapters.log.port import LogWriter

OnStop = Callable[[], Awaitable[None]]
Behind = Callable[[], tuple[bool, Mapping[str, Any]]]
Figures = Callable[[], Awaitable[bytes]]


def build(
    writer: LogWriter,
    now_ms: Callable[[], int],
    settings: IngestSettings,
    fallback: Asgi | None = None,
    hints: Hints = no_hints,
    on_stop: OnStop | None = None,
    behind: Behind | None = None,
    figures: Figures | None = None,
) -> Gateway:
    """The whole ingest application; what it does not know goes to `fallback` (404 where there is none).

    `on_stop` is awaited at shutdown, once everything is answered, e.g. to close the fallback's connections. `behind`
    gives (ready, state by part) of what stands behind the gateway, for /readyz, and `figures` its telemetry in
    Prometheus's text format, for /metrics.
    """
    stats = Stats()
    registry = CollectorRegistry()
    registry.register(StatsCollector(stats))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if on_stop is not None:
            await on_stop()

    api = FastAPI(title="Tocsin ingest", version="1", lifespan=lifespan)

    @api.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/readyz", summary="Whether heartbeats are being taken")
    async def readyz() -> Response:
        await gateway.batcher.probe()
        full = stats.in_flight_bytes >= settings.in_flight_bytes_max
        state = {
            "log": "up" if stats.log_up else "away",
            "in_flight_bytes": stats.in_flight_bytes,
            "in_flight_bytes_max": settings.in_flight_bytes_max,
        }
        ready, parts = behind() if behind is not None else (True, {})
        return JSONResponse({**parts, **state}, 200 if stats.log_up and not full and ready else 503)

    @api.get("/metrics", summary="Own telemetry, Prometheus text")
    async def metrics() -> Response:
        behind_it = await figures() if figures is not None else b""
        return Response(generate_latest(registry) + behind_it, media_type=CONTENT_TYPE_LATEST)

    gateway = Gateway(writer, now_ms, settings, api, hints, stats)
    api.include_router(publish.router(gateway.batcher, gateway.keeper, stats, settings, now_ms))
    openapi.install(api)
    if fallback is not None:
        api.mount("/", fallback)
    return gateway


def serve(
    writer: LogWriter,
    now_ms: Callable[[], int],
    settings: IngestSettings,
    fallback: Asgi | None = None,
    hints: Hints = no_hints,
    on_stop: OnStop | None = None,
    log_level: str = "warning",
    behind: Behind | None = None,
    figures: Figures | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, drain, and return; the writer stays open and belongs to the caller."""
    app = build(writer, now_ms, settings, fallback, hints, on_stop, behind, figures)
    server.Server(server.config(app, settings, log_level)).run()
