"""CPU of published points, µs a point: the gateway beside a bare handler of the same run, then jobs and store apart.

    python benchmarks/bench_publish.py [--seconds 3] [--check]

Servers and load are as in bench_ingest.py: a process of its own each, keep-alive connections, the embedded log with its
fsync; the figure is the server process's CPU over the points that it acked. Bodies are Atlas's JSON, each with the new
values of series that were sent before: what services do, step after step. Jobs and store count what the gateway logs.
The budgets are what Netflix Atlas took on this kind of machine. bench_query.py tells the memory of ten million points
that are held. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from typing import Any

import msgspec
from bench_ingest import PARTITIONS, load, now_ms, started

from ingest import publish
from ingest.formats import atlas
from streaming_jobs.steps.bucketing import Bucket, Message
from streaming_jobs.steps.counter import Counter
from streaming_jobs.steps.settings import CountingSettings
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.cubes import DEFAULT_CUBES

SERIES = 10_000
BUDGET_US = {10_000: 2.6, 100: 14.0}
"""Points a request, and what Netflix Atlas took for one."""
CONNECTIONS = {10_000: 2, 100: 16}
BUCKETS, BUCKET_BATCHES = 12, 5
"""Buckets that jobs and store are measured over, and batches of 10,000 points in each."""
_decode = msgspec.json.Decoder(atlas.Payload).decode


async def bare(_scope: Any, receive: Any, send: Any) -> None:
    """The reference: decode the payload and answer; nothing is checked further or stored."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    _decode(body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def bodies_of(points: int) -> list[bytes]:
    """Atlas's JSON of every series, `points` a body, some steps of it."""
    rng = random.Random(7)
    tags = [
        {
            "name": f"service.metric-{at % 50}", "atlas.dstype": "rate", "statistic": "count", "nf.node": f"i-{at:08x}",
            "device": rng.choice(["tv", "phone", "web"]), "country": rng.choice(["fr", "de", "jp", "br"]),
        }
        for at in range(SERIES)
    ]  # fmt: skip
    bodies = []
    for _ in range(4):
        for first in range(0, SERIES, points):
            metrics = [
                {"tags": one, "timestamp": now_ms(), "value": rng.random() * 100}
                for one in tags[first : first + points]
            ]
            payload = {"tags": {"nf.app": "shop", "nf.region": "eu-west-1"}, "metrics": metrics}
            bodies.append(json.dumps(payload, separators=(",", ":")).encode())
    return bodies


def requests_of(points: int) -> list[bytes]:
    """The bodies as raw HTTP requests."""
    head = "POST /api/v1/publish HTTP/1.1\r\nhost: t.example\r\ncontent-type: application/json\r\ncontent-length: "
    return [head.encode() + b"%d\r\n\r\n" % len(body) + body for body in bodies_of(points)]


def measure(kind: str, points: int, seconds: float) -> dict[str, float]:
    """µs of CPU a point and latency of one server under a steady load."""
    requests = requests_of(points)
    latencies_s: list[float] = []
    with started(bare if kind == "bare" else None) as (port, pipe):
        asyncio.run(load(port, requests, CONNECTIONS[points], seconds / 3, []))
        pipe.send("cpu")
        cpu_before_s, _ = pipe.recv()
        answered = asyncio.run(load(port, requests, CONNECTIONS[points], seconds, latencies_s))
        pipe.send("cpu")
        cpu_s = pipe.recv()[0] - cpu_before_s
    latencies_s.sort()
    return {
        "us_per_point": round(cpu_s / answered / points * 1e6, 3),
        "points_per_s": round(answered * points / seconds),
        "latency_ms_p50": round(latencies_s[len(latencies_s) // 2] * 1e3, 2),
        "latency_ms_p99": round(latencies_s[int(len(latencies_s) * 0.99)] * 1e3, 2),
    }


def count_and_store() -> dict[str, float]:
    """µs of CPU a point of the jobs, from log record to rows, and of the embedded store, inserting them."""
    at_ms = now_ms()
    bodies = bodies_of(SERIES)
    payloads = [
        payload
        for body in bodies
        for _, payload in publish.log_records(atlas.parse(body, at_ms, None).points, 1, b"")
    ]  # fmt: skip
    counter, counted_s, stored_s = Counter(0, DEFAULT_CUBES, CountingSettings()), 0.0, 0.0
    points = 0
    with tempfile.TemporaryDirectory() as folder:
        store = ClickHouseStore(f"chdb://{folder}/store")
        for number in range(BUCKETS + 1):
            append_ms = at_ms + number * 5_000
            offsets = range(number * BUCKET_BATCHES, (number + 1) * BUCKET_BATCHES)
            messages = [Message(offset, append_ms, payloads[offset % len(payloads)]) for offset in offsets]
            began_s = time.process_time()
            output = counter.count(Bucket(messages[0].offset, messages), append_ms, emit=True)
            inserted_s = time.process_time()
            if output is None:
                raise RuntimeError("the counter handed no bucket out")
            store.insert("series", output.series, f"bench-{number}")
            if number:  # the first one warms caches and engine
                counted_s += inserted_s - began_s
                stored_s += time.process_time() - inserted_s
                points += output.series.num_rows
        store.close()
    return {
        "jobs_us_per_point": round(counted_s / points * 1e6, 3),
        "store_us_per_point": round(stored_s / points * 1e6, 3),
    }


def main() -> None:
    """Measure, print, and with --check fail where a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {"bench": "publish", "partitions": PARTITIONS, "series": SERIES}
    exceeded = []
    for points, budget_us in BUDGET_US.items():
        reference = measure("bare", points, options.seconds)
        gateway = measure("gateway", points, options.seconds)
        ratio = round(gateway["us_per_point"] / reference["us_per_point"], 2)
        print(f"{points} a request: bare {reference}")
        print(f"{points} a request: gateway {gateway}, {ratio} times the reference; budget {budget_us} µs")
        result[f"at_{points}"] = {"gateway": gateway, "bare": reference, "ratio": ratio, "budget_us": budget_us}
        if gateway["us_per_point"] > budget_us:
            exceeded.append(points)
    result |= count_and_store()
    print(f"jobs {result['jobs_us_per_point']} µs, store {result['store_us_per_point']} µs a point")
    result["within_budget"] = not exceeded
    print(json.dumps(result))
    if options.check and exceeded:
        sys.exit(1)


if __name__ == "__main__":
    main()
