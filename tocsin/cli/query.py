"""`tocsin query 'EXPR'`: an expression of the stack language as a table, JSON or a PNG; without one, the query role."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from tocsin.cli import remote
from tocsin.cli.options import DEFAULT_SERVER, AsJson, ConfigFile, Server
from tocsin.cli.roles import Host, Port, role_config, serve_role
from tocsin.model.asl.times import format_duration
from tocsin.model.errors import InputError

BARS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 40
SPARK_WIDTH_MIN = 8
_STATS = ("last", "avg", "min", "max")
LINES_MAX = 200

Expression = Annotated[str | None, typer.Argument(metavar="'EXPR'", help="Expression; without one, run the role.")]
Start = Annotated[str, typer.Option("--start", help="Epoch, ISO time, or before end or now: e-3h, now-1d.")]
End = Annotated[str, typer.Option("--end", help="The same; s+1h is an hour after the start.")]
Step = Annotated[str | None, typer.Option("--step", help="1m, 10m, 1h …; by default as fine as fits.")]
Png = Annotated[Path | None, typer.Option("--png", help="Write the chart there instead of printing.")]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def query(
        expression: Expression = None,
        server: Server = DEFAULT_SERVER,
        start: Start = "e-3h",
        end: End = "now",
        step: Step = None,
        png: Png = None,
        as_json: AsJson = False,
        file: ConfigFile = None,
        host: Host = None,
        port: Port = None,
    ) -> None:
        """Ask a running Tocsin and show each line as a row; WITHOUT an expression, run the query role.

        \b
        One line a CDN:
          tocsin query ':true,:rebuffer-ratio,(,cdn,),:by'
        A chart over last week's curve:
          tocsin query 'cdn,b,:eq,:rebuffer-ratio,:dup,1w,:offset' --png b.png
        The role, which needs store = http://…:
          tocsin query --port 8081

        Words of the language: docs/reference/stack-language.md.
        """
        if expression is None:
            serve_role(role_config(file, host, port), "query")
            return
        asked = {"q": expression, "s": start, "e": end, **({"step": step} if step else {})}
        if png is not None:
            _write(png, remote.get(server, "/api/v1/graph", {**asked, "format": "png"}).content)
            typer.echo(f"{png} written", err=True)
            return
        answer = remote.get_json(server, "/api/v1/graph", {**asked, "format": "v2.json", "hints": "no-image"})
        if as_json:
            typer.echo(json.dumps(as_lines(answer)))
            return
        _print(answer)


def as_lines(answer: list[dict[str, Any]]) -> dict[str, Any]:
    """One object: range, notices, and each line's label, tags and values (null where there is none)."""
    meta = next(item for item in answer if item["type"] == "graph-metadata")
    lines = [
        {"label": item["label"], "tags": item["tags"], "query": item["query"], "values": _json_values(item)}
        for item in answer
        if item["type"] == "timeseries"
    ]
    return {
        "start_ms": meta["startTime"],
        "end_ms": meta["endTime"],
        "step_ms": meta["step"],
        "lines": lines,
        "notices": [*meta["warnings"], *(item["label"] for item in answer if item["type"] == "message")],
    }


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """`values` as at most `width` bars from the least (low) to the most (high); a blank where there is no value."""
    groups = min(width, len(values))
    means = []
    for at in range(groups):
        part = values[at * len(values) // groups : (at + 1) * len(values) // groups]
        known = [value for value in part if math.isfinite(value)]
        means.append(sum(known) / len(known) if known else math.nan)
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    top = len(BARS) - 1
    return "".join(
        " " if math.isnan(mean) else BARS[round((mean - low) / (high - low) * top) if high > low else 0]
        for mean in means
    )


def _print(answer: list[dict[str, Any]]) -> None:
    """A row a line, as wide as the terminal: the bars give way first, down to `SPARK_WIDTH_MIN`, then the labels."""
    meta = next(item for item in answer if item["type"] == "graph-metadata")
    lines = [item for item in answer if item["type"] == "timeseries"]
    console = Console(highlight=False, markup=False)
    shown = [(item["label"], _floats(item)) for item in lines[:LINES_MAX]]
    stats = [_stats(values) for _, values in shown]
    columns = [["line", *(label for label, _ in shown)], *zip(_STATS, *stats, strict=True)]
    room = sum(2 + max(map(cell_len, column)) for column in columns)
    width = min(SPARK_WIDTH, max(SPARK_WIDTH_MIN, console.width - room))
    first, last = (_time(meta[key] - meta["step"]) for key in ("startTime", "endTime"))
    table = Table(box=None, pad_edge=False)
    table.add_column("line", no_wrap=True, overflow="ellipsis")
    table.add_column("", no_wrap=True, min_width=width)
    for name in _STATS:
        table.add_column(name, justify="right", no_wrap=True)
    for (label, values), row in zip(shown, stats, strict=True):
        table.add_row(label, sparkline(values, width), *row)
    typer.echo(f"{first} to {last}, step {format_duration(meta['step'])}")
    console.print(table)
    if len(lines) > LINES_MAX:
        typer.echo(f"{len(lines) - LINES_MAX} more lines: use --json, or filter", err=True)
    for notice in [*meta["warnings"], *(item["label"] for item in answer if item["type"] == "message")]:
        typer.echo(f"notice: {notice}", err=True)


def _stats(values: Sequence[float]) -> tuple[str, ...]:
    """`_STATS` of what has a value, as text; dashes where nothing has."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return ("–",) * len(_STATS)
    return tuple(f"{value:.6g}" for value in (known[-1], sum(known) / len(known), min(known), max(known)))


def _floats(item: dict[str, Any]) -> list[float]:
    """Values of a line; texts such as "NaN" stand for what is no number."""
    return [float(value) for value in item["data"]["values"]]


def _json_values(item: dict[str, Any]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in _floats(item)]


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"writing the chart {path}: {error.strerror}; choose another file") from error
