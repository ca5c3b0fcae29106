"""`tocsin simulate`: an audience in real time against a running server, with faults, and a file of what was true."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer
from rich.console import Console
from rich.status import Status

from tocsin.cli import remote
from tocsin.cli.options import DEFAULT_SERVER, AsJson
from tocsin.model.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from player_sim.simulator import Simulator

MINUTE_MS = 60_000
DAY_MS = 86_400_000
HEARTBEATS = "/v1/heartbeats"
NO_HISTORY = (
    "drawing a history: a running server counts only what is on time, so there can be none; "
    "`tocsin demo` draws its weeks into a store of its own"
)

Url = Annotated[
    str, typer.Option("--url", "--server", help="Base URL of the gateway, or the whole address to post to.")
]
Key = Annotated[str, typer.Option("--key", envvar="TOCSIN_WRITE_KEY", help="Write key, if the gateway has any.")]
Seed = Annotated[int, typer.Option("--seed", help="Which audience: the same seed plays the same.")]
Viewers = Annotated[int, typer.Option("--viewers", min=1, max=50_000, help="Mean number of viewers at once.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="How long; 0 until Ctrl-C or SIGTERM.")]
FaultTexts = Annotated[list[str] | None, typer.Option("--fault", help="KIND:KEY=VALUE,…; may be given several times.")]
Truth = Annotated[Path | None, typer.Option("--truth", help="Where to write what was really wrong and really sent.")]
PerRequest = Annotated[int, typer.Option("--events-per-request", min=1, max=500, help="Heartbeats in one POST.")]
Twice = Annotated[float, typer.Option("--twice", min=0, max=1, help="Share of the requests that are sent twice.")]
History = Annotated[bool, typer.Option("--history", hidden=True)]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def simulate(
        url: Url = DEFAULT_SERVER,
        key: Key = "",
        seed: Seed = 1,
        viewers: Viewers = 200,
        minutes: Minutes = 0.0,
        fault: FaultTexts = None,
        truth: Truth = None,
        events_per_request: PerRequest = 20,
        twice: Twice = 0.0,
        as_json: AsJson = False,
        history: History = False,
    ) -> None:
        """Play an audience in real time and send its heartbeats to a running Tocsin.

        Stops after --minutes, on Ctrl-C or SIGTERM: then it delivers what waits
        and writes the truth file. Exit status 1 where heartbeats could not be
        delivered. There are no past weeks in it: a running server counts only what
        is on time (`tocsin demo` draws a history into a store of its own).

        \b
        Ten minutes in which viewers of one CDN on TVs begin to stall:
          tocsin simulate --minutes 10 --fault stall:cdn=cdn-b,device=tv,from=3m
        Kinds of faults (a part of a name will do): av_drift, baked_freeze,
          cohort_stall, error_burst, frozen_rendition, premiere, slow_start,
          start_failures, traffic_collapse
        Keys: cdn, device, region, title, stream, …; from, for and ramp as 90s
          or 5m; the kind's own numbers: factor, share, …
        """
        if history:
            raise InputError(NO_HISTORY)
        simulator = _simulator(url, key, seed, viewers, minutes, fault or [], events_per_request, twice)
        with Console(stderr=True).status("joining") as shown:
            found = asyncio.run(_play(simulator, shown))
        if truth is not None:
            _write(truth, found)
        _report(found, truth, as_json=as_json)
        sent = found["sent"]
        lost = sent["abandoned"] + sum(sent["refused"].values())
        if lost or not sent["delivered"]:
            raise UnavailableError(
                f"sending to {url}: {lost} heartbeats were refused or given up ({sent['refused']}), "
                f"{'all' if sent['delivered'] else 'not all'} of the rest delivered; see the gateway's /metrics"
            )


def _simulator(
    url: str, key: str, seed: int, viewers: int, minutes: float, faults: list[str], per_request: int, twice: float
) -> Simulator:
    from player_sim.audience import World, WorldConfig
    from player_sim.fault_text import parse
    from player_sim.mischief import MischiefSettings
    from player_sim.sender import SenderSettings
    from player_sim.simulator import Simulator, SimulatorSettings

    address = _address(url)
    world = World(WorldConfig(seed=seed, viewers=float(viewers)))
    start_ms = _now_ms()
    end_ms = start_ms + round(minutes * MINUTE_MS) if minutes else 0
    made = [parse(text, world, start_ms, end_ms or start_ms + 365 * DAY_MS) for text in faults]
    remote.get(urlunsplit((*urlsplit(address)[:2], "", "", "")), "/healthz")
    return Simulator(
        world, made, address, _now_ms, _sleep_until_ms, start_ms=start_ms, end_ms=end_ms,
        settings=SimulatorSettings(
            events_per_request=per_request,
            sender=SenderSettings(write_key=key),
            mischief=MischiefSettings(twice_share=twice),
        ),
    )  # fmt: skip


async def _play(simulator: Simulator, shown: Status) -> dict[str, Any]:
    """Play until its end or a signal; `shown` follows twice a second."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    playing = asyncio.ensure_future(simulator.run(stop))
    while not playing.done():
        status = simulator.status()
        sent = status["sent"]
        word = "delivering what waits" if stop.is_set() else f"{status['watching']} viewers"
        refused = sum(sent["refused"].values()) + sent["abandoned"]
        shown.update(f"{word}, {sent['acked']} heartbeats acknowledged, {refused} refused, {sent['retries']} retries")
        await asyncio.wait([playing], timeout=0.5)
    return playing.result()


def _report(found: dict[str, Any], truth: Path | None, *, as_json: bool) -> None:
    if as_json:
        shown = {key: found[key] for key in ("seed", "start_ms", "end_ms", "faults", "sent")}
        typer.echo(json.dumps({**shown, "truth": str(truth) if truth else None}))
        return
    sent = found["sent"]
    typer.echo(f"{sent['issued']} heartbeats made, {sent['acked']} acknowledged in {sent['requests']} requests")
    for fault in found["faults"]:
        cohort = ", ".join(f"{key}={value}" for key, value in fault["cohort"].items()) or "everybody"
        typer.echo(f"{fault['fault']} of {cohort}: {fault['affected_sessions']} sessions reported from within it")
    if truth is not None:
        typer.echo(f"{truth} written")


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"sending to {url!r}: give --url as http://HOST:PORT")
    return url if parts.path.strip("/") else urlunsplit((parts.scheme, parts.netloc, HEARTBEATS, parts.query, ""))


def _write(path: Path, found: dict[str, Any]) -> None:
    from player_sim import truth

    try:
        truth.write(path, found)
    except OSError as error:
        raise InputError(f"writing the truth to {path}: {error.strerror}; choose another file for --truth") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _sleep_until_ms(until_ms: int) -> None:
    await asyncio.sleep(max(0.0, (until_ms - _now_ms()) / 1000))
