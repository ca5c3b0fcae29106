"""`tocsin config`: every key, its value and what it means."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.table import Table

from tocsin.app.config import ENV_PREFIX, Config, load
from tocsin.cli.options import AsJson, ConfigFile

SECRETS = frozenset({"admin_key", "write_keys", "bulk_keys", "pagers", "actions", "store", "service_token"})


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def config(file: ConfigFile = None, as_json: AsJson = False) -> None:
        """Show the configuration as it is read from file and environment; secrets are not shown."""
        values = load(file).model_dump(mode="json")
        shown = {name: "(set)" if name in SECRETS and value else value for name, value in values.items()}
        if as_json:
            typer.echo(json.dumps(shown))
            return
        table = Table("key", "value", "environment", "meaning")
        for name, value in shown.items():
            table.add_row(name, json.dumps(value), ENV_PREFIX + name.upper(), Config.model_fields[name].description)
        Console().print(table)
