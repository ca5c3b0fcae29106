"""What a demonstration needs around Tocsin: media, artwork, history, and the configuration that knows of them."""

from __future__ import annotations

import csv
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from player_sim.artwork import make_bucket
from player_sim.clips import make_stream
from player_sim.history import write_history
from player_sim.wire import ASN_HEADER, COUNTRY_HEADER
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.app.alerts import DEFAULT_RULES
from tocsin.app.config import Config
from tocsin.app.demo.scenario import Scenario
from tocsin.model.cubes import DEFAULT_CUBES

DRAIN = "drain-cdn"
MARK = ".tocsin-demo"
WHOLE, BROKEN = "whole", "broken"
CLOSE_HOLD_S = 180.0
PROBE_SHARE = 0.05
FRESH_MINUTES = 120
"""The sample comes round in real time, while the clock of everything else runs ahead of it."""
PORT = 8080


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of one demonstration."""

    root: Path

    @property
    def media(self) -> Path:
        """Streams, served as the origin of every CDN."""
        return self.root / "media"

    @property
    def artwork(self) -> Path:
        """Images and their inventory."""
        return self.root / "artwork"

    @property
    def clock(self) -> Path:
        """The conducted clock."""
        return self.root / "clock"

    @property
    def data(self) -> Path:
        """Tocsin's own data."""
        return self.root / "data"


def prepare(root: Path) -> Places:
    """An empty folder for a run; one that a demonstration has left is used again, anybody else's is refused."""
    if root.exists() and any(root.iterdir()):
        if not (root / MARK).exists():
            from tocsin.model.errors import InputError

            raise InputError(f"using {root}: it has files that no demonstration made; choose another with --folder")
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()
    return Places(root)


def make_media(places: Places, scenario: Scenario, pool: ProcessPoolExecutor) -> list[Future[Path]]:
    """Make the streams in the background, and the first one once more as it is when broken."""
    wanted = [*((WHOLE, spec) for spec in scenario.media()), (BROKEN, scenario.broken())]
    return [pool.submit(make_stream, places.root / folder, spec) for folder, spec in wanted]


def publish(places: Places, scenario: Scenario) -> None:
    """Put the streams on the origin as they are at the start."""
    places.media.mkdir()
    for spec in scenario.media():
        (places.media / spec.name).symlink_to(Path("..") / WHOLE / spec.name)


def lose_picture(places: Places, scenario: Scenario) -> None:
    """Let the origin serve the broken stream from now on."""
    link = places.media / "next"
    link.symlink_to(Path("..") / BROKEN / scenario.gap_stream)
    link.replace(places.media / scenario.gap_stream)


def make_artwork(places: Places, scenario: Scenario) -> Path:
    """Make the images that exist; returns the inventory of those that should."""
    return make_bucket(places.artwork, scenario.launches, scenario.lacking)


def draw_history(places: Places, scenario: Scenario, progress: Callable[..., Any]) -> int:
    """Write five weeks of history; returns the seam, where the live audience goes on (epoch ms)."""
    store = ClickHouseStore(f"chdb://{(places.data / 'store').absolute()}")
    try:
        return write_history(store, scenario.world, scenario.start_ms, DEFAULT_CUBES, progress).seam_ms
    finally:
        store.close()


def registry(places: Places, scenario: Scenario, origin: str) -> Path:
    """The stream list: each channel on every CDN, all from one origin."""
    file = places.root / "streams.csv"
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("stream", "cdn", "url", "mode"))
        for spec in scenario.media():
            for cdn in scenario.world.cdns:
                rows.writerow((spec.name, cdn, f"{origin}/{spec.name}/master.m3u8", "vod"))
    return file


def rules(places: Places) -> Path:
    """The shipped rules, with the drain named as the remediation of rebuffering."""
    document = yaml.safe_load(DEFAULT_RULES.read_text())
    for rule in document["rules"]:
        if rule["name"] == "rebuffering":
            rule["remediate"] = DRAIN
        if rule["name"] == "probe-defect":
            rule["fresh_minutes"] = FRESH_MINUTES
    file = places.root / "rules.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def configuration(
    places: Places, *, port: int, origin: str, streams: Path, pages_url: str, secret: str, switch_url: str
) -> Config:
    """Tocsin's configuration for the demonstration: as anybody's, but for the clock and a shorter hold."""
    return Config(
        data=places.data,
        port=port,
        rules=rules(places),
        close_hold_s=CLOSE_HOLD_S,
        pagers=[{"type": "webhook", "name": "on-call", "url": pages_url, "secret": secret}],
        actions=[
            {
                "name": DRAIN, "type": "http_call", "url": f"{switch_url}/cdn/weights",
                "body": {"cdn": "{cdn}", "device": "{device}", "weight": 0}, "dry_run": False, "approval": False,
            }
        ],
        streams=streams,
        probe_origins=[origin],
        probe_share=PROBE_SHARE,
        probe_window_s=60.0,
        trusted_proxies=["127.0.0.1"],
        geo_country_header=COUNTRY_HEADER,
        geo_asn_header=ASN_HEADER,
        clock_file=places.clock,
    )  # fmt: skip


def free_port() -> int:
    """The usual port where it is free, else any."""
    for wanted in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on the loopback interface")
