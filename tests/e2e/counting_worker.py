"""Run as a program: the role `jobs` on Kafka, configured by TOCSIN_… variables; argument: length of a bucket in ms."""

from __future__ import annotations

import sys

from streaming_jobs.steps.settings import CountingSettings
from tocsin.app.config import load
from tocsin.app.kafka_jobs import run_kafka_jobs


def main() -> None:
    """Run until SIGTERM."""
    bucket_ms = int(sys.argv[1])
    run_kafka_jobs(load(), CountingSettings(bucket_ms=bucket_ms, idle_tick_ms=bucket_ms))


if __name__ == "__main__":
    main()
