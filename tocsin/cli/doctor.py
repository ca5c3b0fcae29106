"""`tocsin doctor`: can Tocsin work here, and does its ledger close?"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import socket
import sys
from typing import Annotated, Any

import typer

from tocsin.app.config import Config, load
from tocsin.cli.options import AsJson, ConfigFile
from tocsin.cli.remote import get_json
from tocsin.model.errors import TocsinError

FAULTY_STATUS = 1
PACKAGES = ("av", "chdb", "clickhouse-connect", "faust-streaming", "kafka-python", "numba", "uvloop")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def doctor(
        ledger: Annotated[
            bool, typer.Option("--ledger", help="Prove that everything in the log is counted once.")
        ] = False,
        server: Annotated[str, typer.Option("--server", help="Ask a running Tocsin instead of opening its data.")] = "",
        file: ConfigFile = None,
        as_json: AsJson = False,
    ) -> None:
        """Say what is installed and reachable, or (--ledger) print the ledger; exit status 1 where something is wrong.

        Without --server, --ledger opens the configured log and store, which an embedded Tocsin must not be using.
        """
        config = load(file)
        if ledger:
            proof = get_json(server, "/v1/ledger") if server else _ledger(config)
            _show(proof, proof["balanced"], as_json)
            return
        found = _examine(config)
        _show(found, all(value != "away" for value in found.values()), as_json)


def _ledger(config: Config) -> dict[str, Any]:
    from tocsin.adapters.store.clickhouse import ClickHouseStore
    from tocsin.app.doctor import ledger_report
    from tocsin.app.logs import open_reader

    store = ClickHouseStore(config.store_dsn, config.keep_days)
    with contextlib.closing(store), contextlib.closing(open_reader(config)) as reader:
        return ledger_report(store, reader, config.clock.now_ms(), quiet=True).as_dict()


def _examine(config: Config) -> dict[str, str]:
    found = {"python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in PACKAGES}
    with socket.socket() as probe:
        free = probe.connect_ex((config.host, config.port)) != 0
    found[f"port {config.port}"] = "free" if free else "in use"
    found["data folder"] = str(config.data.absolute())
    found["log"] = _state(config.log, lambda: _open_log(config)) if config.log else "embedded"
    found["store"] = _state(config.store, lambda: _open_store(config)) if config.store else "embedded"
    return found


def _state(where: str, attempt: Any) -> str:
    try:
        attempt()
    except TocsinError as error:
        sys.stderr.write(f"tocsin: {error}\n")
        return "away"
    return f"reachable ({where.rpartition('@')[2]})"


def _open_log(config: Config) -> None:
    from tocsin.app.logs import open_reader

    open_reader(config).close()


def _open_store(config: Config) -> None:
    from tocsin.adapters.store.clickhouse import ClickHouseStore

    ClickHouseStore(config.store_dsn, config.keep_days).close()


def _show(found: dict[str, Any], is_well: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found))
    else:
        for name, value in found.items():
            typer.echo(f"{name:<20} {value}")
    if not is_well:
        raise typer.Exit(FAULTY_STATUS)
