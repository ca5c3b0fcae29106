"""`tocsin sql "SELECT …"`: one read-only SELECT over the store's tables, as a table, JSON or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tocsin.cli import remote
from tocsin.cli.options import DEFAULT_SERVER, AsJson, Server
from tocsin.model.errors import InputError

ROWS_SHOWN_MAX = 1_000
FORMATS = ("csv", "json", "arrow", "parquet")

Query = Annotated[str, typer.Argument(metavar="'SELECT …'", help="One SELECT of ClickHouse's dialect.")]
Param = Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="Value of {NAME:Type}.")]
Format = Annotated[str | None, typer.Option("--format", help=f"Print this instead: {', '.join(FORMATS)}.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", help="Write to this file; its ending names the format where --format does not."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def sql(
        query: Query,
        param: Param = None,
        form: Format = None,
        output: Output = None,
        as_json: AsJson = False,
        server: Server = DEFAULT_SERVER,
    ) -> None:
        """Ask a running Tocsin in SQL, read-only; tables and columns: docs/reference/data-dictionary.md.

        \b
        Outcomes of a CDN's playbacks:
          tocsin sql 'SELECT outcome, count() FROM sessions WHERE cdn = {cdn:String} GROUP BY outcome' --param cdn=b
        To a file for pandas, DuckDB or a spreadsheet:
          tocsin sql 'SELECT * FROM sessions LIMIT 100000' --output sessions.parquet
        """
        asked: dict[str, Any] = {"query": query, "params": _params(param or [])}
        chosen = form or ("json" if as_json else output.suffix.lstrip(".") if output else None)
        if chosen is None:
            _print(remote.post(server, "/v1/sql", asked).json())
            return
        content = remote.post(server, "/v1/sql", {**asked, "format": chosen}).content
        if output is None:
            sys.stdout.buffer.write(content if not as_json else content + b"\n")
            return
        try:
            output.write_bytes(content)
        except OSError as error:
            raise InputError(f"writing the result {output}: {error.strerror}; choose another file") from error
        typer.echo(f"{output} written", err=True)


def _params(given: list[str]) -> dict[str, str]:
    params = {}
    for item in given:
        name, is_pair, value = item.partition("=")
        if not is_pair:
            raise InputError(f"reading --param {item!r}: write it as NAME=VALUE")
        params[name] = value
    return params


def _print(answer: dict[str, Any]) -> None:
    table = Table(*(column["name"] for column in answer["columns"]), box=None, pad_edge=False)
    for row in answer["rows"][:ROWS_SHOWN_MAX]:
        table.add_row(*("" if value is None else str(value) for value in row))
    Console(highlight=False, markup=False).print(table)
    if len(answer["rows"]) > ROWS_SHOWN_MAX:
        typer.echo(f"{len(answer['rows']) - ROWS_SHOWN_MAX} more rows: use --format or --output", err=True)
