"""Real players in a real browser: what the SDK reports, and what is stored of it, equals what the media events say.

hls.js and a plain <video> play a clip made here in Debian's chromium; the server holds one part back, so playback
stalls once. The page keeps its own record of the media events: that is the truth.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from player_sim.clips import Gap, StreamSpec, make_stream
from tests.browser.collectors import KEY, Collector, gateway
from tests.browser.media_server import MediaServer, remux_mp4, serve
from tocsin.model.heartbeat import NOT_STARTED, NUMERIC, OUTCOMES, REASONS, law_violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
SDK = HERE.parent.parent / "sdk" / "js"
STALL_MS = 4_000
CLIP_S = 15
STORED_WITHIN_S = 30


@dataclass
class Playback:
    """What the page saw, and the session's heartbeats as they are stored."""

    truth: dict[str, Any]
    stored: list[dict[str, int]]

    def total(self, field: str) -> int:
        """Sum of a field over the stored heartbeats."""
        return sum(row[field] for row in self.stored)

    @property
    def outcomes(self) -> list[str]:
        """Outcomes in the order of the heartbeats, without those that have none yet."""
        return [OUTCOMES[row["outcome"]] for row in self.stored if row["outcome"]]

    def stalls_ms(self) -> list[float]:
        """The truth: from each `waiting` after the first `playing` to the next `playing`."""
        stalls, since, started = [], None, False
        for event in self.truth["events"]:
            if event["type"] == "waiting" and started and since is None:
                since = event["at_ms"]
            elif event["type"] == "playing":
                if since is not None:
                    stalls.append(event["at_ms"] - since)
                since, started = None, True
        return stalls

    def startup_ms(self) -> float:
        """The truth: from the first `play` to the first `playing`."""
        at = {event["type"]: event["at_ms"] for event in reversed(self.truth["events"])}
        return float(at["playing"] - at["play"])


@pytest.fixture(scope="session")
def sdk_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The minified SDK, built from its source by its own build, which also checks its size."""
    if not (SDK / "node_modules" / "hls.js").is_dir():
        pytest.fail(f"{SDK / 'node_modules'} is missing: run `npm ci` in sdk/js first (`make test-players` does)")
    subprocess.run(["node", "build.mjs"], cwd=SDK, check=True, capture_output=True, timeout=60)
    return SDK / "dist" / "tocsin.min.js"


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a healthy HLS stream, one whose picture is missing for 4 s, and an MP4."""
    folder = tmp_path_factory.mktemp("media")
    make_stream(folder, StreamSpec("healthy", seed=1, seconds=CLIP_S))
    make_stream(folder, StreamSpec("gap", seed=2, seconds=CLIP_S, defects=(Gap(5, 4, "180p"), Gap(5, 4, "270p"))))
    remux_mp4(folder / "healthy" / "270p" / "index.m3u8", folder / "clip.mp4")
    return folder


@pytest.fixture
def server(media: Path, sdk_script: Path) -> Iterator[MediaServer]:
    """The page, the libraries and the media on a port of their own."""
    files = {
        "/page.html": HERE / "page.html",
        "/lib/hls.js": SDK / "node_modules" / "hls.js" / "dist" / "hls.min.js",
        "/lib/tocsin.min.js": sdk_script,
        "/media": media,
    }
    with serve(MediaServer(files)) as running:
        yield running


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """Where heartbeats go, on another origin than the page, as in life."""
    with gateway(tmp_path) as running:
        yield running


