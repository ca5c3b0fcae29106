"""`tocsin`: one command a role, tools for people, and the demonstration. One file a command group."""

from __future__ import annotations

import importlib
import sys

import typer

from tocsin.model.errors import InputError, TocsinError

INPUT_STATUS = 2
FAILED_STATUS = 1

COMMANDS: dict[str, str] = {
    "up": "tocsin.cli.roles", "ingest": "tocsin.cli.roles", "jobs": "tocsin.cli.roles",
    "query": "tocsin.cli.query", "explain": "tocsin.cli.explain",
    "sql": "tocsin.cli.sql", "alerting": "tocsin.cli.roles",
    "probe": "tocsin.cli.probe", "simulate": "tocsin.cli.simulate", "demo": "tocsin.cli.demo",
    "watch": "tocsin.cli.watch", "artwork": "tocsin.cli.artwork",
    "rules": "tocsin.cli.rules", "doctor": "tocsin.cli.doctor",
    "dev": "tocsin.cli.dev", "config": "tocsin.cli.config", "keys": "tocsin.cli.keys",
}  # fmt: skip
"""Command -> module that has it: only the module of the command asked for is imported, so that `--help` is quick."""


def main() -> None:
    """Entry point: an error of Tocsin's own is one line on stderr; status 2 for bad input, 1 for what failed."""
    try:
        app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
        app.callback()(lambda: None)  # keeps it a group of commands also where one command alone is registered
        wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        modules = [COMMANDS[wanted]] if wanted in COMMANDS else list(dict.fromkeys(COMMANDS.values()))
        for name in modules:
            importlib.import_module(name).register(app)
        app(prog_name="tocsin")
    except TocsinError as error:
        sys.stderr.write(f"tocsin: {' '.join(str(error).split())}\n")
        sys.exit(INPUT_STATUS if isinstance(error, InputError) else FAILED_STATUS)
