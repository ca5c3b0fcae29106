"""`tocsin simulate`: a simulated audience against a running Tocsin, with faults, and a truth file at the end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from player_sim import truth as truth_file
from player_sim.audience import World, WorldConfig
from player_sim.faults import Cohort, Fault, make
from player_sim.sender import SenderSettings
from player_sim.simulator import Simulator, SimulatorSettings
from tocsin.cli.options import DEFAULT_SERVER, AsJson, Server
from tocsin.model.errors import InputError

MINUTE_MS = 60_000
DAY_MS = 86_400_000


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def simulate(
        server: Server = DEFAULT_SERVER,
        key: Annotated[str, typer.Option("--key", help="Write key; one that may send for many players.")] = "",
        seed: Annotated[int, typer.Option(help="Which audience.")] = 1,
        viewers: Annotated[float, typer.Option(min=1, help="Mean viewers at once.")] = 200.0,
        minutes: Annotated[float, typer.Option(min=0, help="How long; 0: until Ctrl-C.")] = 0.0,
        fault: Annotated[
            list[str] | None,
            typer.Option(help="kind:tag=value,…@MINUTE, such as cohort_stall:cdn=cdn-b,device=tv@5; may be repeated."),
        ] = None,
        truth: Annotated[Path | None, typer.Option(help="Where to write what really happened, as JSON.")] = None,
        events_per_request: Annotated[int, typer.Option(min=1, max=500, help="Heartbeats a request.")] = 20,
        as_json: AsJson = False,
    ) -> None:
        """Play an audience in real time and send its heartbeats over HTTP; SIGTERM delivers what waits, then ends.

        It has no history: the drawn weeks of `tocsin demo` can be written only before Tocsin starts.
        """
        now_ms = int(time.time() * 1000)
        faults = [_fault(text, now_ms) for text in fault or ()]
        simulator = Simulator(
            World(WorldConfig(seed=seed, viewers=viewers)),
            faults,
            f"{server.rstrip('/')}/v1/heartbeats",
            lambda: int(time.time() * 1000),
            _sleep_until_ms,
            start_ms=now_ms,
            end_ms=now_ms + int(minutes * MINUTE_MS) if minutes else 0,
            settings=SimulatorSettings(events_per_request=events_per_request, sender=SenderSettings(write_key=key)),
        )
        found = asyncio.run(_run(simulator))
        if truth is not None:
            truth_file.write(truth, found)
        typer.echo(json.dumps(found["sent"]) if as_json else _line(found["sent"]))


async def _run(simulator: Simulator) -> dict[str, Any]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await simulator.run(stop)


async def _sleep_until_ms(until_ms: int) -> None:
    await asyncio.sleep(max(until_ms / 1000 - time.time(), 0.0))


def _fault(text: str, now_ms: int) -> Fault:
    """A fault from `kind:tag=value,…@MINUTE`."""
    kind, _, rest = text.partition(":")
    tags, _, minute = rest.partition("@")
    pairs = [pair.partition("=") for pair in tags.split(",") if pair]
    if any(not sign for _, sign, _ in pairs) or (minute and not minute.isdecimal()):
        raise InputError(f"reading the fault {text!r}: write kind:tag=value,tag=value@MINUTE")
    start_ms = now_ms + int(minute or 0) * MINUTE_MS
    cohort = Cohort.of(**{tag: value for tag, _, value in pairs})
    return make(kind, cohort=cohort, start_ms=start_ms, end_ms=start_ms + DAY_MS)


def _line(sent: dict[str, Any]) -> str:
    refused = sum(sent["refused"].values())
    return f"{sent['issued']} heartbeats: {sent['acked']} acknowledged, {refused} refused, {sent['abandoned']} given up"
