"""Netflix's own Spectator registry for Java publishes to a running Tocsin, and the graph shows what it counted."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_up import Up
from tocsin.app.dev import install
from tocsin.app.dev.process import wait_until

PROGRAM = Path(__file__).resolve().parents[1] / "spectator" / "Publish.java"
STEP_MS, MINUTE_MS = 10_000, 60_000
COUNTED_WITHIN_S = 60.0
MISSING = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not on PATH; `make parts` installs them")

WANTED = {
    "name,shop.orders,:eq,country,fr,:eq,:and,:sum": 90 / 60,
    "name,shop.orders,:eq,:sum": 91.5 / 60,
    "name,shop.queue,:eq,node,i-1,:eq,:and,:max": 42.5,
    "name,shop.checkout,:eq,statistic,count,:eq,:and,:sum": 2 / 60,
    "name,shop.checkout,:eq,statistic,totalTime,:eq,:and,:sum": 1.0 / 60,
    "name,shop.checkout,:eq,statistic,max,:eq,:and,:max": 0.75,
    "name,shop.checkout,:eq,:dist-avg": 0.5,
    "name,shop.basket,:eq,statistic,totalAmount,:eq,:and,:sum": 10 / 60,
    "name,shop.basket,:eq,:dist-max": 7.0,
    "name,shop.peak,:eq,nf.app,shop,:eq,:and,:max": 11.0,
    "name,shop.page,:eq,statistic,count,:eq,:and,:sum": 100 / 60,
    "name,shop.orders,:eq,atlas.dstype,rate,:eq,:and,:count": 2.0,
}
"""Expressions, and what the minute must show: counts as rates per second, gauges as they are."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running Tocsin."""
    one = Up(tmp_path_factory.mktemp("spectator"))
    one.start()
    yield one
    one.close()


def publish(up: Up, clock_ms: int) -> dict[str, float]:
    """Run the service; returns what became of its measurements: sent, and dropped by error."""
    classpath = f"{install.spectator_jars()}/*"
    command = [install.java_command(), "-cp", classpath, str(PROGRAM), f"{up.url}/api/v1/publish", str(clock_ms)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {name: float(count) for name, count in (line.split() for line in done.stdout.splitlines())}


def shown(up: Up, expression: str, minute_end_ms: int) -> list[object]:
    """The values that the graph shows for the minute that ends then, one a line."""
    bounds = {"s": str(minute_end_ms - 1), "e": str(minute_end_ms), "step": "1m", "format": "json"}
    answer = httpx.get(f"{up.url}/api/v1/graph", params={"q": expression, **bounds}, timeout=30.0)
    assert answer.status_code == 200, answer.text
    values: list[list[object]] = answer.json()["values"]
    return values[-1]


def test_the_graph_shows_what_spectator_counted(up: Up) -> None:
    """Counters, gauges, timers, distribution summaries and percentile timers, sent as gzipped Smile."""
    clock_ms = time.time_ns() // 1_000_000
    if clock_ms % MINUTE_MS < STEP_MS:
        clock_ms -= STEP_MS  # so that the step before, which has the gauge, lies in the same minute
    became = publish(up, clock_ms)
    assert became.pop("spectator.measurements:id=sent") > len(WANTED)
    assert set(became.values()) == {0.0}
    step_end_ms = (clock_ms // STEP_MS + 1) * STEP_MS
    minute_end_ms = -(-step_end_ms // MINUTE_MS) * MINUTE_MS
    first, value = next(iter(WANTED.items()))
    wait_until(lambda: shown(up, first, minute_end_ms) == [pytest.approx(value)], "the points' count", COUNTED_WITHIN_S)
    for expression, wanted in WANTED.items():
        assert shown(up, expression, minute_end_ms) == [pytest.approx(wanted)], expression
    half, most = shown(up, "name,shop.page,:eq,(,50,99,),:percentiles", minute_end_ms)
    # Of 1 to 100 ms; a bucket is at most a sixth of its values wide.
    assert half == pytest.approx(0.050, rel=1 / 6)
    assert most == pytest.approx(0.099, rel=1 / 6)


def test_spectator_reads_why_its_measurements_were_refused(up: Up) -> None:
    """Of a service whose clock is five minutes slow nothing is taken, and it knows that the values were at fault."""
    became = publish(up, time.time_ns() // 1_000_000 - 5 * MINUTE_MS)
    dropped = became.pop("spectator.measurements:error=validation:id=dropped")
    assert dropped > len(WANTED)
    assert set(became.values()) == {0.0}


def test_there_is_no_stream_of_subscriptions(up: Up) -> None:
    """Spectator asks for them only where it is told to; the answer is then that of an Atlas without them."""
    assert httpx.get(f"{up.url}/lwc/api/v1/expressions/local-dev").status_code == 404
    assert httpx.post(f"{up.url}/lwc/api/v1/evaluate", json={"metrics": []}).status_code == 404
