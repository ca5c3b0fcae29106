"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file, else tocsin.toml if any.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Server = Annotated[str, typer.Option("--server", help="Base URL of a running Tocsin.")]
DEFAULT_SERVER = "http://127.0.0.1:8080"
