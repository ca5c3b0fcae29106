"""CPU of the gateway, µs a heartbeat, beside a bare ASGI + msgspec handler measured in the same run.

    python benchmarks/bench_ingest.py [--seconds 3] [--check]

Each server is a process of its own (uvicorn, uvloop, httptools); the load comes from here over keep-alive connections,
and the figure is the server process's own CPU time over the heartbeats that it acked. The log is the embedded one with
four partitions, so batching, the columnar encoding, the append and its fsync are in the figure. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from ingest import server
from ingest.app import build
from ingest.settings import IngestSettings
from tocsin.adapters.log.local import LocalLog
from tocsin.app.memory import calm_gc
from tocsin.model.heartbeat import Envelope

PARTITIONS = 4
BUDGET_US = {1: 30.0, 20: 2.5}
REFERENCE_US = 18.0
"""The bare handler at one heartbeat a request on the machine that the budgets were set on: budgets scale with it."""
CONNECTIONS = {1: 256, 20: 128}
_decode = msgspec.json.Decoder(Envelope).decode


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The reference: decode the envelope, count, answer; nothing is checked further or stored."""
    if scope["type"] != "http":
        return
    envelope = _decode((await receive())["body"])
    body = b'{"accepted":%d}' % len(envelope.events)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def heartbeat(rng: random.Random, session: int, seq: int) -> dict[str, Any]:
    """A heartbeat as the SDK sends it while it plays, now and then with a stall."""
    event: dict[str, Any] = {
        "session_id": f"{session:016x}", "seq": seq, "ts_ms": now_ms(), "interval_ms": 10_000, "reason": "interval",
        "state": "playing", "playhead_ms": seq * 10_000, "bitrate_kbps": {"video": 4_800, "audio": 128},
        "playing_ms": 9_600, "media_ms": 9_600, "bits_kb": 47_000 + rng.randrange(999), "frames_total": 240,
        "frames_dropped": rng.randrange(3), "av_n": 200, "av_sum_ms": rng.randrange(-900, 900), "av_sumsq_ms2": 9_000,
        "av_absmax_ms": rng.randrange(40), "req_n": 4, "req_ms_sum": rng.randrange(900), "req_kb": 48_000,
    }  # fmt: skip
    if rng.random() < 0.05:
        event |= {"rebuffer_ms": 300, "rebuffer_count": 1}
    return event


def requests_of(heartbeats: int, count: int) -> list[bytes]:
    """`count` raw HTTP requests of `heartbeats` each."""
    rng = random.Random(7)
    made = []
    for number in range(count):
        title = rng.randrange(40)
        envelope = {
            "schema": "tocsin.heartbeat/1", "sent_ts_ms": now_ms(), "sdk": {"name": "tocsin-js", "version": "0.1.0"},
            "sample_rate": 1,
            "tags": {
                "content.id": f"title-{title}", "content.type": "film", "stream.id": f"stream-{title}",
                "stream.type": "vod", "stream.format": "hls", "cdn.name": rng.choice(["a", "b", "c"]),
                "player.name": "hls.js", "player.version": "1.6.13", "app.version": "4.2.0",
                "device.category": rng.choice(["tv", "phone", "web"]), "os.name": "tizen", "network.type": "wifi",
            },
            "events": [heartbeat(rng, number * heartbeats + at, number % 50) for at in range(heartbeats)],
        }  # fmt: skip
        body = json.dumps(envelope, separators=(",", ":")).encode()
        head = (
            "POST /v1/heartbeats HTTP/1.1\r\nhost: t.example\r\ncontent-type: text/plain;charset=UTF-8\r\n"
            "origin: https://tv.example\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0\r\naccept: */*\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def serve(reference: Any, listener: socket.socket, folder: str, pipe: Connection) -> None:
    """Child process: serve the gateway, or `reference` where given; tell CPU seconds and batches so far when asked."""
    settings = IngestSettings()
    log = LocalLog(Path(folder) / "log.sqlite", now_ms, PARTITIONS)
    app = build(log, now_ms, settings)
    config = server.config(app, settings)
    if reference is not None:
        config = uvicorn.Config(
            reference, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning"
        )
    calm_gc()
    running = uvicorn.Server(config)

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(running.serve(sockets=[listener]))
        while await asyncio.to_thread(pipe.recv) == "cpu":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send((usage.ru_utime + usage.ru_stime, app.stats.flushes))
        running.should_exit = True
        await task

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())


