"""`tocsin up` and one command a role: the same parts in one pair of processes, or each in its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.app.config import Config, load
from tocsin.cli.options import ConfigFile
from tocsin.model.errors import ConfigError

if TYPE_CHECKING:
    from tocsin.app.core import Part

Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def up(file: ConfigFile = None, host: Host = None, port: Port = None) -> None:
        """Run everything on this machine: gateway, jobs, query, alerting, probe and page. Stop with Ctrl-C."""
        from tocsin.app import up as together

        _exit(together.run(role_config(file, host, port)))

    @app.command()
    def ingest(file: ConfigFile = None, host: Host = None, port: Port = None) -> None:
        """Run the gateway alone."""
        from tocsin.app.gateway import run

        run(role_config(file, host, port))

    @app.command()
    def jobs(file: ConfigFile = None, host: Host = None, port: Port = None) -> None:
        """Run a worker that counts its share of the partitions (needs log = kafka://… and a store server).

        It listens for /metrics, /healthz and /readyz only.
        """
        config = role_config(file, host, port)
        if not config.log:
            raise ConfigError("running jobs alone: the embedded log serves `tocsin up` only; set log = kafka://…")
        from tocsin.app.kafka_jobs import run_kafka_jobs

        run_kafka_jobs(config)

    @app.command()
    def alerting(file: ConfigFile = None, host: Host = None, port: Port = None) -> None:
        """Run alerting alone: it tails the store, keeps incidents, pages."""
        serve_role(role_config(file, host, port), "alerting")


def serve_role(config: Config, part: Part) -> None:
    """Serve one part's loops and routes on the configured address until SIGTERM."""
    if not config.store:
        raise ConfigError(f"running {part} alone: the embedded store serves `tocsin up` only; set store = http://…")
    from tocsin.app import core

    process = core.Core(config, (part,))
    try:
        status = core.serve(process, host=config.host, port=config.port)
    finally:
        process.close()
    _exit(status)


def role_config(file: Path | None, host: str | None = None, port: int | None = None) -> Config:
    """The configuration with the flags of a role over it."""
    given = {"host": host, "port": port}
    return load(file, {name: value for name, value in given.items() if value is not None})


def _exit(status: int) -> None:
    if status:
        sys.exit(status)
