"""`tocsin dev kafka|clickhouse up|down|status`: real servers for development and tests, by one command."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tocsin.app.dev.clickhouse import ClickHouseServer, ClickHouseStatus
from tocsin.app.dev.kafka import KafkaServer, KafkaStatus

NOT_RUNNING_STATUS = 3

app = typer.Typer(help="Start and stop real servers for development and tests.", no_args_is_help=True)
kafka_app = typer.Typer(help="An Apache Kafka broker on the loopback interface.", no_args_is_help=True)
clickhouse_app = typer.Typer(help="A ClickHouse server on the loopback interface.", no_args_is_help=True)
app.add_typer(kafka_app, name="kafka")
app.add_typer(clickhouse_app, name="clickhouse")


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    parent.add_typer(app, name="dev")


Folder = Annotated[
    Path | None, typer.Option("--folder", help="Settings, data and log of this server [default: in the cache].")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0: the port of last time, else a free one.")]
Delete = Annotated[bool, typer.Option("--delete", help="Remove the server's data as well.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@kafka_app.command("up")
def kafka_up(folder: Folder = None, port: Port = 0, as_json: Json = False) -> None:
    """Start the broker, wait until it answers, and print where it is. Does nothing if it runs."""
    _print(KafkaServer(folder).up(port), as_json)


@kafka_app.command("down")
def kafka_down(folder: Folder = None, delete: Delete = False, as_json: Json = False) -> None:
    """Stop the broker. Does nothing if none runs."""
    _print(KafkaServer(folder).down(delete), as_json)


@kafka_app.command("status")
def kafka_status(folder: Folder = None, as_json: Json = False) -> None:
    """Print whether the broker runs, and where; exit status 3 if it does not."""
    _print_status(KafkaServer(folder).status(), as_json)


@clickhouse_app.command("up")
def clickhouse_up(folder: Folder = None, port: Port = 0, as_json: Json = False) -> None:
    """Start the server, wait until it answers, and print where it is. Does nothing if it runs."""
    _print(ClickHouseServer(folder).up(port), as_json)


@clickhouse_app.command("down")
def clickhouse_down(folder: Folder = None, delete: Delete = False, as_json: Json = False) -> None:
    """Stop the server. Does nothing if none runs."""
    _print(ClickHouseServer(folder).down(delete), as_json)


@clickhouse_app.command("status")
def clickhouse_status(folder: Folder = None, as_json: Json = False) -> None:
    """Print whether the server runs, and where; exit status 3 if it does not."""
    _print_status(ClickHouseServer(folder).status(), as_json)


def _print(status: KafkaStatus | ClickHouseStatus, as_json: bool) -> None:
    fields = asdict(status)
    if as_json:
        typer.echo(json.dumps(fields))
        return
    for name, value in fields.items():
        typer.echo(f"{name:<10} {value}")


def _print_status(status: KafkaStatus | ClickHouseStatus, as_json: bool) -> None:
    _print(status, as_json)
    if not status.running:
        raise typer.Exit(NOT_RUNNING_STATUS)
