"""`tocsin artwork check|missing`: look for every image that must exist; say what is missing right now."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from artwork import checker, series
from artwork.inventory import read_csv
from tocsin.cli.options import DEFAULT_SERVER, AsJson, Server
from tocsin.cli.remote import get_json
from tocsin.model.errors import UnavailableError
from tocsin.model.points import Point

POINTS_PER_REQUEST = 5_000
_TIMEOUT_S = 30.0


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help=__doc__)
    app.add_typer(group, name="artwork")

    @group.command()
    def check(
        inventory: Annotated[Path, typer.Argument(help="CSV: title, lang, kind, path[, launch, min_width, …].")],
        base_url: Annotated[str, typer.Option("--base-url", help="Where the paths of the inventory start.")],
        server: Server = DEFAULT_SERVER,
        key: Annotated[str, typer.Option("--key", envvar="TOCSIN_ADMIN_KEY", help="Key that may publish.")] = "",
        concurrency: Annotated[int, typer.Option(min=1, max=512, help="Requests at a time.")] = 64,
        as_json: AsJson = False,
    ) -> None:
        """Look for each expected image and publish what changed; exit status 0 also when some are missing."""
        images = read_csv(inventory)
        columns = (TextColumn("looking for images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=len(images))
            findings = asyncio.run(
                checker.check(images, base_url, concurrency, progress=lambda n: bar.update(task, completed=n))
            )
        known, now_ms = _known(server)
        points = series.changes(findings, known, now_ms)
        publish(server, points, key)
        states = Counter(finding.state for finding in findings)
        bad = [f for f in findings if f.state != "present"]
        if as_json:
            shown = [{"title": f.image.title, "lang": f.image.lang, "kind": f.image.kind, "state": f.state,
                      "detail": f.detail} for f in bad]  # fmt: skip
            typer.echo(json.dumps({"checked": len(findings), **states, "published": len(points), "images": shown}))
            return
        _table([(*f.image.key, f.state, f.detail) for f in bad])
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        typer.echo(f"{len(findings)} images: {counts}; {len(points)} changes published")

    @group.command()
    def missing(
        title: Annotated[str | None, typer.Option(help="Only this title.")] = None,
        lang: Annotated[str | None, typer.Option(help="Only this language.")] = None,
        server: Server = DEFAULT_SERVER,
        as_json: AsJson = False,
    ) -> None:
        """Say which images are missing or wrong right now."""
        asked = {name: value for name, value in (("title", title), ("lang", lang)) if value is not None}
        answer = get_json(server, "/v1/artwork/missing", asked)
        if as_json:
            typer.echo(json.dumps(answer))
            return
        _table([(i["title"], i["lang"], i["kind"], i["state"], "") for i in answer["images"]])
        typer.echo(f"{len(answer['images'])} of {answer['expected']} images are missing or wrong")


def publish(server: str, points: list[Point], key: str = "") -> None:
    """Send points to a running server; raises `UnavailableError` where it does not take all of them."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    for at in range(0, len(points), POINTS_PER_REQUEST):
        metrics = [
            {"tags": {"name": p.name, **p.tags, "atlas.dstype": "gauge"}, "timestamp": p.ts_ms, "value": p.value}
            for p in points[at : at + POINTS_PER_REQUEST]
        ]
        url = f"{server.rstrip('/')}/api/v1/publish"
        try:
            answer = httpx.post(url, json={"tags": {}, "metrics": metrics}, headers=headers, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise UnavailableError(f"publishing to {url}: {error}; is `tocsin up` running?") from error
        if answer.status_code != httpx.codes.OK:
            raise UnavailableError(f"publishing to {url}: HTTP {answer.status_code}: {answer.text[:300]}")


def _known(server: str) -> tuple[dict[series.Key, series.Known], int]:
    answer = get_json(server, "/v1/artwork", {})
    known = {
        (i["title"], i["lang"], i["kind"]): series.Known(
            i["state"] != "present", i["state"] == "wrong", i["since_ms"], i["launch_ms"]
        )
        for i in answer["images"]
    }
    return known, answer["now_ms"]


def _table(rows: list[tuple[str, ...]]) -> None:
    table = Table("title", "lang", "kind", "state", "why")
    for row in rows[:200]:
        table.add_row(*row)
    if rows:
        Console().print(table)
