"""CPU of counting: microseconds a heartbeat from log payload to cube cells, row building and inserts apart.

Run: python benchmarks/bench_jobs.py [--heartbeats N] [--message N] [--sessions N] [--store]
The audience reports every 10 s; a bucket holds 5 s, so half of the sessions speak in each. Buckets of the first
minute warm numba, caches and state and are not timed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streaming_jobs.steps import assemble as assembling
from streaming_jobs.steps.bucketing import Bucket, Message
from streaming_jobs.steps.counter import Counter
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model import columnar
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.tags import TAG_KEYS

START_MS = 1_800_000_000_000
BUCKET_MS = 5_000
_SPREAD = {
    "title": 2_000, "kind": 3, "stream": 3_000, "mode": 3, "format": 2, "cdn": 4, "player": 4, "player_version": 12,
    "app": 10, "device": 8, "os": 8, "network": 4, "region": 60, "isp": 300, "error": 1,
}  # fmt: skip


class Audience:
    """Sessions with fixed tags (Zipf over each key's values) that report in turn."""

    def __init__(self, sessions: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._rng = rng
        self._ids = [f"{rng.integers(2**63):016x}" for _ in range(sessions)]
        self._tags = {key: np.minimum(rng.zipf(1.3, sessions) - 1, _SPREAD[key] - 1) for key in TAG_KEYS}
        self._values = {key: [f"{key}-{i}" if key != "error" else "" for i in range(_SPREAD[key])] for key in TAG_KEYS}
        self._seq = np.zeros(sessions, np.int64)

    def payload(self, speakers: np.ndarray, ts_ms: int) -> bytes:
        """One columnar message of the heartbeats of `speakers`."""
        n, rng = len(speakers), self._rng
        stalled = np.where(rng.random(n) < 0.05, rng.integers(0, 4_000, n), 0)
        first = self._seq[speakers] == 0
        numbers = {
            "seq": self._seq[speakers], "ts_ms": ts_ms + rng.integers(0, 2_000, n),
            "received_ms": np.full(n, ts_ms + 2_100), "interval_ms": np.full(n, 10_000),
            "playhead_ms": self._seq[speakers] * 10_000,
            "playing_ms": 10_000 - stalled, "rebuffer_ms": stalled, "rebuffer_count": (stalled > 0).astype(np.int64),
            "media_ms": 10_000 - stalled, "bits_kb": (10_000 - stalled) * 5, "frames_total": np.full(n, 250),
            "frames_dropped": rng.poisson(0.5, n), "req_n": rng.integers(2, 5, n),
            "req_ms_sum": rng.integers(100, 900, n), "req_kb": rng.integers(20_000, 60_000, n),
            "av_n": np.full(n, 20), "av_sum_ms": rng.integers(-200, 200, n),
            "av_sumsq_ms2": rng.integers(0, 4_000, n), "av_absmax_ms": rng.integers(0, 40, n),
            "startup_ms": np.where(first, rng.integers(300, 4_000, n), -1), "state": np.full(n, 2),
            "bitrate_video_kbps": rng.choice([1_000, 3_000, 5_000], n),
        }  # fmt: skip
        self._seq[speakers] += 1
        text = {}
        for key in TAG_KEYS:
            used, codes = np.unique(self._tags[key][speakers], return_inverse=True)
            text[key] = columnar.TextColumn([self._values[key][value] for value in used], codes)
        numbers = {name: np.asarray(column, np.int64) for name, column in numbers.items()}
        return columnar.encode(columnar.from_rows([self._ids[s] for s in speakers], numbers, text))

    def buckets(self, count: int, message: int) -> Iterator[Bucket]:
        """`count` buckets in which half of the audience speaks."""
        offset, half = 0, len(self._ids) // 2
        for number in range(count):
            at = START_MS + number * BUCKET_MS
            speakers = np.arange(half) + (number % 2) * half
            self._rng.shuffle(speakers)
            messages = []
            for low in range(0, half, message):
                append_ms = at + low * (BUCKET_MS - 1) // half
                payload = self.payload(speakers[low : low + message], append_ms - 2_200)
                messages.append(Message(offset, append_ms, payload))
                offset += 1
            yield Bucket(messages[0].offset, messages)


def _timed(audience: Audience, buckets: int, message: int, warm: int) -> tuple[dict[str, float], list[BucketOutput]]:
    """CPU seconds a heartbeat by part (the median bucket), and the outputs of the timed buckets."""
    counter = Counter(0, DEFAULT_CUBES, CountingSettings())
    rows_s = 0.0
    build = assembling.arrow_rows

    def apart(*arguments: Any) -> BucketOutput:
        nonlocal rows_s
        started = time.process_time()
        output = build(*arguments)
        rows_s += time.process_time() - started
        return output

    assembling.arrow_rows = apart
    counts_s, built_s, heartbeats, outputs = [], [], 0, []
    for number, bucket in enumerate(list(audience.buckets(buckets + warm, message))):
        rows_s, started = 0.0, time.process_time()
        output = counter.count(bucket, bucket.append_ms, emit=True)
        spent = time.process_time() - started
        if output is not None and number >= warm:
            received = output.counts["received"]
            heartbeats += received
            outputs.append(output)
            counts_s.append((spent - rows_s) / received)
            built_s.append(rows_s / received)
    assembling.arrow_rows = build
    parts = {"count": float(np.median(counts_s)), "rows": float(np.median(built_s)), "heartbeats": heartbeats}
    return parts | {"count_best": min(counts_s)}, outputs


def _inserts(outputs: list[BucketOutput]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = ClickHouseStore(f"chdb://{Path(folder) / 'store'}", {"deltas": 40_000, "heartbeats": 40_000})
        seconds = {"raw": 0.0, "deltas": 0.0}
        for output in outputs:
            for table, rows in (("heartbeats", output.raw), ("deltas", output.deltas)):
                started = time.process_time()
                store.insert(table, rows, f"{table}-{output.start_offset}")
                seconds["raw" if table == "heartbeats" else table] += time.process_time() - started
        store.close()
    heartbeats = sum(output.counts["received"] for output in outputs)
    return {name: spent / heartbeats for name, spent in seconds.items()}


def main() -> None:
    """Print progress lines and one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--message", type=int, default=600)
    parser.add_argument("--buckets", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", action="store_true", help="also insert into an embedded store")
    options = parser.parse_args()
    parts, outputs = _timed(Audience(options.sessions, options.seed), options.buckets, options.message, warm=12)
    result = {
        "bench": "jobs", "sessions": options.sessions, "heartbeats_a_message": options.message,
        "heartbeats_a_bucket": options.sessions // 2, "heartbeats": int(parts["heartbeats"]),
        "count_us": round(parts["count"] * 1e6, 3), "count_us_best": round(parts["count_best"] * 1e6, 3),
        "rows_us": round(parts["rows"] * 1e6, 3),
        "delta_rows_a_heartbeat": round(sum(o.deltas.num_rows for o in outputs) / parts["heartbeats"], 3),
    }  # fmt: skip
    if options.store:
        result |= {f"insert_{name}_us": round(value * 1e6, 3) for name, value in _inserts(outputs).items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
