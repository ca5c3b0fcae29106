"""Role `jobs` on Kafka: a Faust worker that counts its share of the partitions into the store."""

from __future__ import annotations

from streaming_jobs.committer import Committer
from streaming_jobs.faust_worker import WorkerSettings, run_worker
from streaming_jobs.fold import Folder
from streaming_jobs.partition_job import PartitionJob
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.log.kafka import KafkaTopic, ensure_topic
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.config import Config
from tocsin.app.jobs import counting as configured
from tocsin.app.kafka_status import OwnedJobs, serve_status
from tocsin.app.memory import calm_gc, keep_freed

GROUP = "tocsin-jobs"
FOLD_EVERY_S = 10.0


def run_kafka_jobs(config: Config, counting: CountingSettings | None = None) -> None:
    """Count until SIGTERM (then `SystemExit`); as many of these processes as there are partitions share the work.

    Creates the topic where it is missing. Raises `ConfigError` for a topic that cannot serve, `UnavailableError` while
    Kafka or the store is away.
    """
    keep_freed()
    topic = KafkaTopic.of_url(config.log)
    ensure_topic(topic, config.partitions)
    store = ClickHouseStore(config.store_dsn, config.keep_days)
    committer = Committer(store, topic.name)
    settings = counting or configured(config)
    now_ms = config.clock.now_ms
    calm_gc()
    jobs = OwnedJobs(
        lambda partition: PartitionJob(partition, committer, config.declared_cubes, settings, now_ms), committer.stats
    )
    serve_status(jobs, config.host, config.port)
    folder = Folder(store, config.partitions, settings)
    run_worker(WorkerSettings(topic, GROUP, config.data / "faust"), jobs.new_job, now_ms, [(FOLD_EVERY_S, folder)])
