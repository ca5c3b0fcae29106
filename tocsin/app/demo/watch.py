"""Watches a demonstration until everything in its scenario has been told, and judges what was told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tocsin.app.clock import Clock
from tocsin.app.demo.audience import Audience
from tocsin.app.demo.receiver import Inbox
from tocsin.app.demo.scenario import LIVE_MS, Scenario
from tocsin.app.demo.service import Service
from tocsin.model.errors import UnavailableError

LOOK_EVERY_S = 0.5
GRACE_MS = 15 * 60_000
"""After the planned end the watch goes on this long before it gives up."""


@dataclass(slots=True)
class Seen:
    """What has been seen so far: pages by order, verdicts, and what the scenario still lacks."""

    pages: int = 0
    verdicts: set[str] = field(default_factory=set)
    lacking: list[str] = field(default_factory=list)


class Watch:
    """Follows one run. `tell(now_ms, text)` is called for each thing that a person would want to see."""

    def __init__(
        self, scenario: Scenario, clock: Clock, service: Service, inbox: Inbox, audience: Audience,
        tell: Callable[[int, str], None], tick: Callable[[int, dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self._scenario, self._clock, self._service = scenario, clock, service
        self._inbox, self._audience = inbox, audience
        self._tell, self._tick = tell, tick
        self.seen = Seen()

    def until_done(self, stop: threading.Event) -> bool:
        """Watch until all is told (True), or until the time for it is over or `stop` is set (False)."""
        end_ms = self._scenario.start_ms + LIVE_MS + GRACE_MS
        while not stop.wait(LOOK_EVERY_S):
            if self._audience.error is not None:
                raise UnavailableError(f"playing the audience: {self._audience.error}") from self._audience.error
            now_ms = self._clock.now_ms()
            self._tick(now_ms, self._audience.simulator.status())
            self._announce(now_ms)
            incidents = self.incidents()
            self.seen.lacking = self._lacking(incidents)
            if not self.seen.lacking:
                return True
            if now_ms > end_ms:
                return False
        return False

    def incidents(self) -> list[dict[str, Any]]:
        """All incidents, oldest first."""
        found: list[dict[str, Any]] = self._service.get("/v1/incidents", limit=500)["incidents"]
        return found[::-1]

    def verdicts(self) -> list[dict[str, Any]]:
        """All verdicts of the probe, oldest first."""
        found: list[dict[str, Any]] = self._service.get("/v1/probes", limit=200)["verdicts"]
        return found[::-1]

    def _announce(self, now_ms: int) -> None:
        pages = self._inbox.pages()
        for page in pages[self.seen.pages :]:
            self._tell(page["at_ms"], f"page {page['change']}: {page['title']}\n{page['text']}")
        self.seen.pages = len(pages)
        for verdict in self.verdicts():
            told = f"{verdict['reason']} {verdict['stream']} {verdict['summary']}"
            if told not in self.seen.verdicts:
                self.seen.verdicts.add(told)
                if verdict["verdict"] == "confirmed":
                    self._tell(now_ms, f"probe ({verdict['reason']}): {verdict['stream']}: {verdict['summary']}")

    def _lacking(self, incidents: list[dict[str, Any]]) -> list[str]:
        scenario = self._scenario
        stall = [i for i in incidents if i["rule"] == "rebuffering" and i["cohort"] == scenario.stall]
        gap = [i for i in incidents if i["rule"] == "freeze" and scenario.explains(i)]
        confirmed = {(v["stream"], v["reason"]) for v in self.verdicts() if v["verdict"] == "confirmed"}
        wanted = {
            "the stalling cohort's page": bool(stall),
            "its remediation": any(a.get("state") == "done" for i in stall for a in i["actions"]),
            "its end": any(i["state"] == "closed" for i in stall),
            "the frozen rendition's page": bool(gap),
            "its verdict": any(v["verdict"] == "confirmed" for i in gap for v in i["verdicts"]),
            "the baked freeze, by sample": (scenario.baked_stream, "sampled") in confirmed,
            "its page": any(i["cohort"] == {"stream": scenario.baked_stream} and i["verdicts"] for i in incidents),
            "the missing artwork's page": any(i["rule"] == "artwork-missing" for i in incidents),
        }
        return [name for name, there in wanted.items() if not there]
