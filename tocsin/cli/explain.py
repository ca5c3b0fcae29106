"""`tocsin explain 'EXPR' --at TIME`: where one number of a graph comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tocsin.cli import remote
from tocsin.cli.options import DEFAULT_SERVER, AsJson, Server

Expression = Annotated[str, typer.Argument(metavar="'EXPR'", help="Expression of the stack language.")]
At = Annotated[str, typer.Option("--at", help="Time of the point: epoch, ISO time, or now-1h.")]
Step = Annotated[str | None, typer.Option("--step", help="1m (by default), 10m, 1h …")]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE of the line where there are several; again.")]
Limit = Annotated[int, typer.Option("--sessions", min=1, max=500, help="How many sessions to list.")]
Offset = Annotated[int, typer.Option("--offset", min=0, help="Sessions to skip: those of an earlier page.")]

AGREES = {True: "the sessions sum to it", False: "THE SESSIONS DO NOT SUM TO IT", None: "cannot be told"}
TAGS_SHOWN = ("title", "cdn", "device", "region")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def explain(
        expression: Expression,
        at: At,
        server: Server = DEFAULT_SERVER,
        step: Step = None,
        tag: Tag = None,
        sessions: Limit = 10,
        offset: Offset = 0,
        as_json: AsJson = False,
    ) -> None:
        """Explain one number of a running Tocsin: its definition, its ledger, the sessions that sum to it.

        \b
        The share of stalled time five minutes ago:
          tocsin explain ':true,:rebuffer-ratio' --at now-5m
        One line of several:
          tocsin explain ':true,:rebuffer-ratio,(,cdn,),:by' --at 2026-11-20T12:00Z --tag cdn=b
        """
        asked = [("q", expression), ("at", at), ("limit", str(sessions)), ("offset", str(offset))]
        asked += [("step", step)] if step else []
        answer = remote.get_json(server, "/v1/explain", [*asked, *(("tag", one) for one in tag or ())])
        if as_json:
            typer.echo(json.dumps(answer))
            return
        _print(answer)


def _print(answer: dict[str, Any]) -> None:
    shown, ledger, fates = answer["definition"], answer["ledger"], answer["heartbeats"]
    number = "no value" if answer["value"] is None else f"{answer['value']:.6g} {shown['unit']}"
    proof = f"{ledger['buckets']} buckets, {'balanced' if ledger['balanced'] else 'NOT balanced'}"
    facts = {
        "number": f"{number}, {_time(answer['from_ms'])} to {_time(answer['to_ms'])}",
        "means": f"{shown['metric']}: {shown['meaning']}",
        "formula": f"{shown['formula']}{'  (' + shown['source'] + ')' if shown['source'] else ''}",
        "agrees": f"{AGREES[answer['agrees']]}{''.join('; ' + text for text in answer['differences'])}",
        "read from": f"cube {answer['source']['cube'] or 'none'}: {', '.join(answer['source']['tables'])}",
        "minutes": answer["completeness"]["text"],
        "ledger": f"{proof}, {ledger['lost']} messages lost, {ledger['double']} double",
        "heartbeats": ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in fates.items()),
    }
    console = Console(highlight=False, markup=False)
    console.print(_table(("", ""), list(facts.items())))
    parts = [(p["name"], _number(p["sum"]), _number(p["sum_of_sessions"]), p["unit"], p["meaning"])
             for p in answer["parts"]]  # fmt: skip
    console.print(_table(("part", "sum", "of sessions", "unit", "meaning"), parts))
    rows = [
        (s["session_id"], _number(s["adds"]), f"{s['share'] or 0:.1%}", str(s["heartbeats"]),
         " ".join(f"{key}={s['tags'][key]}" for key in TAGS_SHOWN if key in s["tags"]))
        for s in answer["sessions"]
    ]  # fmt: skip
    console.print(_table(("session", "adds", "share", "heartbeats", "tags"), rows))
    further = f"; --offset {answer['next_offset']} has more" if answer["next_offset"] else ""
    typer.echo(f"{len(rows)} of {answer['sessions_total']} sessions{further}", err=True)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(*heads, box=None, pad_edge=False, show_header=any(heads))
    for row in rows:
        table.add_row(*row)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
