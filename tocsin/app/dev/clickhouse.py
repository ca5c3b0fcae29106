"""One ClickHouse server on the loopback interface, for development and tests, from the library that npm ships.

The library's `chdb_query_cmdline` is clickhouse-local; `SYSTEM START LISTEN` makes it serve HTTP and TCP (see
clickhouse_child.py). clickhouse-local logs its own session in as `default` without a password, so that user may start
listeners and nothing else; the user `tocsin` has a password and owns the database `tocsin`.
Data survive `down` and SIGKILL: `up` on the same folder serves them again, insert deduplication tokens included.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from tocsin.app.dev import clickhouse_child, install
from tocsin.app.dev import process as proc
from tocsin.model.errors import UnavailableError

READY_TIMEOUT_S = 60.0
USER = "tocsin"
DATABASE = "tocsin"

_SETTINGS = """\
<clickhouse>
  <logger><level>warning</level></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http_port}</http_port>
  <tcp_port>{tcp_port}</tcp_port>
  <users_config>{folder}/users.xml</users_config>
  <path>{folder}/data/</path>
</clickhouse>
"""

_USERS = """\
<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants><query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT SELECT ON system.numbers</query></grants>
    </default>
    <{user}>
      <password_sha256_hex>{digest}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </{user}>
  </users>
</clickhouse>
"""


@dataclass(frozen=True)
class ClickHouseStatus:
    """What `tocsin dev clickhouse status` prints. `dsn` holds the password; `url` does not."""

    running: bool
    url: str
    dsn: str
    pid: int
    folder: str


class ClickHouseServer:
    """A server whose settings, data and log live in `folder`; the library is shared through the cache."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or install.cache_folder() / "clickhouse" / "default"
        self._record = self.folder / "server.json"
        self._log = self.folder / "server.log"

    def up(self, port: int = 0) -> ClickHouseStatus:
        """Start the server unless it runs, and return once it answers. Port 0 keeps the last port, or takes a free one.

        Raises `UnavailableError` with the log's tail when the server ends or stays silent.
        """
        with proc.folder_lock(self.folder):
            now = self.status()
            if now.running:
                return now
            record = proc.read_record(self._record)
            http_port = port or int(str(record.get("port", 0))) or proc.free_port()
            tcp_port = int(str(record.get("tcp_port", 0))) or proc.free_port()
            password = str(record.get("password", "")) or secrets.token_urlsafe(18)
            self._prepare(http_port, tcp_port, password)
            library = install.clickhouse_library()
            argv = [sys.executable, clickhouse_child.__file__, str(library), str(self.folder)]
            process = proc.spawn([*argv, str(http_port), str(tcp_port)], self._log, env=_child_environment())
            rest = {"port": http_port, "tcp_port": tcp_port, "password": password}
            proc.write_record(self._record, proc.process_fields(process) | rest)
            self._wait_ready(process, http_port)
            self._create_database(http_port, password)
            return self.status()

    def down(self, delete: bool = False) -> ClickHouseStatus:
        """Stop the server if it runs; with `delete` its data go too."""
        with proc.folder_lock(self.folder):
            process = proc.process_of(proc.read_record(self._record))
            if process:
                process.stop()
            stopped = self.status()
            if delete:
                shutil.rmtree(self.folder)
        return stopped

    def kill(self) -> None:
        """SIGKILL the server, as the fault tests do."""
        process = proc.process_of(proc.read_record(self._record))
        if process:
            process.stop(signal.SIGKILL)

    def status(self) -> ClickHouseStatus:
        """Whether the server runs, and where."""
        record = proc.read_record(self._record)
        process = proc.process_of(record)
        running = process is not None and process.alive()
        host = f"127.0.0.1:{record.get('port', 0)}"
        dsn = f"http://{USER}:{record.get('password', '')}@{host}/{DATABASE}"
        return ClickHouseStatus(
            running, f"http://{host}", dsn, process.pid if process and running else 0, str(self.folder)
        )

    def _prepare(self, http_port: int, tcp_port: int, password: str) -> None:
        digest = hashlib.sha256(password.encode()).hexdigest()
        settings = _SETTINGS.format(http_port=http_port, tcp_port=tcp_port, folder=self.folder)
        (self.folder / "config.xml").write_text(settings, encoding="utf-8")
        (self.folder / "users.xml").write_text(_USERS.format(user=USER, digest=digest), encoding="utf-8")

    def _wait_ready(self, process: proc.ServerProcess, port: int) -> None:
        def ready() -> bool:
            if not process.alive():
                raise UnavailableError(
                    f"ClickHouse on port {port} ended while starting; its log: {proc.tail(self._log)}"
                )
            return answers(f"http://127.0.0.1:{port}")

        proc.wait_until(ready, f"ClickHouse on port {port}", READY_TIMEOUT_S, f"Its log: {self._log}")

    def _create_database(self, port: int, password: str) -> None:
        statement = f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic"
        reply = httpx.post(f"http://127.0.0.1:{port}/", content=statement, auth=(USER, password), timeout=30)
        if reply.status_code != httpx.codes.OK:
            raise UnavailableError(f"creating database {DATABASE} on port {port} was refused: {reply.text[:500]}")


def answers(url: str) -> bool:
    """True when a ClickHouse server at `url` answers its ping."""
    try:
        return httpx.get(f"{url}/ping", timeout=2).text.startswith("Ok")
    except httpx.TransportError:
        return False


def _child_environment() -> dict[str, str]:
    """The child needs the loader's paths only; nothing of the caller's settings."""
    return {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH"}}
