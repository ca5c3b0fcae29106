"""A process's share of the line: jobs, alerting, probe as loops, and their routes; `tocsin up` has all of them in one.

One process for the embedded store, because it can be opened by one. It stops on SIGTERM: the server first, then each
loop at the end of its turn; a bucket in flight is committed. A loop that fails ends the process, for the log is the
state and the next start resumes by the ledger.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from alerting.engine import Flag
from artwork.api import router as artwork_router
from dashboard.routes import router as dashboard_router
from query.analysts import router as analysts_router
from query.api import router as query_router
from query.deps import QueryDeps
from query.explain_api import Explainer
from query.source import StoreSource
from tocsin.adapters.log.port import LogWriter
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.access import Access, caller_name
from tocsin.app.alerts import Alerts
from tocsin.app.config import Config
from tocsin.app.jobs import Jobs
from tocsin.app.keys_api import keys_router
from tocsin.app.logs import open_writer
from tocsin.app.loops import Loops, each_s
from tocsin.app.metrics import metrics_router
from tocsin.app.probes import ATTACH_EVERY_S, Probes, remote_verdicts
from tocsin.app.proxy import ReverseProxy
from tocsin.app.status import status_router
from tocsin.app.tenants import TenantSource
from tocsin.model.errors import ConfigError, InputError, TocsinError
from tocsin.model.tables import HEARTBEATS

Part = Literal["jobs", "query", "alerting", "probe"]
PARTS: tuple[Part, ...] = ("jobs", "query", "alerting", "probe")
STREAMS_END_S = 5
"""How long answers that are still being sent may take once the process is told to stop: a stream has no end."""
_log = structlog.get_logger(__name__)


class Core:
    """Opens what `parts` need, in the order of the line; `close` releases it in the opposite order.

    Where alerting runs elsewhere (`config.alerting_url`), its routes are passed on to it and verdicts are sent there.
    """

    def __init__(self, config: Config, parts: Collection[Part] = PARTS) -> None:
        if "probe" in parts and "alerting" not in parts and not config.alerting_url:
            raise ConfigError("running probe alone: its verdicts go to alerting; set alerting_url = http://HOST:PORT")
        self._closing = ExitStack()
        self._parts = parts
        self.config = config
        now_ms = config.clock.now_ms
        self.access = Access(config)
        self._closing.callback(self.access.close)
        self.store = ClickHouseStore(config.store_dsn, config.keep_days)
        self._closing.callback(self.store.close)
        self.loops = Loops(lambda: os.kill(os.getpid(), signal.SIGTERM))
        raw_days = config.keep_days.get(HEARTBEATS.name, HEARTBEATS.keep_days)
        self.source = StoreSource(self.store, config.declared_cubes, now_ms, raw_days=raw_days)
        self.probes: Probes | None = None
        self.alerts: Alerts | None = None
        self.jobs: Jobs | None = None
        if "jobs" in parts:
            self.jobs = Jobs(config, self.store, self._writer)
            self._closing.callback(self.jobs.close)
        if "alerting" in parts:
            self.alerts = Alerts(config, self.store, self._flagged)
            self._closing.callback(self.alerts.close)
        if "alerting" in parts or "probe" in parts:
            attach = (
                self.alerts.engine.attach_verdict
                if self.alerts
                else remote_verdicts(config.alerting_url, config.service_token)
            )
            self.probes = Probes(config, self.store, self._writer, attach)

    def app(self) -> FastAPI:
        """All routes of the core."""
        app = FastAPI(title="Tocsin", version="1")
        routes = list(app.routes)
        for router in self._routers():
            app.include_router(router)
            routes += router.routes

        @app.exception_handler(TocsinError)
        async def explain(_request: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"error": str(error)}, 400 if isinstance(error, InputError) else 503)

        if self.alerts is None and self.config.alerting_url:
            app.mount("/", ReverseProxy(self.config.alerting_url))
        self.access.guard(app, routes)
        return app

    def start(self) -> None:
        """Start the loops of this process's parts."""
        if self.jobs is not None:
            self.jobs.start(self.loops)
        if self.alerts is not None:
            self.alerts.start(self.loops)
        if self.probes is not None and "probe" in self._parts:
            self.probes.start(self.loops)
        if self.probes is not None and self.alerts is not None:
            probes, desk = self.probes, self.alerts.engine.desk
            self.loops.every("verdicts", lambda: probes.attach_sampled(desk.open_incidents()), each_s(ATTACH_EVERY_S))

    def _routers(self) -> Iterator[APIRouter]:
        now_ms = self.config.clock.now_ms
        yield status_router(self)
        yield metrics_router(self)
        yield keys_router(self.access.rows, self.access.now_ms)
        if "query" in self._parts:
            explainer = Explainer(self.store, self.source, int(self.config.lateness_s * 1000))
            seen = TenantSource(self.source)
            yield query_router(QueryDeps(seen, seen, now_ms), explainer)
            yield analysts_router(self.store, self.config.declared_cubes, self.config.keep_days, now_ms)
            yield artwork_router(self.store, now_ms)
            yield dashboard_router()
        if self.alerts is not None:
            yield self.alerts.router(caller_name)
        if self.probes is not None:
            yield self.probes.router()

    @functools.cached_property
    def _writer(self) -> LogWriter:
        """The log for appending, opened by the first part that needs it."""
        writer = open_writer(self.config)
        self._closing.callback(writer.close)
        return writer

    def _flagged(self, flag: Flag) -> None:
        if self.probes is not None:
            self.probes.on_flag(flag)

    def close(self) -> None:
        """Stop the loops, then release what they used."""
        self.loops.stop()
        self._closing.close()


def serve(core: Core, **listen: Any) -> int:
    """Run the loops and serve the routes until SIGTERM or SIGINT; `listen` is uvicorn's `uds=` or `host=, port=`.

    Returns the exit status: 1 where a loop failed. The caller closes the core.
    """
    settings = uvicorn.Config(
        core.app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=STREAMS_END_S, **listen
    )
    server = uvicorn.Server(settings)

    def end(_number: int, _frame: object) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it serves. These are for a loop that fails before that, and for the signal
    # that uvicorn raises again once it has stopped; by then stopping is under way and must come to its end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    core.start()
    server.run()
    for name, error in core.loops.failed.items():
        _log.error("ended by a failed loop", loop=name, error=error)
    return 1 if core.loops.failed else 0
