"""Which log a configuration means: the embedded file, or a Kafka topic (only then is Kafka's client loaded)."""

from __future__ import annotations

from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.log.port import LogReader, LogWriter
from tocsin.app.config import Config

KAFKA = "kafka://"


def open_writer(config: Config) -> LogWriter:
    """The log for appending; the topic or file is made where it is missing."""
    if not config.log:
        return LocalLog(config.data / "log.db", config.clock.now_ms, config.partitions)
    from tocsin.adapters.log.kafka import KafkaLogWriter, KafkaTopic, ensure_topic

    topic = KafkaTopic.of_url(config.log)
    ensure_topic(topic, config.partitions)
    return KafkaLogWriter(topic)


def open_reader(config: Config) -> LogReader:
    """The log for reading; a reader of its own for each caller."""
    if not config.log:
        return LocalLog(config.data / "log.db", config.clock.now_ms, config.partitions)
    from tocsin.adapters.log.kafka import KafkaLogReader, KafkaTopic

    return KafkaLogReader(KafkaTopic.of_url(config.log))
