"""Tocsin as the demonstration runs it: the real `tocsin up` in a process of its own, spoken to over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tocsin.app.config import ENV_PREFIX, Config
from tocsin.model.errors import UnavailableError

START_S = 60.0
STOP_S = 60.0
POLL_S = 0.2
TIMEOUT_S = 20.0


class Service:
    """A running Tocsin by its base URL."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = process
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at a path; raises `UnavailableError` with the reason."""
        return self._ask(path, params).json()

    def get_bytes(self, path: str, **params: Any) -> bytes:
        """The bytes at a path."""
        return self._ask(path, params).content

    def wait_ready(self, stop: threading.Event) -> None:
        """Wait until it serves; raises `UnavailableError` where it ended instead."""
        deadline = threading.Event()
        timer = threading.Timer(START_S, deadline.set)
        timer.daemon = True
        timer.start()
        try:
            while not stop.wait(POLL_S):
                if self._process.poll() is not None:
                    raise UnavailableError(f"starting Tocsin: it ended with status {self._process.returncode}")
                try:
                    if self._client.get("/readyz").is_success and self._client.get("/v1/status").is_success:
                        return
                except httpx.HTTPError:
                    if deadline.is_set():
                        raise
                if deadline.is_set():
                    raise UnavailableError(f"starting Tocsin: not ready after {START_S:.0f} s; see its log")
        finally:
            timer.cancel()

    def _ask(self, path: str, params: dict[str, Any]) -> httpx.Response:
        try:
            answer = self._client.get(path, params=params)
        except httpx.HTTPError as error:
            raise UnavailableError(f"asking {self.url}{path}: {error}") from error
        if not answer.is_success:
            raise UnavailableError(f"asking {self.url}{path}: HTTP {answer.status_code}: {answer.text[:300]}")
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def running(config: Config, log: Path) -> Iterator[Service]:
    """Start `tocsin up` with `config`, its output in `log`; stopped by SIGTERM at the end of the block."""
    file = log.with_suffix(".toml.json")
    file.write_text(config.model_dump_json())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tocsin.app.demo.child", str(file)], env=environment, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    service = Service(f"http://{config.host}:{config.port}", process)
    try:
        yield service
    finally:
        service.close()
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
