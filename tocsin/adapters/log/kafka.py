"""The log on Apache Kafka: one topic stamped by the broker (LogAppendTime), written idempotently, read without a group.

What kafka-python does not do by itself, and this adapter adds:

* it buffers without bound, so `append` counts all bytes in flight and refuses more than `in_flight_bytes_max`;
* a producer that has given up a batch may refuse everything after it, so a failed append gets a fresh producer;
* `poll` may come back empty though records are there, so `read` asks until it has some or stands at the end.

Payloads are lz4 frames already (`tocsin.model.columnar`): compressing batches of them again would only cost time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError, TopicAlreadyExistsError

from tocsin.adapters.log.port import Record
from tocsin.model.errors import ConfigError, UnavailableError

MESSAGE_BYTES_MAX = 8 * 1024 * 1024
FETCH_BYTES_MAX = 8 * 1024 * 1024
IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024
APPEND_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 20.0
BOOTSTRAP_TIMEOUT_MS = 10_000
_POLL_MS = 50


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """Where the log is: brokers as `host:port,…` and the topic's name."""

    bootstrap: str
    name: str

    @staticmethod
    def of_url(url: str) -> KafkaTopic:
        """The topic of a `kafka://host:port[,host:port…]/topic` URL."""
        parts = urlsplit(url)
        name = parts.path.strip("/")
        if parts.scheme != "kafka" or not parts.netloc or not name or "/" in name:
            raise ConfigError(f"reading the log's URL {url!r}: write it as kafka://host:port/topic")
        return KafkaTopic(parts.netloc, name)


@contextlib.contextmanager
def _as_unavailable(doing: str, topic: KafkaTopic) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        where = f"topic {topic.name} at {topic.bootstrap}"
        raise UnavailableError(f"{doing} {where}: {error!r}; check that the broker is up, then try again") from error


def ensure_topic(topic: KafkaTopic, partitions: int, replication: int = 1, retention_ms: int = 172_800_000) -> None:
    """Create the topic unless it is there, and check that it can serve as the log.

    Raises `ConfigError` where an existing topic has another number of partitions, or stamps records with the writer's
    clock: counting relies on both.
    """
    configs = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "retention.ms": str(retention_ms),
        "cleanup.policy": "delete",
    }
    options = {"num_partitions": partitions, "replication_factor": replication, "configs": configs}
    with _as_unavailable("creating", topic):
        admin = KafkaAdminClient(bootstrap_servers=topic.bootstrap, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS)
        try:
            with contextlib.suppress(TopicAlreadyExistsError):
                admin.create_topics({topic.name: options}, wait_for_metadata=True)
            resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, configs={"message.timestamp.type": None})
            stated = admin.describe_configs([resource], config_filter="all")["topic"][topic.name]
            found = len(admin.describe_topics([topic.name])[0]["partitions"])
        finally:
            admin.close()
    stamp = stated["message.timestamp.type"]["value"]
    if stamp != "LogAppendTime":
        raise ConfigError(f"using topic {topic.name}: its message.timestamp.type is {stamp}; set it to LogAppendTime")
    if found != partitions:
        raise ConfigError(f"using topic {topic.name}: it has {found} partitions, not {partitions}; set that number")


