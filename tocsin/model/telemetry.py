"""Tocsin's own telemetry: every metric that a process of it shows at /metrics, as data.

Names follow Prometheus: `tocsin_<stage>_<what>_<unit>`, counters end in `_total`. Stages count in plain integers and
show them under these names; documents and dashboards are generated from the same list. Label values are bounded sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Instrument:
    """One own metric: `labels` in the order in which values are given."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


INGEST: tuple[Instrument, ...] = (
    Instrument("tocsin_ingest_requests_total", "counter", "Requests of the hot routes by HTTP status", ("status",)),
    Instrument("tocsin_ingest_heartbeats_accepted_total", "counter", "Heartbeats acked by the log"),
    Instrument("tocsin_ingest_refused_total", "counter", "Heartbeats or whole bodies refused, by reason", ("reason",)),
    Instrument("tocsin_ingest_points_accepted_total", "counter", "Published points acked by the log"),
    Instrument("tocsin_ingest_body_bytes_total", "counter", "Bytes of request bodies after inflation"),
    Instrument("tocsin_ingest_appended_bytes_total", "counter", "Bytes of log records acked"),
    Instrument("tocsin_ingest_flushes_total", "counter", "Micro-batches appended to the log"),
    Instrument("tocsin_ingest_append_failures_total", "counter", "Micro-batches that the log did not ack"),
    Instrument("tocsin_ingest_append_seconds_total", "counter", "Time spent waiting for the log's ack"),
    Instrument("tocsin_ingest_clock_shifts_total", "counter", "Envelopes whose sender's clock was off and corrected"),
    Instrument("tocsin_ingest_tags_ignored_total", "counter", "Tags outside the allow-list, or the server's own"),
    Instrument("tocsin_ingest_tags_cut_total", "counter", "Tag values cut to the longest allowed"),
    Instrument("tocsin_ingest_tags_other_total", "counter", "Values past a tag's budget, now __other__", ("tag",)),
    Instrument("tocsin_ingest_unknown_fields_total", "counter", "Unknown fields in the envelopes sampled", ("field",)),
    Instrument("tocsin_ingest_in_flight_bytes", "gauge", "Bytes of bodies taken in and not answered yet"),
    Instrument("tocsin_ingest_in_flight_heartbeats", "gauge", "Heartbeats taken in and not answered yet"),
    Instrument("tocsin_ingest_log_up", "gauge", "1 where the last append was acked"),
)
"""The gateway's own figures."""

JOBS: tuple[Instrument, ...] = (
    Instrument("tocsin_jobs_partitions", "gauge", "Partitions that this worker owns and counts"),
    Instrument("tocsin_jobs_committed_total", "counter", "Buckets stored"),
    Instrument("tocsin_jobs_replayed_total", "counter", "Buckets of which the store had a part already"),
    Instrument("tocsin_jobs_repaired_total", "counter", "Inserts repeated because a known token's rows were missing"),
    Instrument("tocsin_jobs_waiting", "gauge", "Partitions whose insert is being tried again"),
    Instrument("tocsin_jobs_watermark_seconds", "gauge", "Append time of the last record counted, oldest partition"),
)
"""A Faust worker's own figures."""

CORE: tuple[Instrument, ...] = (
    Instrument("tocsin_core_store_up", "gauge", "1 where the store answers"),
    Instrument("tocsin_core_complete_until_seconds", "gauge", "Append time that every partition is counted to"),
    Instrument("tocsin_core_loops_failed", "gauge", "Loops of this process that an error has ended"),
    Instrument("tocsin_alerting_tick_seconds", "gauge", "When the rules were last evaluated"),
    Instrument("tocsin_alerting_slices", "gauge", "Slices that are tested"),
    Instrument("tocsin_alerting_incidents_open", "gauge", "Incidents that are open, of quality and of the pipeline"),
    Instrument("tocsin_probe_looks_waiting", "gauge", "Looks that no worker has finished yet"),
)
"""What the roles query, alerting and probe show, each the figures of its own parts."""
