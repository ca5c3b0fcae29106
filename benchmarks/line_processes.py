"""The processes of a running line as `bench_line.py` starts them, and the CPU that each has used.

CPU is what the kernel counts a process (user and system, all threads, 10 ms ticks). Of the embedded core, whose process
has everything, the kernel's count of single threads is read, and what the store's calls cost inside of them is taken
from `/v1/status`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from player_sim.wire import ASN_HEADER, COUNTRY_HEADER
from tocsin.adapters.log.kafka import KafkaTopic, ensure_topic
from tocsin.app.config import Config
from tocsin.app.dev import process as proc
from tocsin.app.dev.clickhouse import ClickHouseServer
from tocsin.app.dev.kafka import KafkaServer

ROOT = Path(__file__).resolve().parents[1]
START_S = 90.0
WORKER_THREADS = ("jobs", "fold")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12  # fields after the name in brackets


def cpu_s(stat: Path) -> float:
    """CPU seconds in a `stat` file of /proc; 0 where the thread has ended."""
    try:
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_S


@dataclass(slots=True)
class Line:
    """A running line: where it is reached, its configuration, its processes by what they do.

    `core`: name of the process that also holds jobs and store; empty where each has its own.
    """

    gateway: str
    query: str
    config: Config
    processes: dict[str, proc.ServerProcess]
    log: Path
    core: str = ""
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30.0))

    def status(self) -> dict[str, Any]:
        """`/v1/status` of the process that has the store or asks it."""
        answer = self.client.get(f"{self.query}/v1/status")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def cpu(self) -> dict[str, float]:
        """CPU seconds since the start, by stage."""
        for name, one in self.processes.items():
            if not one.alive():
                raise RuntimeError(f"{name} has ended; its log: {proc.tail(self.log)}")
        found = {name: cpu_s(Path(f"/proc/{one.pid}/stat")) for name, one in self.processes.items()}
        return self._core_by_stage(found) if self.core else found

    def _core_by_stage(self, found: dict[str, float]) -> dict[str, float]:
        """The embedded core taken apart: what counting costs, what the store costs, and the rest."""
        status, total_s = self.status(), found.pop(self.core)
        task = Path(f"/proc/{self.processes[self.core].pid}/task")
        loops = {name: cpu_s(task / str(number) / "stat") for name, number in status["threads"].items()}
        in_store = {name: status["store_cpu_s"].get(name, 0.0) for name in loops}
        worker_s = sum(loops[name] - in_store[name] for name in WORKER_THREADS)
        engine_s = sum(cpu_s(one / "stat") for one in task.iterdir() if not _is_python(one))
        store_s = engine_s + sum(in_store[name] for name in WORKER_THREADS)
        return found | {"worker": worker_s, "store": store_s, "rest": total_s - worker_s - store_s}


def _is_python(task: Path) -> bool:
    """Whether a thread of the core is the interpreter's; the store's engine names its own otherwise."""
    try:
        return (task / "comm").read_text(encoding="utf-8").startswith(("python", "tocsin"))
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextmanager
def embedded(folder: Path, partitions: int) -> Iterator[Line]:
    """`tocsin up` with an empty data folder; stopped at the end of the block."""
    log, port = folder / "up.log", proc.free_port()
    config = _config(data=folder / "data", partitions=partitions, port=port)
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        core = _spawn(stack, "up", config, log)
        _wait_ready(url, core, log)
        gateway = _child_of(core)
        yield Line(url, url, config, {"gateway": gateway, "core": core}, log, core="core")


@contextmanager
def distributed(folder: Path, partitions: int) -> Iterator[Line]:
    """Broker, store server, gateway, one Faust worker and the query role; stopped and deleted at the end."""
    log = folder / "roles.log"
    with ExitStack() as stack:
        kafka, clickhouse = KafkaServer(folder / "kafka"), ClickHouseServer(folder / "clickhouse")
        stack.callback(kafka.down)
        broker = kafka.up()
        stack.callback(clickhouse.down)
        server = clickhouse.up()
        topic = KafkaTopic(broker.bootstrap, "heartbeats")
        ensure_topic(topic, partitions)
        config = _config(
            data=folder / "data", partitions=partitions, log=f"kafka://{topic.bootstrap}/{topic.name}", store=server.dsn
        )
        ports = {role: proc.free_port() for role in ("ingest", "jobs", "query")}
        urls = {role: f"http://127.0.0.1:{port}" for role, port in ports.items()}
        roles = {
            role: _spawn(stack, role, config.model_copy(update={"port": port}), log) for role, port in ports.items()
        }
        for role, url in urls.items():
            _wait_ready(url, roles[role], log)
        found = {
            "gateway": roles["ingest"], "worker": roles["jobs"], "rest": roles["query"],
            "broker": _process(broker.pid), "store": _process(server.pid),
        }  # fmt: skip
        yield Line(urls["ingest"], urls["query"], config, found, log)


def _config(**keys: Any) -> Config:
    return Config(
        trusted_proxies=["127.0.0.1"], geo_country_header=COUNTRY_HEADER, geo_asn_header=ASN_HEADER, **keys
    )  # fmt: skip


def _spawn(stack: ExitStack, role: str, config: Config, log: Path) -> proc.ServerProcess:
    file = log.with_name(f"{role}.toml")
    keys = config.model_dump(mode="json", exclude_unset=True)
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()), encoding="utf-8")
    env = {key: value for key, value in os.environ.items() if not key.startswith("TOCSIN_")}
    command = [sys.executable, "-m", "tocsin.cli", role, "--config", str(file)]
    started = proc.spawn(command, log, env | {"PYTHONPATH": str(ROOT)})
    stack.callback(started.stop, timeout_s=60.0)
    return started


def _wait_ready(url: str, process: proc.ServerProcess, log: Path) -> None:
    def ready() -> bool:
        if not process.alive():
            raise RuntimeError(f"a process of the line has ended; its log: {proc.tail(log, 30)}")
        try:
            return httpx.get(f"{url}/readyz", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    proc.wait_until(ready, f"{url}/readyz", START_S, lambda: proc.tail(log))


def _child_of(parent: proc.ServerProcess) -> proc.ServerProcess:
    """The only child process: `tocsin up` has its gateway there."""
    found = [pid for task in Path(f"/proc/{parent.pid}/task").iterdir()
             for pid in (task / "children").read_text(encoding="utf-8").split()]  # fmt: skip
    if len(found) != 1:
        raise RuntimeError(f"looking for the gateway of process {parent.pid}: its children are {found}")
    return _process(int(found[0]))


def _process(pid: int) -> proc.ServerProcess:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return proc.ServerProcess(pid, int(stat.rpartition(")")[2].split()[19]))
