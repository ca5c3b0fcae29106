"""What a Faust worker shows over HTTP: /metrics, /healthz and /readyz, from a thread beside the event loop."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from streaming_jobs.committer import CommitStats
from streaming_jobs.partition_job import PartitionJob
from tocsin.model.errors import ConfigError
from tocsin.model.telemetry import JOBS

REQUEST_TIMEOUT_S = 10


class OwnedJobs(Collector):
    """Makes the jobs of a worker and keeps sight of those that live: a partition given up takes its job along."""

    def __init__(self, new_job: Callable[[int], PartitionJob], stats: CommitStats) -> None:
        self._new_job = new_job
        self._stats = stats
        self._jobs: weakref.WeakValueDictionary[int, PartitionJob] = weakref.WeakValueDictionary()

    def new_job(self, partition: int) -> PartitionJob:
        """A new job, seen from now on."""
        job = self._new_job(partition)
        self._jobs[partition] = job
        return job

    def waiting(self) -> dict[int, str]:
        """Why the store does not take a bucket, by partition."""
        return {partition: job.waiting_for for partition, job in list(self._jobs.items()) if job.waiting_for}

    def collect(self) -> Iterator[Metric]:
        """One family an instrument of `JOBS`."""
        watermarks = [job.watermark_ms for job in list(self._jobs.values())]
        values = {
            "tocsin_jobs_partitions": float(len(watermarks)),
            "tocsin_jobs_committed_total": float(self._stats.committed),
            "tocsin_jobs_replayed_total": float(self._stats.replayed),
            "tocsin_jobs_repaired_total": float(self._stats.repaired),
            "tocsin_jobs_waiting": float(len(self.waiting())),
            "tocsin_jobs_watermark_seconds": min(watermarks, default=0) / 1000,
        }
        for instrument in JOBS:
            family = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
            yield family(instrument.name, instrument.help, value=values[instrument.name])


def serve_status(jobs: OwnedJobs, host: str, port: int) -> ThreadingHTTPServer:
    """Serve in a daemon thread; port 0 takes a free one. Raises `ConfigError` where the address is taken."""
    registry = CollectorRegistry()
    registry.register(jobs)

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            answers = {"/metrics": self._metrics, "/healthz": self._health, "/readyz": self._ready}
            answer = answers.get(self.path.partition("?")[0])
            status, kind, body = answer() if answer else (404, "text/plain", b"try /metrics, /healthz or /readyz\n")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            """Say nothing: a scrape is no event."""

        def _metrics(self) -> tuple[int, str, bytes]:
            return 200, CONTENT_TYPE_LATEST, generate_latest(registry)

        def _health(self) -> tuple[int, str, bytes]:
            return 200, "application/json", b'{"status": "up"}'

        def _ready(self) -> tuple[int, str, bytes]:
            waiting = jobs.waiting()
            body = {"store": "; ".join(waiting.values()) or "up", "partitions_waiting": sorted(waiting)}
            return 503 if waiting else 200, "application/json", json.dumps(body).encode()

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(f"listening on {host}:{port}: {error}; set another port, or 0 for a free one") from error
    threading.Thread(target=server.serve_forever, name="status", daemon=True).start()
    return server
