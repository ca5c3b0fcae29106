"""Runs a demonstration from an empty folder to its report. Progress goes to a `Screen`; the report is plain data."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from alerting.page import graph_expression
from player_sim import truth as truth_file
from player_sim.clips import serve_folder
from tocsin.app.clock import ConductedClock
from tocsin.app.demo import receiver, stage
from tocsin.app.demo.audience import Audience, switches
from tocsin.app.demo.conductor import Conductor
from tocsin.app.demo.scenario import LIVE_MS, Scenario, draw
from tocsin.app.demo.service import Service, running
from tocsin.app.demo.watch import Watch
from tocsin.model.errors import UnavailableError

RATE = 24.0
SETTLE_S = 30.0
POLL_S = 0.25


class Screen(Protocol):
    """Where a person follows the run."""

    def step(self, text: str) -> None:
        """A new step begins."""
        ...

    def progress(self, done: float, text: str) -> None:
        """Share of the step that is done, 0 to 1."""
        ...

    def tell(self, now_ms: int, text: str) -> None:
        """Something happened at a time of the demonstration's clock."""
        ...

    def clock(self, now_ms: int, status: dict[str, Any]) -> None:
        """The demonstration's time and its audience."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen."""

    folder: Path
    seed: int = 1
    rate: float = RATE
    stay: bool = True


