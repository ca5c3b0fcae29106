"""`tocsin keys create|list|revoke|audit`: who may use the query, alert and admin API, and who changed what."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tocsin.app.config import load
from tocsin.cli.options import AsJson, ConfigFile
from tocsin.model.errors import InputError

if TYPE_CHECKING:
    from tocsin.adapters.state.keys import KeyRows

Name = Annotated[str, typer.Argument(help="Whose it is: shown in timelines and in the audit.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `tocsin keys list` shows it.")]
Scopes = Annotated[list[str], typer.Option("--scope", help="What it may do; again for more.")]
Days = Annotated[int, typer.Option("--days", help="How long it is valid.")]
Tenant = Annotated[list[str] | None, typer.Option("--tenant", help="KEY=VALUE that all it sees must have; again.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000, help="How many writes.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help=__doc__)
    app.add_typer(group, name="keys")

    @group.command()
    def create(
        name: Name, scope: Scopes, days: Days = 365, tenant: Tenant = None, file: ConfigFile = None,
        as_json: AsJson = False,
    ) -> None:  # fmt: skip
        """Make a token and print it, this once; from the first one on every caller needs one.

        \b
        For somebody on call (scopes: docs/access.md):
          tocsin keys create ann --scope query:read --scope alerts:read --scope alerts:write
        For a CDN that may see its own share:
          tocsin keys create cdn-b --scope query:read --tenant cdn=b --days 90
        """
        from tocsin.app.tokens import make_token, token_doc

        token, row = make_token(name, scope, days, _now_ms(), dict(_pair(one) for one in tenant or ()))
        with _opened(file) as rows:
            rows.add_token(row)
            _note(rows, f"keys create {row.id} {name}")
        if as_json:
            typer.echo(json.dumps({**token_doc(row, _now_ms()), "token": token}))
            return
        typer.echo(token)
        typer.echo(f"it is valid until {_time(row.expires_ms)}, and not shown again; send it as", err=True)
        typer.echo("Authorization: Bearer TOKEN, or set TOCSIN_TOKEN for the commands", err=True)

    @group.command("list")
    def listed(file: ConfigFile = None, as_json: AsJson = False) -> None:
        """Show all tokens; their secrets are kept nowhere."""
        from tocsin.app.tokens import token_doc

        with _opened(file) as rows:
            docs = [token_doc(row, _now_ms()) for row in rows.tokens()]
        if as_json:
            typer.echo(json.dumps(docs))
            return
        _print(("id", "name", "state", "expires", "scopes", "tenant"), [
            (d["id"], d["name"], d["state"], _time(d["expires_ms"]), " ".join(d["scopes"]), _tags(d["tenant"]))
            for d in docs
        ])  # fmt: skip

    @group.command()
    def revoke(key_id: KeyId, file: ConfigFile = None) -> None:
        """End a token; a running Tocsin refuses it within a second."""
        with _opened(file) as rows:
            if not rows.revoke_token(key_id, _now_ms()):
                raise InputError(f"revoking token {key_id!r}: there is none, or it is revoked; see `tocsin keys list`")
            _note(rows, f"keys revoke {key_id}")
        typer.echo(f"{key_id} is revoked")

    @group.command()
    def audit(limit: Limit = 50, file: ConfigFile = None, as_json: AsJson = False) -> None:
        """Show the newest writes: who changed what, when, and how it was answered."""
        with _opened(file) as rows:
            found = rows.audit(limit)
        if as_json:
            docs = [{"at_ms": r.at_ms, "who": r.who, "what": r.what, "status": r.status} for r in found]
            typer.echo(json.dumps(docs))
            return
        _print(("when", "who", "what", "status"), [(_time(r.at_ms), r.who, r.what, str(r.status)) for r in found])


@contextmanager
def _opened(file: Path | None) -> Iterator[KeyRows]:
    from tocsin.adapters.state.keys import KeyRows

    rows = KeyRows(load(file).keys_path)
    try:
        yield rows
    finally:
        rows.close()


def _note(rows: KeyRows, what: str) -> None:
    """Note in the audit what was done on this machine, under its user's name."""
    from tocsin.adapters.state.keys import AuditRow

    rows.add_audit(AuditRow(_now_ms(), f"{getpass.getuser()} (command)", what, 0))


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise InputError(f"binding a token to {text!r}: write it as KEY=VALUE, for example cdn=b")
    return key, value


def _print(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _tags(tags: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in tags.items())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
