"""`tocsin demo`: the whole line on this machine, without a server: an audience, its incidents, pages and verdicts."""

from __future__ import annotations

import json
import signal
import sys
import threading
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel

from tocsin.app.demo.run import RATE, Demo, Options

INCOMPLETE_STATUS = 1
_TICK_MS = 60_000


class ConsoleScreen:
    """Steps, pages and the clock as lines on stderr, so that stdout is the report's."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._shown = -1
        self._minute = 0

    def step(self, text: str) -> None:
        """A line for a new step."""
        self._shown = -1
        self._console.print(f"[bold]▸ {text}[/bold]")

    def progress(self, done: float, text: str) -> None:
        """Every tenth of a step."""
        tenth = int(done * 10)
        if tenth > self._shown:
            self._shown = tenth
            self._console.print(f"  {done:4.0%} {text}", style="dim")

    def tell(self, now_ms: int, text: str) -> None:
        """A page or a verdict, framed as on-call gets it."""
        head, _, body = text.partition("\n")
        self._console.print(
            Panel(body or head, title=f"{_clock(now_ms)} {head if body else ''}".strip(), title_align="left")
        )

    def clock(self, now_ms: int, status: dict[str, Any]) -> None:
        """One line every five minutes of the demonstration's time."""
        minute = now_ms // _TICK_MS
        if minute >= self._minute + 5:
            self._minute = minute
            acked = status["sent"]["acked"]
            self._console.print(f"  {_clock(now_ms)}  {status['watching']} viewers, {acked} heartbeats", style="dim")


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S UTC")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def demo(
        folder: Annotated[Path, typer.Option(help="Where the run keeps its files; it is emptied first.")] = Path(
            "demo-out"
        ),
        seed: Annotated[int, typer.Option(help="Which audience, and what breaks.")] = 1,
        rate: Annotated[float, typer.Option(min=2, max=60, help="How fast the audience's clock runs.")] = RATE,
        leave: Annotated[bool, typer.Option("--exit", help="End after the report instead of on Ctrl-C.")] = False,
        no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the report as the last line, in JSON.")] = False,
    ) -> None:
        """Show what Tocsin does: a CDN stalls on one kind of device, a rendition lacks picture, a stream has a frozen
        picture baked in, a title lacks its Japanese artwork. It pages, decodes, drains the CDN, and closes its ledger.
        Takes under three minutes; the page stays up until Ctrl-C."""
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: stop.set())
        running = Demo(Options(folder, seed, rate, stay=not leave), ConsoleScreen(), stop)

        def show(report: dict[str, Any]) -> None:
            if as_json:
                typer.echo(json.dumps(report))
            else:
                _print(report, folder)
            if not leave:
                typer.echo(f"The page is at {running.url}/ until Ctrl-C.", err=True)
                if not no_browser:
                    webbrowser.open(running.url)

        report = running.run(show)
        if not report["complete"]:
            typer.echo("not seen in time: " + ", ".join(report["lacking"]), err=True)
            sys.exit(INCOMPLETE_STATUS)


def _print(report: dict[str, Any], folder: Path) -> None:
    for incident in report["incidents"]:
        typer.echo(f"{incident['state']:9} {incident['title']}")
    for verdict in report["verdicts"]:
        typer.echo(f"{verdict['verdict']:9} {verdict['detector']} on {verdict['stream']} ({verdict['reason']})")
    typer.echo(f"artwork   {len(report['artwork']['missing'])} images missing")
    typer.echo(f"action    {report['remediation']['action']}: {report['remediation']['outcome']}")
    ledger = report["ledger"]
    state = "balanced" if ledger["balanced"] else "NOT balanced"
    typer.echo(f"ledger    {state}: {ledger['acked']} acknowledged, {ledger['lost']} lost, {ledger['double']} double")
    typer.echo(f"pages     {report['false_pages']} false; {report['seconds']} s; files in {folder}/")