class KafkaLogWriter:
    """`LogWriter` over one topic: acks from all in-sync replicas, idempotent, bytes in flight bounded."""

    def __init__(
        self,
        topic: KafkaTopic,
        in_flight_bytes_max: int = IN_FLIGHT_BYTES_MAX,
        append_timeout_s: float = APPEND_TIMEOUT_S,
    ) -> None:
        self._topic = topic
        self._in_flight_bytes_max = in_flight_bytes_max
        self._append_timeout_s = append_timeout_s
        self._lock = threading.Lock()
        self._in_flight_bytes = 0
        self._closed = False
        with _as_unavailable("opening", topic):
            self._producer: KafkaProducer | None = self._new_producer()
            self._partitions = len(self._producer.partitions_for(topic.name))

    @property
    def partitions(self) -> int:
        """Number of partitions, fixed."""
        return self._partitions

    @property
    def in_flight_bytes(self) -> int:
        """Bytes given to the broker and not acked yet."""
        return self._in_flight_bytes

    def append(self, items: Sequence[tuple[int, bytes]]) -> None:
        """Send all payloads and wait for the broker's acks; raises `UnavailableError` past the limits."""
        size = sum(len(payload) for _, payload in items)
        producer = self._admit(size)
        try:
            with _as_unavailable("appending to", self._topic):
                self._send(producer, items)
        except UnavailableError:
            self._discard(producer)
            raise
        finally:
            with self._lock:
                self._in_flight_bytes -= size

    def close(self) -> None:
        """Wait for what is in flight, then release."""
        with self._lock:
            self._closed = True
            producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaTimeoutError):
                producer.close(timeout=self._append_timeout_s)

    def _admit(self, size: int) -> KafkaProducer:
        with self._lock:
            if self._closed:
                raise UnavailableError(f"appending to topic {self._topic.name}: the writer is closed; open it again")
            if self._in_flight_bytes + size > self._in_flight_bytes_max:
                raise UnavailableError(
                    f"appending {size} bytes to topic {self._topic.name}: {self._in_flight_bytes} are in flight, more "
                    f"than {self._in_flight_bytes_max} are not taken; try again when the broker has caught up"
                )
            if self._producer is None:
                with _as_unavailable("opening", self._topic):
                    self._producer = self._new_producer()
            self._in_flight_bytes += size
            return self._producer

    def _send(self, producer: KafkaProducer, items: Sequence[tuple[int, bytes]]) -> None:
        deadline = time.monotonic() + self._append_timeout_s
        futures = [producer.send(self._topic.name, value=payload, partition=partition) for partition, payload in items]
        for future in futures:
            future.get(timeout=max(0.001, deadline - time.monotonic()))

    def _discard(self, producer: KafkaProducer) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        # `close` alone waits for the batches, and raises before it ends the sender: abort them first, by its own means.
        producer._sender.force_close()  # noqa: SLF001
        with contextlib.suppress(KafkaTimeoutError):
            producer.close(timeout=1)

    def _new_producer(self) -> KafkaProducer:
        timeout_ms = int(self._append_timeout_s * 1000)
        return KafkaProducer(
            bootstrap_servers=self._topic.bootstrap,
            bootstrap_timeout_ms=min(timeout_ms, BOOTSTRAP_TIMEOUT_MS),
            acks="all",
            enable_idempotence=True,
            max_request_size=MESSAGE_BYTES_MAX,
            batch_size=256 * 1024,
            max_block_ms=timeout_ms,
            request_timeout_ms=max(1000, timeout_ms // 2),
            delivery_timeout_ms=timeout_ms,
            reconnect_backoff_max_ms=1000,
            metrics_enabled=False,
        )


class KafkaLogReader:
    """`LogReader` over one topic, without a group: it commits nothing and is told where to read."""

    def __init__(self, topic: KafkaTopic) -> None:
        self._topic = topic
        with _as_unavailable("opening", topic):
            self._consumer: Any = KafkaConsumer(
                bootstrap_servers=topic.bootstrap,
                bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_max_bytes=FETCH_BYTES_MAX,
                max_partition_fetch_bytes=FETCH_BYTES_MAX,
                fetch_max_wait_ms=200,
                reconnect_backoff_max_ms=1000,
                metrics_enabled=False,
            )
            self._partitions = len(self._consumer.partitions_for_topic(topic.name) or ())
        if not self._partitions:
            raise ConfigError(f"opening topic {topic.name} at {topic.bootstrap}: there is none; create it first")

    @property
    def partitions(self) -> int:
        """Number of partitions, fixed."""
        return self._partitions

    def read(self, partition: int, offset: int, records_max: int = 256, wait_ms: int = 0) -> list[Record]:
        """Records from `offset` on; empty only where the partition has none within `wait_ms`."""
        with _as_unavailable("reading", self._topic):
            found = self._poll(self._stand_at(partition, offset), offset, records_max, wait_ms)
        return [Record(partition, one.offset, one.timestamp, one.value) for one in found]

    def start(self, partition: int) -> int:
        """First offset kept."""
        place = TopicPartition(self._topic.name, partition)
        with _as_unavailable("asking for the start of", self._topic):
            return int(self._consumer.beginning_offsets([place])[place])

    def end(self, partition: int) -> int:
        """Next offset; transaction markers would count, but the log has none."""
        place = TopicPartition(self._topic.name, partition)
        with _as_unavailable("asking for the end of", self._topic):
            return int(self._consumer.end_offsets([place])[place])

    def offset_at(self, partition: int, append_ms: int) -> int:
        """First offset appended at or after `append_ms`, else the end."""
        place = TopicPartition(self._topic.name, partition)
        with _as_unavailable("looking up a time in", self._topic):
            found = self._consumer.offsets_for_times({place: max(0, append_ms)})[place]
        return self.end(partition) if found is None else int(found.offset)

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()

    def _stand_at(self, partition: int, offset: int) -> TopicPartition:
        place = TopicPartition(self._topic.name, partition)
        if self._consumer.assignment() != {place}:
            self._consumer.assign([place])
            self._consumer.seek(place, offset)
        elif self._consumer.position(place) != offset:
            self._consumer.seek(place, offset)
        return place

    def _poll(self, place: TopicPartition, offset: int, records_max: int, wait_ms: int) -> list[Any]:
        deadline = time.monotonic() + wait_ms / 1000
        give_up = time.monotonic() + max(READ_TIMEOUT_S, 2 * wait_ms / 1000)
        while True:
            try:
                polled = self._consumer.poll(timeout_ms=max(_POLL_MS, wait_ms), max_records=records_max)
            except OffsetOutOfRangeError:
                if offset >= self.start(place.partition):
                    return []
                self._consumer.seek_to_beginning(place)
                continue
            found = [one for one in polled.get(place, ()) if one.offset >= offset]
            if found:
                return found
            now = time.monotonic()
            if now >= deadline and self._consumer.position(place) >= self.end(place.partition):
                return []
            if now >= give_up:
                raise UnavailableError(
                    f"reading topic {place.topic}, partition {place.partition}, offset {offset}: no answer for "
                    f"{READ_TIMEOUT_S:g} s; check that the broker is up, then try again"
                )