class Demo:
    """One run; `report` is complete once `run` has returned or `on_report` was called."""

    def __init__(self, options: Options, screen: Screen, stop: threading.Event) -> None:
        self._options, self._screen, self._stop = options, screen, stop
        self._began_s = time.monotonic()
        self.url = ""

    def run(self, on_report: Any) -> dict[str, Any]:
        """Run to the report; `on_report(report)` is called once it is there, while everything still runs."""
        options, screen = self._options, self._screen
        places = stage.prepare(options.folder)
        scenario = draw(options.seed, int(time.time() * 1000) - LIVE_MS)
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(ProcessPoolExecutor(1))
            media = stage.make_media(places, scenario, pool)
            screen.step("drawing five weeks of history")
            seam_ms = stage.draw_history(places, scenario, screen.progress)
            screen.step("making three streams and the artwork of four titles")
            inventory = stage.make_artwork(places, scenario)
            for made in media:
                made.result()
            stage.publish(places, scenario)
            origin = stack.enter_context(serve_folder(places.media))
            images = stack.enter_context(serve_folder(places.artwork))
            port = stage.free_port()
            self.url = f"http://127.0.0.1:{port}"
            clock = ConductedClock(places.clock, seam_ms)
            audience = Audience(scenario, clock, f"{self.url}/v1/heartbeats", seam_ms)
            secret = secrets.token_hex(16)
            inbox = receiver.Inbox(secret, clock.now_ms)
            config = stage.configuration(
                places, port=port, origin=origin, streams=stage.registry(places, scenario, origin),
                pages_url=stack.enter_context(receiver.serve(inbox)), secret=secret,
                switch_url=stack.enter_context(switches(audience)),
            )  # fmt: skip
            screen.step("starting Tocsin: gateway, jobs, query, alerting, probe, page")
            service = stack.enter_context(running(config, places.root / "tocsin.log"))
            service.wait_ready(self._stop)
            audience.start()
            conductor = Conductor(clock, self.url, audience.simulator.status, options.rate)
            stack.callback(conductor.stop)
            conductor.start()
            breaking = threading.Thread(target=self._break, args=(places, scenario, clock), daemon=True)
            breaking.start()
            screen.step(f"live audience; its clock runs up to {options.rate:.0f} times as fast as this one")
            _check_artwork(self.url, inventory, images)
            watch = Watch(scenario, clock, service, inbox, audience, screen.tell, screen.clock)
            complete = watch.until_done(self._stop)
            screen.step("closing the ledger")
            if options.stay:
                truth = audience.simulator.truth()
            else:
                truth = audience.finish()
                conductor.without_audience()
            truth_file.write(places.root / "truth.json", truth)
            ledger = self._ledger(service, truth, stay=options.stay)
            report = self._report(scenario, watch, service, ledger, complete=complete)
            self._save(places, service, scenario, report)
            on_report(report)
            if options.stay:
                conductor.real_time()
                self._stop.wait()
                audience.finish()
            return report

    def _break(self, places: stage.Places, scenario: Scenario, clock: ConductedClock) -> None:
        """The rendition loses its picture when its players begin to say so."""
        if clock.wait_until(scenario.gap_ms, self._stop):
            stage.lose_picture(places, scenario)

    def _ledger(self, service: Service, truth: dict[str, Any], *, stay: bool) -> dict[str, Any]:
        """The ledger once it holds what was acknowledged; in a run that goes on it may hold more by then."""
        acked = truth["sent"]["acked"]
        deadline = time.monotonic() + SETTLE_S
        while True:
            ledger: dict[str, Any] = service.get("/v1/ledger")
            unique = ledger["totals"]["unique"]
            if ledger["balanced"] and (unique >= acked if stay else unique == acked):
                return {**ledger, "acked": acked}
            if time.monotonic() > deadline:
                lost = max(acked - unique, 0) or ledger["lost"]
                return {**ledger, "balanced": False, "lost": lost, "acked": acked}
            self._stop.wait(POLL_S)

    def _report(
        self, scenario: Scenario, watch: Watch, service: Service, ledger: dict[str, Any], *, complete: bool
    ) -> dict[str, Any]:
        incidents = watch.incidents()
        actions = [action for incident in incidents for action in incident["actions"]]
        done = next((action for action in actions if action.get("state") == "done"), None)
        missing = service.get("/v1/artwork/missing")["images"]
        return {
            "incidents": [_incident(incident, scenario) for incident in incidents],
            "verdicts": [
                {
                    "stream": verdict["stream"], "reason": verdict["reason"], "detector": defect["detector"],
                    "verdict": defect["verdict"],
                    "frame": f"/v1/probes/{verdict['id']}/frame.png?number={defect['frame']}",
                }
                for verdict in watch.verdicts()
                for defect in verdict["defects"]
                if defect["frame"] >= 0
            ],
            "artwork": {"missing": [[image["title"], image["lang"], image["kind"]] for image in missing]},
            "remediation": {"action": done["action"] if done else None, "outcome": _outcome(done)},
            "false_pages": sum(not scenario.explains(incident) for incident in incidents),
            "ledger": {name: ledger[name] for name in ("balanced", "lost", "double", "acked")},
            "complete": complete,
            "lacking": watch.seen.lacking,
            "url": self.url,
            "seconds": round(time.monotonic() - self._began_s, 1),
        }  # fmt: skip

    def _save(self, places: stage.Places, service: Service, scenario: Scenario, report: dict[str, Any]) -> None:
        """Keep the overlay and the frames as files beside the report."""
        expression = graph_expression("qoe.rebuffer.ratio", scenario.stall)
        graph = service.get_bytes("/api/v1/graph", q=expression, s="e-60m", format="png", w=1000, h=400)
        (places.root / "week-over-week.png").write_bytes(graph)
        for verdict in report["verdicts"]:
            name = f"{verdict['stream']}-{verdict['detector']}.png"
            (places.root / name).write_bytes(service.get_bytes(verdict["frame"]))
        (places.root / "report.json").write_text(json.dumps(report, indent=1))


def _outcome(action: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a remediation did: the call's status and answer, the cohort's value and everyone else's before and after."""
    return action and {name: action.get(name) for name in ("status", "answer", "before", "after")}


def _incident(incident: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """What a report tells of an incident; times in seconds of the demonstration's clock since the live start."""

    def since(ms: int | None) -> float | None:
        return None if ms is None else round((ms - scenario.start_ms) / 1000, 1)

    return {
        "rule": incident["rule"],
        "cohort": incident["cohort"],
        "n": incident["n"],
        "p": incident["p"],
        "sessions": incident["affected_sessions"],
        "onset_s": since(incident["since_ms"]),
        "opened_s": since(incident["opened_ms"]),
        "closed_s": since(incident["closed_ms"]),
        "state": incident["state"],
        "title": incident["title"],
        "expected": scenario.explains(incident),
    }


def _check_artwork(url: str, inventory: Path, images: str) -> None:
    command = [sys.executable, "-m", "tocsin.cli", "artwork", "check", str(inventory)]
    done = subprocess.run(
        [*command, "--base-url", images, "--server", url, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnavailableError(f"checking the artwork: {done.stderr.strip()[-500:]}")
