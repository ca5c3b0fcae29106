"""What the tests of the commands share: the real command in a process of its own, and a served application."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120
NOBODY = "http://127.0.0.1:1"
"""A base URL at which nothing answers."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without Tocsin's own keys, wide enough for whole table rows."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TOCSIN_")}
    return own | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | dict(extra or {})


def command(*arguments: str) -> list[str]:
    """The command line of `tocsin …`."""
    return [sys.executable, "-m", "tocsin.cli", *arguments]


def run(*arguments: str, cwd: Path, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`tocsin ARGUMENTS` in `cwd`, to its end."""
    env = environment(extra)
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env=env, timeout=TIMEOUT_S, check=False
    )


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve `app` on a free loopback port in a thread; gives its base URL once it listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), name="served", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"  # connections queue at the socket until it accepts
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        listener.close()
