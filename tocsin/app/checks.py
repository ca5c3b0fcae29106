"""What `tocsin doctor` looks at before and beside a run: installation, port, data folder, log, store, neighbours.

Every check is one function of the configuration that gives findings and changes nothing: a log or store that is not
there yet is left so.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx

from tocsin.app.alerts import read_rules
from tocsin.app.config import Config
from tocsin.app.logs import open_reader
from tocsin.app.probes import read_streams
from tocsin.model.errors import ConfigError, TocsinError

State = Literal["ok", "note", "bad"]
PACKAGES = ("av", "chdb", "clickhouse-connect", "faust-streaming", "kafka-python", "numba", "uvloop")
DEVELOPMENT = ("java", "mvn", "npm", "node")
FREE_BYTES_MIN = 2**28
FREE_BYTES_GOOD = 5 * 2**30
TIMEOUT_S = 5.0
_LOCK_IN = "from server_probe.seccomp import lock_in; print(lock_in())"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `note` is no fault but worth knowing, `bad` keeps Tocsin from working."""

    name: str
    state: State
    text: str


def examine(config: Config) -> Iterator[Finding]:
    """All findings, as they are made."""
    yield from _installed()
    yield _sandbox()
    yield _development()
    yield _port(config)
    yield _data(config)
    yield _log(config)
    yield _store_server(config) if config.store else _embedded_store(config)
    yield _reads("rules", "the shipped set", config.rules, lambda: f"{len(read_rules(config.rules))} rules")
    yield _reads("streams", "none", config.streams, lambda: f"{len(read_streams(config).ids())} streams")
    if config.alertmanager_url:
        yield _answers("alertmanager", config.alertmanager_url, "/-/ready")
    if config.alerting_url:
        yield _answers("alerting", config.alerting_url, "/healthz")


def _installed() -> Iterator[Finding]:
    supported = sys.version_info >= (3, 11)
    where = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok" if supported else "bad", where if supported else f"{where}; 3.11 or newer is needed")
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    text = ", ".join(found) + (f"; not installed: {', '.join(missing)}; run `make setup`" if missing else "")
    yield Finding("packages", "bad" if missing else "ok", text)


def _sandbox() -> Finding:
    """Whether the child that decodes strangers' media can lock itself in here."""
    done = subprocess.run(
        [sys.executable, "-c", _LOCK_IN], capture_output=True, text=True, timeout=60, check=False, env=_environment()
    )
    said = done.stdout.strip()
    if said == "on":
        return Finding("sandbox", "ok", "seccomp is on while the probe decodes")
    why = said or done.stderr.strip()[-200:] or f"it ended with status {done.returncode}"
    return Finding("sandbox", "note", f"the probe decodes without seccomp: {why}")


def _environment() -> dict[str, str]:
    """The child imports from where this process does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _development() -> Finding:
    missing = [name for name in DEVELOPMENT if shutil.which(name) is None]
    if missing:
        return Finding("tests' servers", "note", f"no {', '.join(missing)}: needed by `make test` only (`make parts`)")
    return Finding("tests' servers", "ok", f"{', '.join(DEVELOPMENT)} are there")


def _port(config: Config) -> Finding:
    name, where = f"port {config.port}", f"{config.host}:{config.port}"
    try:
        with socket.create_server((config.host, config.port)):
            return Finding(name, "ok", f"{where} is free")
    except OSError as error:
        reason = error.strerror or str(error)
    if _is_tocsin(where):
        return Finding(name, "ok", f"a Tocsin answers on {where}")
    return Finding(name, "bad", f"listening on {where}: {reason}; set another port (TOCSIN_PORT), or 0 for a free one")


def _is_tocsin(where: str) -> bool:
    """Whether what listens there has a Tocsin's status or a gateway's metrics."""
    try:
        return "tocsin_" in httpx.get(f"http://{where}/metrics", timeout=TIMEOUT_S).text
    except httpx.HTTPError:
        return False


def _data(config: Config) -> Finding:
    folder = config.data.absolute()
    standing = next(path for path in (folder, *folder.parents) if path.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        return Finding("data", "bad", f"{standing} is no folder that may be written; set data (TOCSIN_DATA) to one")
    free = shutil.disk_usage(standing).free
    text = f"{folder} ({'there' if folder.exists() else 'made at the first start'}), {free / 2**30:.1f} GiB free"
    if free < FREE_BYTES_MIN:
        return Finding("data", "bad", f"{text}; make room, or set data (TOCSIN_DATA) to another disk")
    return Finding("data", "ok" if free >= FREE_BYTES_GOOD else "note", text)


def _log(config: Config) -> Finding:
    file = config.data / "log.db"
    if not config.log and not file.exists():
        return Finding("log", "ok", f"embedded, {file} is made at the first start")
    try:
        with closing(open_reader(config)) as reader:
            held = sum(reader.end(p) - reader.start(p) for p in range(reader.partitions))
            partitions = reader.partitions
    except TocsinError as error:
        return Finding("log", "note" if _no_topic(config, error) else "bad", str(error))
    text = f"{config.log or file}: {held} records in {partitions} partition{'s' if partitions > 1 else ''}"
    if partitions != config.partitions:
        return Finding("log", "bad", f"{text}, not {config.partitions} (key partitions); set that number")
    return Finding("log", "ok", text)


def _no_topic(config: Config, error: TocsinError) -> bool:
    """Kafka answers, but the topic is not there yet: the first start makes it."""
    return bool(config.log) and isinstance(error, ConfigError) and "create it first" in str(error)


def _embedded_store(config: Config) -> Finding:
    folder = config.data / "store"
    if not folder.exists():
        return Finding("store", "ok", f"embedded, {folder} is made at the first start")
    return Finding("store", "ok", f"embedded, {folder}")


def _store_server(config: Config) -> Finding:
    parts = urlsplit(config.store)
    shown = f"{parts.scheme}://{parts.hostname}:{parts.port or 8123}"
    database = parts.path.strip("/") or "default"
    try:
        answer = httpx.get(
            shown, params={"query": "SELECT version()", "database": database}, timeout=TIMEOUT_S,
            auth=(parts.username or "default", parts.password or ""),
        )  # fmt: skip
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding("store", "bad", f"asking {shown}: {error}; check that the server is up, and the key store")
    if not answer.is_success:
        said = " ".join(answer.text.split())[:200]
        return Finding("store", "bad", f"asking {shown}/{database}: HTTP {answer.status_code}: {said}")
    return Finding("store", "ok", f"{shown}/{database}, ClickHouse {answer.text.strip()}")


def _reads(name: str, default: str, file: Path | None, read: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", f"{file or default}: {read()}" if file or default != "none" else "none configured")
    except TocsinError as error:
        return Finding(name, "bad", str(error))


def _answers(name: str, base: str, path: str) -> Finding:
    url = base.rstrip("/") + path
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(name, "bad", f"asking {url}: {error}; check that it is up, and the key {name}_url")
    if not answer.is_success:
        return Finding(name, "bad", f"asking {url}: HTTP {answer.status_code}")
    return Finding(name, "ok", f"{base} answers")
