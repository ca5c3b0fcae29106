"""A small audience whose log has everything that counting must get right, and what to drive the jobs with.

Sessions start, stall, switch CDN within a minute, fail, end, are killed, come back; some clocks are hours off; some
heartbeats are late, from the future, out of order or sent twice; some sessions are sampled.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from streaming_jobs.assignment import warm_up
from streaming_jobs.engine import PartitionEngine, Position
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from tests.oracle import CUBES, Cell, Rules, Sent
from tocsin.adapters.log.port import Record
from tocsin.model import columnar
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.heartbeat import BATCH_COLUMNS, OUTCOMES, REASONS, STATES
from tocsin.model.records import TICK
from tocsin.model.tables import ADDITIVE_COLUMNS, HISTOGRAM_COLUMNS, LEDGER_COLUMNS, MAX_COLUMNS
from tocsin.model.tags import IDENTITY_KEYS, TAG_KEYS

START_MS = 1_800_000_000_000
SETTINGS = CountingSettings(lateness_ms=180_000)
RULES = Rules(lateness_ms=180_000)
_APPEND_STEP_MS = 700


def sent_heartbeats(seed: int, sessions: int = 12, minutes: int = 14) -> list[Sent]:
    """The log of an audience, in append order."""
    rng = random.Random(seed)
    sent: list[Sent] = []
    for number in range(sessions):
        sent += _session(rng, f"session-{seed}-{number}", minutes * 60_000)
    return sorted(sent, key=lambda one: one.append_ms)


def _session(rng: random.Random, session_id: str, span_ms: int) -> list[Sent]:
    at = START_MS + rng.randrange(span_ms // 2)
    end = at + rng.randrange(30_000, span_ms // 2)
    tags = _tags(rng)
    skew_ms = rng.choice([0, 0, 0, 7_200_000, -3_600_000])
    sample_k = rng.choice([1, 1, 4])
    seq, sent = rng.choice([0, 0, 0, 5, 200]), []
    while at < end:
        at += rng.choice([1_000, 7_000, 9_700, 10_000, 10_000, 10_300, 30_000, 95_000, rng.randrange(125_000, 400_000)])
        last = at >= end and rng.random() < 0.6
        if rng.random() < 0.1:
            tags = {**tags, "cdn": rng.choice(["north", "south"])}
        heartbeat = _heartbeat(rng, session_id, seq, at, last=last) | tags
        heartbeat |= {"ts_ms": at + skew_ms, "shift_ms": -skew_ms + (rng.randrange(-15_000, 15_000) if skew_ms else 0)}
        heartbeat["sample_k"] = sample_k
        sent += _deliveries(rng, heartbeat, at)
        seq += rng.choice([1, 1, 1, 1, 3])
    return sent


def _deliveries(rng: random.Random, heartbeat: dict[str, Any], at: int) -> list[Sent]:
    delay = rng.choice([500, 1_500, 2_500, 2_500, 40_000, 100_000, 170_000, 250_000, -50_000, -90_000])
    copies = rng.choice([1, 1, 1, 1, 2, 3])
    found = []
    for copy in range(copies):
        append_ms = (at + delay + copy * rng.randrange(0, 20_000)) // _APPEND_STEP_MS * _APPEND_STEP_MS
        shift_ms = heartbeat["shift_ms"]
        if copy and shift_ms:
            shift_ms += rng.randrange(-3_000, 3_000)
        found.append(Sent(append_ms, {**heartbeat, "received_ms": append_ms - 20, "shift_ms": shift_ms}))
    return _one_fate(found)


def _one_fate(copies: list[Sent]) -> list[Sent]:
    """Copies of which some are in time and some are not are left to the tests that are about them."""
    ages = [one.append_ms - one.heartbeat["ts_ms"] - one.heartbeat["shift_ms"] for one in copies]
    fates = {0 if age > RULES.lateness_ms else 1 if age >= -RULES.future_ms else 2 for age in ages}
    return copies if len(fates) == 1 else copies[:1]


def _tags(rng: random.Random) -> dict[str, str]:
    tags = {key: f"{key}-{rng.randrange(2)}" for key in IDENTITY_KEYS}
    return tags | {"title": f"title-{rng.randrange(5)}", "cdn": rng.choice(["north", "south"]), "os": ""}


def _heartbeat(rng: random.Random, session_id: str, seq: int, at: int, *, last: bool) -> dict[str, Any]:
    numbers = dict.fromkeys(BATCH_COLUMNS, 0)
    stalled = rng.choice([0, 0, 0, rng.randrange(5_000)])
    numbers |= {
        "seq": seq, "interval_ms": 10_000, "playhead_ms": seq * 10_000, "startup_ms": -1, "playing_ms": 9_000 - stalled,
        "rebuffer_ms": stalled, "rebuffer_count": int(stalled > 0), "seek_wait_ms": rng.choice([0, 400]),
        "media_ms": 9_000, "bits_kb": rng.randrange(90_000), "frames_total": 250, "frames_dropped": rng.randrange(4),
        "freeze_ms": rng.choice([0, 0, 700]), "av_n": 10, "av_sum_ms": rng.randrange(-900, 900), "av_sumsq_ms2": 8_000,
        "av_absmax_ms": rng.randrange(90), "req_n": 3, "req_err_n": rng.choice([0, 0, 1]), "req_ms_sum": 400,
        "req_kb": 5_000, "latency_n": 1, "latency_sum_ms": 3_000, "upshift_count": 1, "downshift_count": 1,
        "paused_ms": 10, "ad_ms": 5, "seek_count": 1, "startup_wait_ms": rng.choice([0, 0, 1_200]),
        "reason": REASONS.index("interval"), "state": STATES.index("playing"),
    }  # fmt: skip
    if seq < 2:
        numbers["startup_ms"] = rng.randrange(3_000)
    error = rng.random() < 0.1
    outcome = rng.choice(OUTCOMES[1:6]) if last else ""
    numbers |= {"error_count": int(error), "error_fatal": int(error and last)}
    return {**numbers, "session_id": session_id, "outcome": outcome, "error": "E7" if error else ""}


def batch_of(heartbeats: Sequence[dict[str, Any]]) -> columnar.HeartbeatBatch:
    """The heartbeats as one columnar batch."""
    numbers = {name: np.array([one[name] for one in heartbeats if name != "outcome"], np.int64)
               for name in BATCH_COLUMNS if name != "outcome"}  # fmt: skip
    numbers["outcome"] = np.array([OUTCOMES.index(one["outcome"]) for one in heartbeats], np.int64)
    text = {key: columnar.TextColumn.of([one[key] for one in heartbeats]) for key in TAG_KEYS}
    return columnar.from_rows([one["session_id"] for one in heartbeats], numbers, text)


def log_of(sent: Iterable[Sent], rng: random.Random, ticks_ms: Sequence[int] = (), partition: int = 0) -> list[Record]:
    """The log in messages of 1 to 6 heartbeats of one append time, with ticks in between."""
    groups: dict[int, list[dict[str, Any]]] = {at: [] for at in ticks_ms}
    for one in sent:
        groups.setdefault(one.append_ms, []).append(dict(one.heartbeat))
    payloads: list[tuple[int, bytes]] = []
    for append_ms, heartbeats in sorted(groups.items()):
        while heartbeats:
            size = rng.randrange(1, 7)
            payloads.append((append_ms, columnar.encode(batch_of(heartbeats[:size]))))
            heartbeats = heartbeats[size:]
        if append_ms in ticks_ms:
            payloads.append((append_ms, TICK))
    return [Record(partition, offset, append_ms, payload) for offset, (append_ms, payload) in enumerate(payloads)]


class MemoryLog:
    """`LogReader` over lists of records, one a partition."""

    def __init__(self, records: Sequence[Sequence[Record]]) -> None:
        self._records = [list(one) for one in records]

    @property
    def partitions(self) -> int:
        return len(self._records)

    def read(self, partition: int, offset: int, records_max: int = 256, wait_ms: int = 0) -> list[Record]:
        return [record for record in self._records[partition] if record.offset >= offset][:records_max]

    def start(self, partition: int) -> int:
        return 0

    def end(self, partition: int) -> int:
        records = self._records[partition]
        return records[-1].offset + 1 if records else 0

    def offset_at(self, partition: int, append_ms: int) -> int:
        found = [record.offset for record in self._records[partition] if record.append_ms >= append_ms]
        return found[0] if found else self.end(partition)

    def close(self) -> None:
        self._records = []


def count_all(
    records: Sequence[Record], restarts: Iterable[int] = (), settings: CountingSettings = SETTINGS
) -> list[BucketOutput]:
    """Every bucket of one partition; after each number of outputs in `restarts` a new engine goes on from there."""
    log, pending = MemoryLog([records]), sorted(restarts)
    engine = PartitionEngine(0, DEFAULT_CUBES, settings)
    engine.resume(Position(0))
    outputs: list[BucketOutput] = []
    offset = 0
    while offset < len(records):
        record = records[offset]
        output = engine.push(record.offset, record.append_ms, record.payload)
        offset += 1
        if output is None:
            continue
        outputs.append(output)
        if pending and len(outputs) >= pending[0]:
            pending.pop(0)
            position = Position(output.end_offset, output.append_ms)
            assignment = warm_up(0, log, position, DEFAULT_CUBES, settings)
            engine, offset = assignment.engine, assignment.next_offset
    return outputs


def cells_of(outputs: Iterable[BucketOutput]) -> dict[Cell, dict[str, Any]]:
    """The sums of all buckets by cell, as the oracle gives them."""
    cells: dict[Cell, dict[str, Any]] = {}
    for output in outputs:
        if output.deltas.num_rows > 1:
            add_rows(cells, output.deltas)
    return without_zeros(cells)


def add_rows(cells: dict[Cell, dict[str, Any]], deltas: pa.Table) -> None:
    """Merge rows of `deltas` into `cells`."""
    for row in deltas.to_pylist():
        if row["cube"] == "ledger":
            continue
        key = (row["cube"], row["minute"] // 60, tuple(row[name] for name in CUBES[row["cube"]]))
        assert all(row[name] == "" for name in TAG_KEYS if name not in CUBES[row["cube"]])
        cell = cells.setdefault(key, {})
        for name in ADDITIVE_COLUMNS:
            cell[name] = cell.get(name, 0) + row[name]
        for name in MAX_COLUMNS:
            cell[name] = max(cell.get(name, 0), row[name])
        for name in HISTOGRAM_COLUMNS:
            counts = cell.setdefault(name, {})
            for bucket, count in row[name]:
                counts[bucket] = counts.get(bucket, 0) + count


def without_zeros(cells: dict[Cell, dict[str, Any]]) -> dict[Cell, dict[str, Any]]:
    """`cells` without measures that are 0, and without cells that have none."""
    kept = {cell: {name: value for name, value in values.items() if value} for cell, values in cells.items()}
    return {cell: values for cell, values in kept.items() if values}


def ledger_of(outputs: Iterable[BucketOutput]) -> dict[str, int]:
    """The ledger counts of all buckets."""
    totals = dict.fromkeys(LEDGER_COLUMNS, 0)
    for output in outputs:
        for name, count in output.counts.items():
            totals[name] += count
    return totals
