"""`tocsin doctor`: can Tocsin work here, and does its ledger close?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tocsin.app.config import Config, load
from tocsin.cli.options import AsJson, ConfigFile
from tocsin.cli.remote import get_json

if TYPE_CHECKING:
    from tocsin.app.checks import Finding

FAULTY_STATUS = 1
MARKS = {"ok": "ok", "note": "note", "bad": "BAD"}
PROBLEMS_SHOWN = 20

Ledger = Annotated[bool, typer.Option("--ledger", help="Prove that everything in the log is counted once.")]
Asked = Annotated[str, typer.Option("--server", help="With --ledger: ask a running Tocsin, as http://HOST:PORT.")]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def doctor(ledger: Ledger = False, server: Asked = "", file: ConfigFile = None, as_json: AsJson = False) -> None:
        """Look at what is installed, free and reachable, or (--ledger) prove the count.

        Exit status 1 where something is BAD, or where the ledger does not close.

        \b
        Before the first start, with this folder's tocsin.toml:
          tocsin doctor
        The proof of a running Tocsin, and of a stopped one's data folder:
          tocsin doctor --ledger --server http://127.0.0.1:8080
          TOCSIN_DATA=.tocsin tocsin doctor --ledger
        """
        if ledger:
            proof = get_json(server, "/v1/ledger") if server else _own_ledger(load(file))
            _show_proof(proof, as_json=as_json)
            well = bool(proof["balanced"])
        else:
            findings = _examine(load(file))
            _show_findings(findings, as_json=as_json)
            well = all(finding.state != "bad" for finding in findings)
        if not well:
            raise typer.Exit(FAULTY_STATUS)


def _examine(config: Config) -> list[Finding]:
    with Console(stderr=True).status("loading") as shown:
        from tocsin.app.checks import examine

        findings = []
        for finding in examine(config):
            findings.append(finding)
            shown.update(f"after {finding.name}")
    return findings


def _own_ledger(config: Config) -> dict[str, Any]:
    with Console(stderr=True).status("reading log and store"):
        from tocsin.app.doctor import own_ledger

        report, waiting = own_ledger(config)
    return {**report.as_dict(), "waiting": waiting}


def _show_findings(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({finding.name: asdict(finding) for finding in findings}))
        return
    table = Table("", "looked at", "found", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(MARKS[finding.state], finding.name, finding.text)
    Console(markup=False, highlight=False).print(table)


def _show_proof(proof: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(proof))
        return
    state = "balanced" if proof["balanced"] else "NOT balanced"
    typer.echo(f"{state}: {proof['buckets']} buckets, {proof['lost']} messages lost, {proof['double']} double")
    typer.echo(", ".join(f"{name} {count}" for name, count in proof["totals"].items()))
    if proof.get("waiting"):
        typer.echo(f"{proof['waiting']} messages at the log's end wait to be counted: the next start does it")
    for problem in proof["problems"][:PROBLEMS_SHOWN]:
        typer.echo(problem)
    if len(proof["problems"]) > PROBLEMS_SHOWN:
        typer.echo(f"… and {len(proof['problems']) - PROBLEMS_SHOWN} more: --json has them")