async def _client(port: int, bodies: list[bytes], offset: int, until_s: float, latencies_s: list[float]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = 0
    while time.perf_counter() < until_s:
        started_s = time.perf_counter()
        writer.write(bodies[(offset + done) % len(bodies)])
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {head[:100]!r}")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies_s.append(time.perf_counter() - started_s)
        done += 1
    writer.close()
    return done


async def load(port: int, bodies: list[bytes], connections: int, seconds: float, latencies_s: list[float]) -> int:
    """Requests answered in `seconds` over `connections`, each sending the next as soon as one is answered."""
    until_s = time.perf_counter() + seconds
    step = max(1, len(bodies) // connections)
    clients = [_client(port, bodies, at * step, until_s, latencies_s) for at in range(connections)]
    return sum(await asyncio.gather(*clients))


@contextlib.contextmanager
def started(reference: Any = None) -> Iterator[tuple[int, Connection]]:
    """A server process of `serve`, its port and the pipe to it."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        here, there = context.Pipe()
        child = context.Process(target=serve, args=(reference, listener, folder, there))
        child.start()
        try:
            yield listener.getsockname()[1], here
        finally:
            here.send("stop")
            child.join(60)


def measure(kind: str, heartbeats: int, seconds: float) -> dict[str, float]:
    """µs of CPU a heartbeat, latency and batches of one server under a steady load."""
    bodies = requests_of(heartbeats, 400)
    latencies_s: list[float] = []
    with started(bare if kind == "bare" else None) as (port, pipe):
        asyncio.run(load(port, bodies, CONNECTIONS[heartbeats], seconds / 3, []))
        pipe.send("cpu")
        cpu_before_s, flushes_before = pipe.recv()
        requests = asyncio.run(load(port, bodies, CONNECTIONS[heartbeats], seconds, latencies_s))
        pipe.send("cpu")
        cpu_s, flushes = pipe.recv()
    latencies_s.sort()
    batches = flushes - flushes_before
    return {
        "us_per_heartbeat": round((cpu_s - cpu_before_s) / requests / heartbeats * 1e6, 3),
        "heartbeats_per_s": round(requests * heartbeats / seconds),
        "latency_ms_p50": round(latencies_s[len(latencies_s) // 2] * 1e3, 2),
        "latency_ms_p99": round(latencies_s[int(len(latencies_s) * 0.99)] * 1e3, 2),
        "heartbeats_per_batch": round(requests * heartbeats / batches) if batches else 0,
    }


def main() -> None:
    """Measure, print, and with --check fail where a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {"bench": "ingest", "partitions": PARTITIONS}
    exceeded = []
    slower = 0.0
    for heartbeats, budget_us in BUDGET_US.items():
        reference = measure("bare", heartbeats, options.seconds)
        gateway = measure("gateway", heartbeats, options.seconds)
        slower = slower or reference["us_per_heartbeat"] / REFERENCE_US
        ratio = gateway["us_per_heartbeat"] / reference["us_per_heartbeat"]
        here_us = round(budget_us * slower, 2)
        print(f"{heartbeats} a request: bare {reference}")
        print(f"{heartbeats} a request: gateway {gateway}, {ratio:.2f} times the reference")
        print(f"{heartbeats} a request: budget {budget_us} µs, on this machine {here_us} µs")
        result[f"at_{heartbeats}"] = {
            "gateway": gateway, "bare": reference, "ratio": round(ratio, 2), "budget_us": budget_us,
            "budget_here_us": here_us,
        }  # fmt: skip
        if gateway["us_per_heartbeat"] > here_us:
            exceeded.append(heartbeats)
    result["within_budget"] = not exceeded
    print(json.dumps(result))
    if options.check and exceeded:
        sys.exit(1)


if __name__ == "__main__":
    main()