@pytest.fixture
def play(server: MediaServer, collector: Collector) -> Callable[..., Playback]:
    """Play in chromium; gives what the page saw and what was stored."""

    def run(player: str, path: str, *, leave_at_s: float | None = None, release_after_ms: int = 0) -> Playback:
        query = {
            "player": player, "media": f"{server.url}/media/{path}", "collector": collector.url, "key": KEY,
            "title": "clip", "interval_s": 2, "release_after_ms": release_after_ms,
        }  # fmt: skip
        command = ["node", str(HERE / "play.mjs"), f"{server.url}/page.html?{urlencode(query)}"]
        if leave_at_s is not None:
            command += ["--leave-at", str(leave_at_s)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as browser:
            assert browser.stdin is not None
            assert browser.stdout is not None
            line = browser.stdout.readline()
            assert line, f"{command} ended without a record of the playback (its message is on stderr)"
            truth = json.loads(line)
            stored = _once_ended(collector, truth["session_id"])
            browser.stdin.close()
        assert truth["errors"] == []
        return Playback(truth, stored)

    return run


def _once_ended(collector: Collector, session_id: str) -> list[dict[str, int]]:
    """The stored heartbeats, once the one with the outcome is among them, or whatever there is after 30 s."""
    give_up_at = time.monotonic() + STORED_WITHIN_S
    while True:
        stored = collector.stored(session_id)
        if any(row["outcome"] for row in stored) or time.monotonic() > give_up_at:
            return stored
        time.sleep(0.1)


def _assert_well_formed(playback: Playback) -> None:
    """Every heartbeat keeps the schema's laws; seq runs from 0 without a gap; one first frame, one end."""
    stored = playback.stored
    columns = {name: np.array([row[name] for row in stored], dtype=np.int64) for name in NUMERIC}
    assert not law_violations(columns).any()
    assert [row["seq"] for row in stored] == list(range(len(stored)))
    assert REASONS[stored[0]["reason"]] == "start"
    assert sum(row["startup_ms"] != NOT_STARTED for row in stored) == 1
    assert len(playback.outcomes) == 1
    assert OUTCOMES[stored[-1]["outcome"]] == playback.outcomes[0]


@pytest.mark.parametrize(
    ("player", "path", "held"), [("hls", "healthy/master.m3u8", r"/00001\.ts"), ("plain", "clip.mp4", r"\.mp4")]
)
def test_reported_stall_equals_media_events(
    play: Callable[..., Playback], server: MediaServer, media: Path, player: str, path: str, held: str
) -> None:
    """A stall of 4 s is reported within 2 % of the media events' truth, with start-up and playing time right too."""
    server.held_path = held
    server.held_from_byte = (media / "clip.mp4").stat().st_size // 3
    playback = play(player, path, release_after_ms=STALL_MS)
    _assert_well_formed(playback)
    stalls_ms = playback.stalls_ms()
    print(json.dumps({
        "player": player, "browser": playback.truth["browser"], "truth_stall_ms": round(sum(stalls_ms), 1),
        "stored_stall_ms": playback.total("rebuffer_ms"), "stalls": len(stalls_ms), "heartbeats": len(playback.stored),
    }))  # fmt: skip
    assert sum(stalls_ms) >= STALL_MS
    assert playback.total("rebuffer_ms") == pytest.approx(sum(stalls_ms), rel=0.02)
    assert playback.total("rebuffer_count") == len(stalls_ms)
    assert max(row["startup_ms"] for row in playback.stored) == pytest.approx(playback.startup_ms(), abs=50)
    assert playback.total("playing_ms") == pytest.approx(CLIP_S * 1000, rel=0.05)
    assert playback.total("freeze_ms") == 0
    assert playback.total("frames_total") > 0
    assert playback.total("av_n") > 0
    assert playback.outcomes == ["completed"]


def test_frozen_picture_is_found_where_no_event_shows_it(play: Callable[..., Playback]) -> None:
    """A rendition whose picture is missing for 4 s while the sound goes on: frozen as long as the page saw no frame."""
    playback = play("hls", "gap/master.m3u8")
    _assert_well_formed(playback)
    frames = playback.truth["frames"]
    truth_ms = max(later - earlier for earlier, later in pairwise(frames))
    assert truth_ms > 3_900
    assert playback.total("freeze_ms") == pytest.approx(truth_ms, rel=0.02)


def test_leaving_the_page_reports_the_end(play: Callable[..., Playback]) -> None:
    """Who leaves in mid-play is reported as `quit`, by the last heartbeat, though the page is gone."""
    playback = play("plain", "clip.mp4", leave_at_s=3)
    _assert_well_formed(playback)
    assert playback.outcomes == ["quit"]
    assert REASONS[playback.stored[-1]["reason"]] == "exit"
    assert playback.total("playing_ms") == pytest.approx(3000, abs=500)
