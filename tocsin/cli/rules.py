"""`tocsin rules check|schema`: whether a rules file can be used, and the JSON Schema that editors complete it by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tocsin.cli.options import AsJson

File = Annotated[Path | None, typer.Argument(help="Rules (YAML); without one, the shipped set.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help=__doc__)
    app.add_typer(group, name="rules")

    @group.command()
    def check(file: File = None, as_json: AsJson = False) -> None:
        """Read a rules file as alerting does; exit status 2 and one line for the first thing that is wrong with it.

        \b
        The shipped rules, to start from (alerting/default_rules.yaml):
          tocsin rules check
        Before they go live (configuration key `rules`):
          tocsin rules check rules.yaml
        """
        from tocsin.app.alerts import DEFAULT_RULES, read_rules

        rules = read_rules(file)
        if as_json:
            shown = [
                {"name": rule.name, "metric": rule.metric, "kind": rule.kind, "severity": rule.severity,
                 "slices": [",".join(keys) or "all" for keys in rule.slices], "windows": rule.windows,
                 "enabled": rule.enabled}
                for rule in rules
            ]  # fmt: skip
            typer.echo(json.dumps({"file": str(file or DEFAULT_RULES), "rules": shown}))
            return
        table = Table("rule", "metric", "kind", "severity", "slices", box=None)
        for rule in rules:
            name = rule.name if rule.enabled else f"{rule.name} (off)"
            slices = " ".join(",".join(keys) or "all" for keys in rule.slices)
            table.add_row(name, rule.metric, rule.kind, rule.severity, slices)
        Console(markup=False, highlight=False).print(table)
        typer.echo(f"{len(rules)} rules can be used")

    @group.command()
    def schema() -> None:
        """Print the JSON Schema (2020-12) of a rules file.

        \b
        For completion in an editor with a YAML language server:
          tocsin rules schema > rules.schema.json
          # first line of the rules file:
          # yaml-language-server: $schema=rules.schema.json
        """
        from alerting.ruleset import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))
