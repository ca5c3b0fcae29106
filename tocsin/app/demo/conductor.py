"""Moves a demonstration's clock: as fast as was asked for, and never faster than the line keeps up.

A machine that is slow, or busy with other things, makes the demonstration longer, not wrong: the clock waits while the
audience, the jobs or alerting are further behind than they would be in real operation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from tocsin.app.clock import ConductedClock

STEP_S = 0.02
LOOK_EVERY_S = 0.1
TIMEOUT_S = 10.0
AUDIENCE_LAG_MS = 3_000
UNACKED_MAX = 1_000
"""Heartbeats on their way: more than this are late by more than a network would make them."""
JOBS_LAG_MS = 20_000
ALERTING_LAG_MS = 25_000


class Conductor:
    """Conducts in two threads: one moves the clock, one asks Tocsin how far it is."""

    def __init__(self, clock: ConductedClock, url: str, audience: Callable[[], dict[str, Any]], rate: float) -> None:
        self._clock, self._url, self._rate = clock, url, rate
        self._audience: Callable[[], dict[str, Any]] | None = audience
        self._limit_ms = clock.now_ms() + JOBS_LAG_MS
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=body, name=name, daemon=True)
            for name, body in (("clock", self._move), ("clock-limit", self._look))
        ]
        self.held_s = 0.0

    def start(self) -> None:
        """Begin to move the clock."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop moving it; it stands still from then on."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def real_time(self) -> None:
        """From now on move it as fast as real time."""
        self._rate = 1.0

    def without_audience(self) -> None:
        """The audience has stopped: wait for it no longer."""
        self._audience = None

    def _move(self) -> None:
        last_s = time.monotonic()
        while not self._stop.wait(STEP_S):
            now_s = time.monotonic()
            wanted_ms = self._clock.now_ms() + int((now_s - last_s) * 1000 * self._rate)
            limit_ms = min(self._limit_ms, self._audience_limit_ms())
            if wanted_ms > limit_ms:
                self.held_s += now_s - last_s
            self._clock.set_ms(min(wanted_ms, limit_ms))
            last_s = now_s

    def _audience_limit_ms(self) -> int:
        audience = self._audience
        if audience is None:
            return self._limit_ms
        status = audience()
        sent = status["sent"]
        on_their_way = status["issued"] - sent["acked"] - sent["abandoned"] - sum(sent["refused"].values())
        return int(status["now_ms"]) + AUDIENCE_LAG_MS if on_their_way <= UNACKED_MAX else self._clock.now_ms()

    def _look(self) -> None:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S) as client:
            while not self._stop.wait(LOOK_EVERY_S):
                try:
                    status = client.get("/v1/status").raise_for_status().json()
                except httpx.HTTPError:
                    continue  # the clock stands while nobody answers
                jobs_ms = status["complete_until_ms"]
                alerting_ms = status["alerting"]["at_ms"] if status["alerting"] else 0
                if jobs_ms and alerting_ms:
                    self._limit_ms = min(jobs_ms + JOBS_LAG_MS, alerting_ms + ALERTING_LAG_MS)
