"""A worker shows its partitions, its stored buckets, and the store that does not answer."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import httpx
import pytest

from streaming_jobs.committer import CommitStats
from streaming_jobs.partition_job import PartitionJob
from streaming_jobs.steps.settings import CountingSettings
from tests.unit.test_kafka_partition_job import IntervalCommitter
from tocsin.app.kafka_status import OwnedJobs, serve_status
from tocsin.model.errors import ConfigError


def new_job(partition: int) -> PartitionJob:
    """A job that nothing was pushed to."""
    return PartitionJob(partition, IntervalCommitter(), (), CountingSettings(), lambda: 0)


@pytest.fixture
def shown() -> Iterator[tuple[OwnedJobs, CommitStats, str]]:
    """A status server without partitions, and its URL."""
    stats = CommitStats()
    jobs = OwnedJobs(new_job, stats)
    server = serve_status(jobs, "127.0.0.1", 0)
    yield jobs, stats, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_metrics_follow_the_partitions_and_the_buckets(shown: tuple[OwnedJobs, CommitStats, str]) -> None:
    """Owned partitions and stored buckets are counted; a job that is gone counts no more."""
    jobs, stats, url = shown
    kept = [jobs.new_job(partition) for partition in range(3)]
    stats.committed = 7
    text = httpx.get(f"{url}/metrics").text
    assert "tocsin_jobs_partitions 3.0" in text
    assert "tocsin_jobs_committed_total 7.0" in text
    kept.pop()
    gc.collect()
    assert "tocsin_jobs_partitions 2.0" in httpx.get(f"{url}/metrics").text


def test_ready_says_which_store_is_away(shown: tuple[OwnedJobs, CommitStats, str]) -> None:
    """503 with the reason while an insert is tried again, 200 before and after; health stays up."""
    jobs, _, url = shown
    job = jobs.new_job(2)
    assert httpx.get(f"{url}/readyz").status_code == 200
    job.waiting_for = "the store is away"
    reply = httpx.get(f"{url}/readyz")
    assert reply.status_code == 503
    assert reply.json() == {"store": "the store is away", "partitions_waiting": [2]}
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert httpx.get(f"{url}/elsewhere").status_code == 404
    job.waiting_for = ""
    assert httpx.get(f"{url}/readyz").status_code == 200


def test_a_taken_port_is_named(shown: tuple[OwnedJobs, CommitStats, str]) -> None:
    """The error says the address and the remedy."""
    jobs, _, url = shown
    with pytest.raises(ConfigError, match="set another port"):
        serve_status(jobs, "127.0.0.1", int(url.rpartition(":")[2]))
