"""`tocsin watch SESSION`: one playback's heartbeats as they come, until it has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tocsin.cli import remote
from tocsin.cli.options import DEFAULT_SERVER, AsJson, Server

Session = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the playback (session_id).")]
Every = Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")]

_PARTS = {
    "startup_wait_ms": "waiting", "playing_ms": "playing", "rebuffer_ms": "stalled", "seek_wait_ms": "seeking",
    "paused_ms": "paused", "ad_ms": "in advertisements", "freeze_ms": "of it frozen",
}  # fmt: skip
_NOT_COUNTED = {"late": "too late to count", "future": "too far ahead to count"}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def watch(session: Session, every: Every = 2.0, as_json: AsJson = False, server: Server = DEFAULT_SERVER) -> None:
        """Follow one playback live: a line a heartbeat, until it has ended or Ctrl-C.

        \b
        The playback that a viewer complains about:
          tocsin watch 8f14e45fceea167a
        """
        with suppress(KeyboardInterrupt):
            for heartbeat in _follow(server, session, every):
                typer.echo(json.dumps(heartbeat) if as_json else line(heartbeat))


def _follow(server: str, session: str, every_s: float) -> Iterator[dict[str, Any]]:
    """Each heartbeat once, up to the one with which the playback ends."""
    path = f"/v1/sessions/{quote(session, safe='')}"
    after, ended = -1, False
    while True:
        found = remote.get_json(server, path, {"after": str(after)})
        if after == -1 and not found["heartbeats"]:
            if found["session"] is not None:
                typer.echo(f"{session} ended: {found['session']['outcome']}; its heartbeats are not kept", err=True)
                return
            typer.echo(f"no heartbeat of {session} yet; a new one shows after some seconds", err=True)
        for heartbeat in found["heartbeats"]:
            ended = ended_after(heartbeat, ended)
            yield heartbeat
        if ended:
            return
        after = found["next"]
        time.sleep(every_s)


def ended_after(heartbeat: dict[str, Any], ended: bool) -> bool:
    """Whether the playback has ended: by an outcome or silence, unless it is back."""
    if heartbeat["row_kind"] == "resumed":
        return False
    return ended or heartbeat["row_kind"] == "timeout" or "outcome" in heartbeat


def line(heartbeat: dict[str, Any]) -> str:
    """A heartbeat for a person: when, which, what state, where its time went, what was set right."""
    kind = heartbeat["row_kind"]
    if kind in ("timeout", "resumed"):
        at = datetime.fromtimestamp(heartbeat["append_ms"] / 1000, UTC)
        return f"{at:%H:%M:%S}Z       {'silent for too long: ended' if kind == 'timeout' else 'back: goes on'}"
    at = datetime.fromtimestamp((heartbeat["ts_ms"] + heartbeat.get("shift_ms", 0)) / 1000, UTC)
    notes = [f"{heartbeat[part] / 1000:.1f} s {name}" for part, name in _PARTS.items() if part in heartbeat]
    if "startup_ms" in heartbeat:
        notes.append(f"first frame after {heartbeat['startup_ms'] / 1000:.1f} s")
    if heartbeat["tags"].get("error"):
        notes.append(f"error {heartbeat['tags']['error']} {heartbeat.get('error_message', '')}".rstrip())
    if "outcome" in heartbeat:
        notes.append(f"ended: {heartbeat['outcome']}")
    if "shift_ms" in heartbeat:
        notes.append(f"clock set right by {heartbeat['shift_ms'] / 1000:+.1f} s")
    if kind in _NOT_COUNTED:
        notes.append(_NOT_COUNTED[kind])
    return f"{at:%H:%M:%S}Z {heartbeat['seq']:>5} {heartbeat['state']:<12} {', '.join(notes)}".rstrip()
