"""The page in a real browser: every view shows its data, in light and dark, without an error or a blocked script."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests import cli_support
from tests.browser.collectors import Tocsin, tocsin_up
from tocsin.app.config import Config
from tocsin.app.core import Core
from tocsin.app.tokens import make_token

pytestmark = pytest.mark.browser
HERE = Path(__file__).parent
COUNTED_WITHIN_S = 180.0
EVENTS = 40
ADMIN_KEY = "dashboard-admin"


@pytest.fixture(scope="module")
def tocsin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running Tocsin with some playbacks and one missing image."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("TOCSIN_ADMIN_KEY", ADMIN_KEY)
        running = stack.enter_context(tocsin_up(tmp_path_factory.mktemp("dashboard")))
        running.wait_until_ready()
        now_ms = int(time.time() * 1000)
        events = [
            {"session_id": f"dashboard-{number:04d}", "seq": 0, "ts_ms": now_ms - 120_000, "interval_ms": 10_000,
             "reason": "start", "state": "playing", "playhead_ms": 9_000, "startup_ms": 700, "startup_wait_ms": 700,
             "playing_ms": 9_000, "rebuffer_ms": 200, "media_ms": 9_000, "bits_kb": 20_000}
            for number in range(EVENTS)
        ]  # fmt: skip
        envelope = {
            "schema": "tocsin.heartbeat/1", "sent_ts_ms": now_ms, "events": events,
            "tags": {"cdn.name": "<img src=x onerror=alert(1)>", "content.id": "title-1"},
        }  # fmt: skip
        bearer = {"authorization": f"Bearer {ADMIN_KEY}"}
        httpx.post(running.heartbeats_url, json=envelope, headers=bearer).raise_for_status()
        gauges = [
            {"tags": {"name": name, "title": "<b>title</b>", "lang": "ja", "kind": "poster", "atlas.dstype": "gauge"},
             "timestamp": now_ms, "value": 1}
            for name in ("artwork.expected", "artwork.missing")
        ]  # fmt: skip
        httpx.post(
            f"{running.base_url}/api/v1/publish", json={"tags": {}, "metrics": gauges}, headers=bearer
        ).raise_for_status()
        _wait_until_counted(running)
        yield running


def _wait_until_counted(running: Tocsin) -> None:
    give_up_at = time.monotonic() + COUNTED_WITHIN_S
    while not httpx.get(f"{running.base_url}/v1/artwork/missing").json()["images"]:
        assert time.monotonic() < give_up_at, "the published points were not counted in time"
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("view", "selector", "dark"),
    [
        ("", ".charts .card:nth-child(6) .main-svg", False),
        ("", ".charts .card:nth-child(1) .main-svg", True),
        ("incidents", "table", False),
        ("artwork", "td.missing", True),
        ("streams", "h1", False),
        ("health", ".two .card:nth-child(2) dl", False),
    ],
)
def test_a_view_shows_its_data(tocsin: Tocsin, tmp_path: Path, view: str, selector: str, dark: bool) -> None:
    """The view's data appear, and the browser reports no error: no exception, no request refused, no script blocked."""
    picture = tmp_path / "page.png"
    command = ["node", str(HERE / "screenshot.mjs"), f"{tocsin.base_url}/#/{view}", str(picture), "--timeout-s", "60"]
    done = subprocess.run(
        [*command, "--wait-selector", selector, *(["--dark"] if dark else [])],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_number_explains_itself(tocsin: Tocsin, tmp_path: Path) -> None:
    """By keyboard from the card, and by a click on the chart: the definition, and the sessions that sum to it."""
    said = _ask(tocsin.base_url, tmp_path)
    for way in ("keyboard", "mouse"):
        assert "plays per second, the headline signal" in said[way]
        assert "the sessions sum to it" in said[way]
        assert "balanced" in said[way]
    assert f"{EVENTS} sessions" in said["keyboard"]
    assert "dashboard-00" in said["keyboard"]
    assert "null" not in said["now"]


def test_the_page_asks_for_a_token(tmp_path: Path) -> None:
    """Where the server wants one it is asked for; a wrong one is said to be wrong; the right one opens the page."""
    core = Core(Config(data=tmp_path), ("query", "alerting"))
    try:
        token, row = make_token("ann", ["query:read", "alerts:read"], 1, core.access.now_ms())
        core.access.rows.add_token(row)
        with cli_support.serving(core.app()) as url:
            said = _ask(url, tmp_path, "--token", token)
    finally:
        core.close()
    assert said["open"] == "No open incident"


def _ask(url: str, folder: Path, *options: str) -> dict[str, str]:
    """What the page said in a browser that asks it why."""
    command = ["node", str(HERE / "explain.mjs"), f"{url}/", str(folder / "page.png"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said


def test_only_the_pages_own_scripts_may_run(tocsin: Tocsin) -> None:
    """The content security policy lets no inline script and no foreign host in."""
    policy = httpx.get(f"{tocsin.base_url}/").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
