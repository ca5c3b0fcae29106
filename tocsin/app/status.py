"""What a process knows of itself: `/v1/status`, `/v1/ledger`, `/healthz`, `/readyz`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from tocsin.app.doctor import ledger_report
from tocsin.app.logs import open_reader
from tocsin.model.errors import UnavailableError

if TYPE_CHECKING:
    from tocsin.app.core import Core

LAG_READY_MS = 60_000
"""Jobs that are further behind than this are not ready: what is shown is old."""


def status_router(core: Core) -> APIRouter:
    """The routes; they read the core's parts and keep nothing."""
    routes = APIRouter(tags=["status"])
    now_ms = core.config.clock.now_ms

    @routes.get("/v1/status")
    def status() -> dict[str, Any]:
        """Freshness of what is shown: `complete_until_ms` is the append time that every partition is counted to."""
        tick = core.alerts.engine.last if core.alerts is not None else None
        return {
            "now_ms": now_ms(),
            "complete_until_ms": core.source.watermark_ms() or 0,
            "jobs": core.jobs.status() if core.jobs is not None else None,
            "threads": core.loops.thread_ids(),
            "store_cpu_s": {name: core.store.cpu_s[name] for name in core.loops.thread_ids()},
            "alerting": None if tick is None else {"at_ms": tick.now_ms, "slices": tick.slices, "error": tick.error},
        }

    @routes.get("/v1/ledger")
    def ledger() -> dict[str, Any]:
        """Whether everything in the log is counted once."""
        with contextlib.closing(open_reader(core.config)) as reader:
            return ledger_report(core.store, reader, now_ms()).as_dict()

    @routes.get("/healthz")
    def alive() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @routes.get("/readyz")
    def ready() -> Response:
        """Whether the store answers and the jobs of this process keep up; 503 says which does not.

        Receivers of pages that are away are shown; they do not make the process unready, for pages wait for them.
        """
        found = {"store": "up", "jobs": "up"}
        try:
            core.store.query("SELECT 1")
        except UnavailableError as error:
            found["store"] = str(error)
        if core.jobs is not None and (lag_ms := core.jobs.lag_ms()) > LAG_READY_MS:
            found["jobs"] = f"{lag_ms / 1000:.0f} s behind the log"
        is_ready = set(found.values()) == {"up"}
        receivers = core.alerts.receivers_away() if core.alerts is not None else {}
        return JSONResponse({**found, "receivers_away": receivers}, 200 if is_ready else 503)

    return routes
