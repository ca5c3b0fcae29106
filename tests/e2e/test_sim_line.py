"""The simulator against the real gateway over HTTP: what it says it sent is what the log holds."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ingest.settings import IngestSettings
from player_sim import faults, truth
from player_sim.audience import MINUTE_MS
from player_sim.control import serve_control
from player_sim.faults import Cohort
from player_sim.mischief import MischiefSettings
from player_sim.simulator import Simulator, SimulatorSettings
from player_sim.wire import ASN_HEADER, COUNTRY_HEADER
from tests.ingest_support import serving
from tests.sim_support import AT_MS, small_world
from tocsin.model.columnar import HeartbeatBatch
from tocsin.model.tags import TAG_KEYS

MINUTES = 4
GEOGRAPHY = IngestSettings(
    trusted_proxies=("127.0.0.1",), geo_country_header=COUNTRY_HEADER.lower(), geo_asn_header=ASN_HEADER.lower()
)


class Clock:
    """A clock that jumps to whatever is waited for, and calls `at` hooks on the way."""

    def __init__(self) -> None:
        self.ms = AT_MS
        self.hooks: dict[int, Any] = {}

    def now_ms(self) -> int:
        return self.ms

    async def sleep_until_ms(self, until_ms: int) -> None:
        self.ms = max(self.ms, until_ms)
        for at_ms in [at for at in self.hooks if at <= self.ms]:
            await asyncio.to_thread(self.hooks.pop(at_ms))
        await asyncio.sleep(0)


def unique(batch: HeartbeatBatch) -> np.ndarray[Any, Any]:
    """Positions of the first copy of each (session, seq)."""
    seen: dict[tuple[str, int], int] = {}
    for place, key in enumerate(zip(batch.session_ids, batch.numbers["seq"].tolist(), strict=True)):
        seen.setdefault(key, place)
    return np.array(sorted(seen.values()))


def test_the_truth_is_what_the_log_holds(tmp_path: Path) -> None:
    """With copies and late requests: each heartbeat acknowledged once in the log, all tags right, cubes' sums equal."""
    world, clock = small_world(viewers=120.0), Clock()
    with serving(tmp_path, GEOGRAPHY, now_ms=clock.now_ms) as gateway:
        simulator = Simulator(
            world, [], f"{gateway.url}/v1/heartbeats", clock.now_ms, clock.sleep_until_ms,
            start_ms=AT_MS, end_ms=AT_MS + MINUTES * MINUTE_MS,
            settings=SimulatorSettings(mischief=MischiefSettings(0.05, 0.05, 60_000)),
        )  # fmt: skip
        told = asyncio.run(simulator.run(asyncio.Event()))
        stored = gateway.heartbeats()
        refused = gateway.refused()
    assert stored is not None
    assert not refused
    sent = told["sent"]
    assert sent["delivered"]
    assert sent["refused"] == {}
    assert sent["abandoned"] == 0
    assert len(stored) == sent["acked"] > sent["issued"]
    assert sent["late"] > 0
    once = stored.take(unique(stored))
    assert len(once) == sent["issued"]
    texts = {key: once.text[key].texts() for key in TAG_KEYS}
    for key in set(TAG_KEYS) - {"error"}:
        assert all(texts[key]), key
    for cube, cells in told["cubes"].items():
        keys = [] if cube == "all" else cube.split(",")
        found: dict[tuple[str, ...], list[int]] = {}
        values = zip(once.numbers["playing_ms"].tolist(), once.numbers["rebuffer_ms"].tolist(), strict=True)
        names = zip(*(texts[key] for key in keys), strict=True) if keys else itertools.repeat(())
        for name, (playing, stalled) in zip(names, values, strict=False):
            cell = found.setdefault(tuple(name), [0, 0, 0])
            for place, value in enumerate((1, playing, stalled)):
                cell[place] += value
        expected = {
            tuple(cell["keys"].values()): [cell["heartbeats"], cell["playing_ms"], cell["rebuffer_ms"]]
            for cell in cells
        }
        assert found == expected, cube


def test_a_remediation_over_http_ends_a_stall_and_stands_in_the_truth_file(tmp_path: Path) -> None:
    """A cohort stalls; its CDN is drained by a real call; its viewers stop stalling; the truth file tells all of it."""
    world, clock = small_world(viewers=700.0), Clock()
    fault = faults.make(
        "cohort_stall", start_ms=AT_MS + MINUTE_MS, end_ms=AT_MS + 60 * MINUTE_MS, factor=60.0, length_factor=2.0,
        cohort=Cohort.of(cdn="cdn-b", device="tv"),
    )  # fmt: skip
    drain_ms = AT_MS + 3 * MINUTE_MS
    with serving(tmp_path, now_ms=clock.now_ms) as gateway:
        simulator = Simulator(
            world, [fault], f"{gateway.url}/v1/heartbeats", clock.now_ms, clock.sleep_until_ms,
            start_ms=AT_MS, end_ms=AT_MS + 6 * MINUTE_MS,
        )  # fmt: skip
        with serve_control(simulator) as url:
            body = {"cdn": "cdn-b", "device": "tv", "weight": 0}
            clock.hooks[drain_ms] = lambda: httpx.post(f"{url}/cdn/weights", json=body, timeout=10).raise_for_status()
            told = asyncio.run(simulator.run(asyncio.Event()))
            assert httpx.get(f"{url}/status", timeout=10).json()["now_ms"] == AT_MS + 6 * MINUTE_MS
        stored = gateway.heartbeats()
    assert stored is not None
    row = told["faults"][0]
    assert row["cohort"] == {"cdn": "cdn-b", "device": "tv"}
    assert row["affected_sessions"] > 20
    assert set(row["sample_session_ids"]) <= set(stored.session_ids)
    assert row["healed_ms"] == pytest.approx(drain_ms, abs=2_000)
    assert told["remediations"][0]["moved"] > 20
    cdns, devices = (np.array(stored.text[key].texts()) for key in ("cdn", "device"))
    ts_ms = stored.numbers["ts_ms"]

    def stalled(mask: np.ndarray[Any, Any]) -> float:
        return float(stored.numbers["rebuffer_ms"][mask].sum() / stored.numbers["playing_ms"][mask].sum())

    tv = devices == "tv"
    during = (ts_ms > fault.start_ms + 30_000) & (ts_ms <= drain_ms)
    after = ts_ms > drain_ms + 30_000
    assert stalled(tv & (cdns == "cdn-b") & during) > 0.1
    assert not np.any(tv & (cdns == "cdn-b") & after)
    assert stalled(tv & after) < 0.02
    truth.write(tmp_path / "truth.json", told)
    assert json.loads((tmp_path / "truth.json").read_text()) == told


def test_a_stop_delivers_what_was_made(tmp_path: Path) -> None:
    """Set the stop flag in the middle: the run ends with everything made so far acknowledged."""
    world, clock = small_world(), Clock()
    with serving(tmp_path, now_ms=clock.now_ms) as gateway:
        simulator = Simulator(
            world, [], f"{gateway.url}/v1/heartbeats", clock.now_ms, clock.sleep_until_ms, start_ms=AT_MS
        )

        async def run() -> dict[str, Any]:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            clock.hooks[AT_MS + 30_000] = lambda: loop.call_soon_threadsafe(stop.set)
            return await simulator.run(stop)

        told = asyncio.run(run())
        stored = gateway.heartbeats()
    assert stored is not None
    assert told["end_ms"] >= AT_MS + 29_000
    assert len(stored) == told["sent"]["issued"] == told["sent"]["acked"] > 50
