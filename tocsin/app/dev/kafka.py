"""One Apache Kafka broker (KRaft, its own controller) on the loopback interface, for development and tests.

Sized for a small machine: serial collector, first-tier compiler, 256 MB heap: ready in 2 to 4 s, about 170 MB.
Data survive `down` and even SIGKILL: `up` on the same folder serves the same log again. The short broker session lets
the controller take a killed broker back within 2 s instead of 9 to 15.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tocsin.app.dev import install
from tocsin.app.dev import process as proc
from tocsin.model.errors import UnavailableError

READY_TIMEOUT_S = 60.0
JVM_FLAGS = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
BUILD = "kafka_2.13-4.4.0"

_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
"""

_LOGGING = """\
Configuration:
  status: error
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        pattern: "%d %p %m (%c)%n"
  Loggers:
    Root:
      level: warn
      AppenderRef:
        - ref: STDOUT
"""


@dataclass(frozen=True)
class KafkaStatus:
    """What `tocsin dev kafka status` prints. `bootstrap` is host:port for clients."""

    running: bool
    bootstrap: str
    pid: int
    folder: str


class KafkaServer:
    """A broker whose settings, data and log live in `folder`; jars are shared through the cache."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or install.cache_folder() / "kafka" / "default"
        self._record = self.folder / "server.json"
        self._log = self.folder / "server.log"

    def up(self, port: int = 0) -> KafkaStatus:
        """Start the broker unless it runs, and return once it answers. Port 0 keeps the last port, or takes a free one.

        Raises `UnavailableError` with the log's tail when the broker ends or stays silent.
        """
        with proc.folder_lock(self.folder):
            now = self.status()
            if now.running:
                return now
            record = proc.read_record(self._record)
            chosen = port or int(str(record.get("port", 0))) or proc.free_port()
            controller_port = int(str(record.get("controller_port", 0))) or proc.free_port()
            self._prepare(chosen, controller_port)
            process = proc.spawn(self._java("kafka.Kafka", str(self.folder / "server.properties")), self._log)
            ports = {"port": chosen, "controller_port": controller_port}
            proc.write_record(self._record, proc.process_fields(process) | ports)
            self._wait_ready(process, chosen)
            return self.status()

    def down(self, delete: bool = False) -> KafkaStatus:
        """Stop the broker if it runs; with `delete` its data go too."""
        with proc.folder_lock(self.folder):
            process = proc.process_of(proc.read_record(self._record))
            if process:
                process.stop()
            stopped = self.status()
            if delete:
                shutil.rmtree(self.folder)
        return stopped

    def kill(self) -> None:
        """SIGKILL the broker, as the fault tests do."""
        process = proc.process_of(proc.read_record(self._record))
        if process:
            process.stop(signal.SIGKILL)

    def status(self) -> KafkaStatus:
        """Whether the broker runs, and where."""
        record = proc.read_record(self._record)
        process = proc.process_of(record)
        running = process is not None and process.alive()
        pid = process.pid if process and running else 0
        return KafkaStatus(running, f"127.0.0.1:{record.get('port', 0)}", pid, str(self.folder))

    def _prepare(self, port: int, controller_port: int) -> None:
        data = self.folder / "data"
        settings = self.folder / "server.properties"
        settings.write_text(_SETTINGS.format(port=port, controller_port=controller_port, data=data), encoding="utf-8")
        (self.folder / "log4j2.yaml").write_text(_LOGGING, encoding="utf-8")
        if (data / "meta.properties").exists():
            return
        cluster = self._tool("random-uuid").strip()
        self._tool("format", "--standalone", "-t", cluster, "-c", str(settings))

    def _tool(self, *arguments: str) -> str:
        argv = self._java("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise UnavailableError(
                f"formatting Kafka's folder {self.folder} failed: {(done.stdout + done.stderr)[-1500:]}"
            )
        return done.stdout

    def _java(self, main: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.yaml'}"
        return [install.java_command(), *JVM_FLAGS, logging, "-cp", f"{install.kafka_jars()}/*", main, *arguments]

    def _wait_ready(self, process: proc.ServerProcess, port: int) -> None:
        def ready() -> bool:
            if not process.alive():
                raise UnavailableError(f"Kafka on port {port} ended while starting; its log: {proc.tail(self._log)}")
            return answers(f"127.0.0.1:{port}")

        proc.wait_until(ready, f"Kafka on port {port}", READY_TIMEOUT_S, f"Its log: {self._log}")


def answers(bootstrap: str) -> bool:
    """True when a broker at `bootstrap` lists its topics."""
    try:
        client = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    except (KafkaError, OSError):
        return False
    try:
        client.list_topics()
    except (KafkaError, OSError):
        return False
    finally:
        client.close()
    return True
