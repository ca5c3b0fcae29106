"""What the Kafka log does when its broker dies, is full of bytes in flight, or has a topic that cannot serve."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from tocsin.adapters.log.kafka import KafkaLogReader, KafkaLogWriter, KafkaTopic, ensure_topic
from tocsin.app.dev.kafka import KafkaServer
from tocsin.model.errors import ConfigError, UnavailableError

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of this file's own, up when a test starts."""
    server = KafkaServer(tmp_path_factory.mktemp("outage"))
    server.up()
    yield server
    server.down(delete=True)


def test_acked_records_survive_a_killed_broker_and_the_writer_recovers(broker: KafkaServer) -> None:
    """Appends fail while the broker is dead and work after it is back, without a new writer; nothing acked is lost."""
    topic = KafkaTopic(broker.up().bootstrap, "killed")
    ensure_topic(topic, 1)
    writer = KafkaLogWriter(topic, append_timeout_s=3)
    acked = []
    for n in range(20):
        writer.append([(0, f"{n}".encode())])
        acked.append(f"{n}")
    broker.kill()
    with pytest.raises(UnavailableError, match="check that the broker is up"):
        writer.append([(0, b"nobody hears this")])
    assert writer.in_flight_bytes == 0
    broker.up()
    writer.append([(0, b"back")])
    acked.append("back")
    reader = KafkaLogReader(topic)
    found = [record.payload.decode() for record in reader.read(0, 0, 1000, 1000)]
    assert [text for text in found if text in set(acked)] == acked
    reader.close()
    writer.close()


def test_more_bytes_in_flight_than_allowed_are_refused_at_once(broker: KafkaServer) -> None:
    """While one append waits for the ack, another that would pass the cap is refused, and taken later."""
    topic = KafkaTopic(broker.up().bootstrap, "capped")
    ensure_topic(topic, 1)
    writer = KafkaLogWriter(topic, in_flight_bytes_max=1000, append_timeout_s=20)
    entered, release = threading.Event(), threading.Event()
    send = writer._send

    def slow_send(producer: object, items: list[tuple[int, bytes]]) -> None:
        entered.set()
        release.wait(20)
        send(producer, items)

    writer._send = slow_send  # type: ignore[method-assign]
    first = threading.Thread(target=writer.append, args=([(0, b"x" * 900)],))
    first.start()
    entered.wait(20)
    with pytest.raises(UnavailableError, match="900 are in flight"):
        writer.append([(0, b"y" * 200)])
    release.set()
    first.join()
    writer.append([(0, b"y" * 200)])
    reader = KafkaLogReader(topic)
    assert [len(record.payload) for record in reader.read(0, 0, 10, 5000)] in ([900, 200], [900])
    assert reader.end(0) == 2
    reader.close()
    writer.close()


def test_a_topic_that_stamps_the_writers_clock_is_refused(broker: KafkaServer) -> None:
    """Counting relies on the broker's stamp, and on the number of partitions."""
    bootstrap = broker.up().bootstrap
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({"stamped-by-writer": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    with pytest.raises(ConfigError, match="LogAppendTime"):
        ensure_topic(KafkaTopic(bootstrap, "stamped-by-writer"), 1)
    ensure_topic(KafkaTopic(bootstrap, "two"), 2)
    with pytest.raises(ConfigError, match="has 2 partitions, not 3"):
        ensure_topic(KafkaTopic(bootstrap, "two"), 3)


def test_an_offset_no_longer_kept_reads_from_the_start(broker: KafkaServer) -> None:
    """After retention the first records kept are returned; past the end there is nothing."""
    topic = KafkaTopic(broker.up().bootstrap, "trimmed")
    ensure_topic(topic, 1)
    writer = KafkaLogWriter(topic)
    for n in range(10):
        writer.append([(0, f"{n}".encode())])
    admin = KafkaAdminClient(bootstrap_servers=topic.bootstrap)
    admin.delete_records({TopicPartition(topic.name, 0): 4})
    admin.close()
    reader = KafkaLogReader(topic)
    assert reader.start(0) == 4
    assert reader.read(0, 0, 1)[0].offset == 4
    assert reader.read(0, 99) == []
    assert reader.read(0, 6, 1)[0].payload == b"6"
    reader.close()
    writer.close()


def test_a_bad_log_url_says_how_to_write_it() -> None:
    """The URL names brokers and one topic."""
    assert KafkaTopic.of_url("kafka://a:1,b:2/heartbeats") == KafkaTopic("a:1,b:2", "heartbeats")
    for url in ("kafka://a:1", "http://a:1/t", "kafka:///t", "kafka://a:1/t/u"):
        with pytest.raises(ConfigError, match="kafka://host:port/topic"):
            KafkaTopic.of_url(url)
