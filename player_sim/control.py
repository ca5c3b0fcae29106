"""The service's switches over HTTP: stands for a customer's CDN switch API, so that a remediation is a real call.

`POST /cdn/weights {"cdn": "cdn-b", "device": "tv", "weight": 0}` leaves that share of the CDN's viewers (of one device
class, or of all) where they are and moves the rest. An incident's JSON with a `cohort` is understood as well.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from tocsin.model.errors import InputError, UnavailableError

STARTUP_TIMEOUT_S = 20.0


class Switchable(Protocol):
    """What the switches act on: the simulator."""

    def drain(self, cdn: str, device: str | None = None, share: float = 1.0) -> int:
        """Move `share` of a CDN's viewers elsewhere; returns how many."""
        ...

    def viewers(self, cdn: str, device: str | None = None) -> int:
        """How many viewers a CDN has now."""
        ...

    def status(self) -> dict[str, Any]:
        """Where it stands."""
        ...


class Weights(BaseModel):
    """How much of a CDN's usual share it keeps: `weight` 1 all, 0 none. `dry_run` only checks."""

    cdn: str = ""
    device: str | None = None
    weight: float = Field(0.0, ge=0, le=1)
    dry_run: bool = False
    cohort: dict[str, str] = Field(default_factory=dict)

    def target(self) -> tuple[str, str | None]:
        """(cdn, device or None), from the fields or the cohort."""
        cdn = self.cdn or self.cohort.get("cdn", "")
        if not cdn:
            raise InputError("setting CDN weights: no CDN is named; give `cdn`, or a `cohort` that has one")
        return cdn, self.device if self.device is not None else self.cohort.get("device")


def control_app(simulator: Switchable) -> FastAPI:
    """The switches as an application."""
    app = FastAPI(title="Simulated service")

    @app.post("/cdn/weights")
    def set_weights(weights: Weights) -> dict[str, Any]:
        """Move viewers off a CDN, or let new ones come back to it."""
        try:
            cdn, device = weights.target()
            viewers = simulator.viewers(cdn, device)
            moved = 0 if weights.dry_run else simulator.drain(cdn, device, 1.0 - weights.weight)
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        answer = {"cdn": cdn, "device": device, "weight": weights.weight, "dry_run": weights.dry_run}
        return {**answer, "viewers": viewers, "moved": moved}

    @app.get("/status")
    def status() -> dict[str, Any]:
        """Where the simulation stands."""
        return simulator.status()

    return app


@contextmanager
def serve_control(simulator: Switchable, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve the switches from a thread of its own; yields the base URL (port 0 takes a free one)."""
    with socket.create_server((host, port)) as listener:
        config = uvicorn.Config(control_app(simulator), log_level="warning", lifespan="off", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="player-sim-control", daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(STARTUP_TIMEOUT_S)
            if thread.is_alive():
                raise UnavailableError(f"stopping the simulator's switches at {host}: they did not stop in time")
