"""Real players in a real browser: what the SDK reports, and what is stored of it, equals what the media events say.

hls.js and a plain <video> play a clip made here in Debian's chromium; the server holds one part back, so playback
stalls once. The page keeps its own record of the media events: that is the truth.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from player_sim.clips import Gap, StreamSpec, make_stream
from tests.browser.collectors import KEY, tocsin_up
from tests.browser.media_server import MediaServer, remux_mp4, serve
from tocsin.model.heartbeat import NOT_STARTED, NUMERIC, OUTCOMES, REASONS, law_violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
SDK = HERE.parent.parent / "sdk" / "js"
STALL_MS = 4_000
CLIP_S = 15


@dataclass
class Playback:
    """What the page saw, and the session's heartbeats as they are stored."""

    truth: dict[str, Any]
    stored: list[dict[str, Any]]

    def total(self, field: str) -> int:
        """Sum of a field over the stored heartbeats."""
        return sum(int(row[field]) for row in self.stored)

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


@dataclass(frozen=True)
class Scene:
    """What is played how: `held` is the part of the media that the server holds back until playback has stalled."""

    player: str
    path: str
    held: str = ""
    leave_at_s: float | None = None


SCENES = {
    "hls stalls": Scene("hls", "healthy/master.m3u8", held=r"/00001\.ts"),
    "plain stalls": Scene("plain", "clip.mp4", held=r"\.mp4"),
    "picture missing": Scene("hls", "gap/master.m3u8"),
    "viewer leaves": Scene("plain", "clip.mp4", leave_at_s=3),
}


@pytest.fixture(scope="session")
def playbacks(media: Path, sdk_script: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Playback]:
    """Every scene played once in chromium against one `tocsin up`, which is stopped to read its store.

    The page and the collector are different origins, as in life.
    """
    files = {
        "/page.html": HERE / "page.html",
        "/lib/hls.js": SDK / "node_modules" / "hls.js" / "dist" / "hls.min.js",
        "/lib/tocsin.min.js": sdk_script,
        "/media": media,
    }
    third_of_clip = (media / "clip.mp4").stat().st_size // 3
    truths: dict[str, dict[str, Any]] = {}
    with tocsin_up(tmp_path_factory.mktemp("tocsin")) as tocsin:
        with ExitStack() as browsers:
            titles = []
            for name, scene in SCENES.items():
                titles.append(uuid.uuid4().hex)
                with serve(MediaServer(files, scene.held, third_of_clip)) as server:
                    url = _page_url(scene, server.url, tocsin.heartbeats_url, titles[-1])
                    truths[name] = _play(url, scene.leave_at_s, browsers)
            for title in titles:
                tocsin.wait_until_ended(title)
        tocsin.stop()
        return {name: Playback(truth, tocsin.stored(truth["session_id"])) for name, truth in truths.items()}


def _page_url(scene: Scene, server_url: str, heartbeats_url: str, title: str) -> str:
    query = {
        "player": scene.player, "media": f"{server_url}/media/{scene.path}", "collector": heartbeats_url, "key": KEY,
        "title": title, "interval_s": 2, "release_after_ms": STALL_MS if scene.held else 0,
    }  # fmt: skip
    return f"{server_url}/page.html?{urlencode(query)}"


def _play(url: str, leave_at_s: float | None, browsers: ExitStack) -> dict[str, Any]:
    """Play to the end, or leave before; gives the page's record. The browser stays open until `browsers` is closed."""
    command = ["node", str(HERE / "play.mjs"), url]
    if leave_at_s is not None:
        command += ["--leave-at", str(leave_at_s)]
    browser = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    browsers.enter_context(browser)  # on leaving closes its input, which ends it, and waits
    assert browser.stdout is not None
    line = browser.stdout.readline()
    assert line, f"{command} ended without a record of the playback (its message is on stderr)"
    truth: dict[str, Any] = json.loads(line)
    assert truth["errors"] == []
    return truth


@pytest.mark.parametrize("name", ["hls stalls", "plain stalls"])
def test_stored_stall_equals_media_events(playbacks: dict[str, Playback], name: str) -> None:
    """A stall of 4 s is stored within 2 % of the media events' truth, with start-up and playing time right too."""
    playback = playbacks[name]
    stalls_ms = playback.stalls_ms()
    print(json.dumps({
        "player": SCENES[name].player, "browser": playback.truth["browser"], "truth_stall_ms": round(sum(stalls_ms), 1),
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


def test_frozen_picture_is_found_where_no_event_shows_it(playbacks: dict[str, Playback]) -> None:
    """A rendition whose picture is missing for 4 s while the sound goes on: frozen as long as the page saw no frame."""
    playback = playbacks["picture missing"]
    truth_ms = max(later - earlier for earlier, later in pairwise(playback.truth["frames"]))
    assert truth_ms > 3_900
    assert playback.total("freeze_ms") == pytest.approx(truth_ms, rel=0.02)
    assert playback.total("rebuffer_ms") == pytest.approx(sum(playback.stalls_ms()), abs=20)


def test_leaving_the_page_reports_the_end(playbacks: dict[str, Playback]) -> None:
    """Who leaves in mid-play is reported as `quit`, by the last heartbeat, though the page is gone."""
    playback = playbacks["viewer leaves"]
    assert playback.outcomes == ["quit"]
    assert REASONS[playback.stored[-1]["reason"]] == "exit"
    assert playback.total("playing_ms") == pytest.approx(3000, abs=500)


@pytest.mark.parametrize("name", SCENES)
def test_every_playback_is_well_formed(playbacks: dict[str, Playback], name: str) -> None:
    """Every heartbeat keeps the schema's laws; seq runs from 0 without a gap; one first frame, one end."""
    playback = playbacks[name]
    stored = playback.stored
    columns = {field: np.array([row[field] for row in stored], dtype=np.int64) for field in NUMERIC}
    assert not law_violations(columns).any()
    assert [row["seq"] for row in stored] == list(range(len(stored)))
    assert REASONS[stored[0]["reason"]] == "start"
    assert sum(row["startup_ms"] != NOT_STARTED for row in stored) == 1
    assert len(playback.outcomes) == 1
    assert OUTCOMES[stored[-1]["outcome"]] == playback.outcomes[0]
    assert {row["player"] for row in stored} == {"hls.js" if SCENES[name].player == "hls" else ""}
