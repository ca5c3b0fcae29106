"""The audience: who presses play when, on what, from where. Everything follows from one seed.

Arrivals are an inhomogeneous Poisson process: intensity by region (local clock, so evenings travel round the globe) and
device, times title shares by Zipf's law, CDN shares by region. Arrivals of a minute depend on (seed, minute) alone, so
that any stretch of any week can be drawn by itself, twice the same. What a viewer brings along (patience, intent,
network quality) is drawn at arrival and stays with the session: that is what makes sessions differ and minutes of one
session alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from player_sim import layout
from player_sim.layout import Int64s, Records
from tocsin.model.errors import InputError

Floats = npt.NDArray[np.float64]

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
STAY_MS_MAX = 90 * MINUTE_MS
"""Nobody watches longer in one session: a run that starts this long before a moment is stationary at it, exactly."""
MINUTES_OF_WEEK = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class Region:
    """A country: its ISO code, zone of its clocks, share of the audience, its networks and how busy each is."""

    name: str
    zone: str
    share: float
    isps: tuple[str, ...]
    cdn_tilt: float
    """How much this region prefers the first CDN, 1 for no preference."""


@dataclass(frozen=True, slots=True)
class Device:
    """A class of devices: its share of plays, how its players behave and what they are called.

    `evening` tilts its share to the evening (+) or the day (-); `stalls_an_hour` of playing on a clean network.
    """

    name: str
    share: float
    evening: float
    startup_ms: float
    stalls_an_hour: float
    killed_share: float
    rung_max: int
    av_mean_ms: float
    drop_share: float
    os: str
    players: tuple[str, ...]
    apps: tuple[str, ...]
    networks: tuple[str, ...]


REGIONS: tuple[Region, ...] = (
    Region("US", "America/New_York", 0.38, ("as7922", "as701", "as20115"), 1.2),
    Region("GB", "Europe/London", 0.18, ("as2856", "as5607"), 1.0),
    Region("DE", "Europe/Berlin", 0.16, ("as3320", "as3209"), 0.9),
    Region("JP", "Asia/Tokyo", 0.15, ("as2516", "as4713"), 0.8),
    Region("BR", "America/Sao_Paulo", 0.13, ("as28573", "as18881"), 0.9),
)
DEVICES: tuple[Device, ...] = (
    Device("tv", 0.42, 0.25, 1_350, 4.0, 0.09, 5, -18.0, 0.0008, "tizen",
           ("exoplayer", "avplay"), ("tv-6.1", "tv-6.2"), ("ethernet", "wifi")),
    Device("mobile", 0.27, -0.2, 1_050, 10.0, 0.07, 3, -12.0, 0.002, "android",
           ("exoplayer",), ("mobile-9.4", "mobile-9.5"), ("wifi", "cellular")),
    Device("web", 0.21, -0.15, 900, 7.0, 0.03, 4, -25.0, 0.004, "windows",
           ("hls.js", "shaka"), ("web-2024", "web-2025"), ("wifi", "ethernet")),
    Device("console", 0.10, 0.15, 1_250, 5.0, 0.05, 5, -15.0, 0.001, "orbis",
           ("shaka",), ("console-3.0",), ("ethernet",)),
)  # fmt: skip
LADDER_KBPS: tuple[int, ...] = (400, 900, 1_800, 3_200, 5_000, 7_500)
CHANNEL_RUNG_MAX = 1
"""Channels are made in two renditions, films and episodes in all of the ladder."""
ERRORS: tuple[str, ...] = ("segment-timeout", "manifest-404", "decode", "drm-license", "cdn-5xx", "concurrency-limit")
FPS = 25


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """The size and shape of a simulated service; the same values give the same world.

    `viewers` is the mean number of viewers at once over a week. `channels` are titles (by rank from 0) that play round
    the clock in a loop of `loop_ms`; the others are films and episodes. `weather_sd` is the sd of the log of each
    network's stall rate around its mean, drifting over tens of minutes: what makes counts overdispersed.
    """

    seed: int = 1
    viewers: float = 2_000.0
    titles: int = 30
    zipf: float = 0.9
    channels: tuple[int, ...] = (1, 4, 9)
    loop_ms: int = 60_000
    cdns: tuple[str, ...] = ("cdn-a", "cdn-b", "cdn-c")
    cdn_shares: tuple[float, ...] = (0.45, 0.33, 0.22)
    regions: tuple[Region, ...] = REGIONS
    devices: tuple[Device, ...] = DEVICES
    weather_sd: float = 0.08
    season: float = 1.0
    """Strength of the daily and weekly pattern: 0 none, 1 as usual."""


@dataclass(frozen=True, slots=True)
class Boost:
    """More (or fewer) plays than usual: `factor` times, of one title (code) or of all (-1)."""

    factor: float
    title: int = -1


class World:
    """Name tables, shares and arrivals of one configuration."""

    def __init__(self, config: WorldConfig) -> None:
        if len(config.cdns) != len(config.cdn_shares) or config.titles < 1 or config.viewers <= 0:
            raise InputError(
                f"building a world of {config.titles} titles, {config.viewers} viewers, {len(config.cdns)} CDNs with "
                f"{len(config.cdn_shares)} shares: give one share a CDN and at least one title and viewer"
            )
        self.config = config
        self.titles = [f"title-{rank + 1:03d}" for rank in range(config.titles)]
        self.kinds = [_kind(rank, config.channels) for rank in range(config.titles)]
        suffixes = [("main", "alt") if rank % 3 == 2 else ("main",) for rank in range(config.titles)]
        pairs = [(rank, suffix) for rank in range(config.titles) for suffix in suffixes[rank]]
        self.streams = [f"{self.titles[rank]}-{suffix}" for rank, suffix in pairs]
        self.stream_title = np.array([rank for rank, _ in pairs], np.int64)
        self.cdns = list(config.cdns)
        self.devices = [device.name for device in config.devices]
        self.regions = [region.name for region in config.regions]
        self.isps = [isp for region in config.regions for isp in region.isps]
        self.isp_region = np.repeat(np.arange(len(self.regions)), [len(region.isps) for region in config.regions])
        self.apps = [app for device in config.devices for app in device.apps]
        self.players = sorted({player for device in config.devices for player in device.players})
        self.networks = sorted({network for device in config.devices for network in device.networks})
        self.errors = list(ERRORS)
        rng = np.random.default_rng([config.seed, 0x776F726C])
        lengths = rng.uniform(24, 52, config.titles) * (1 + (np.array(self.kinds) == "movie"))
        self.length_ms = np.where(
            np.array(self.kinds) == "channel", config.loop_ms, np.round(lengths * MINUTE_MS)
        ).astype(np.int64)
        shares = (1.0 / np.arange(1, config.titles + 1) ** config.zipf) * rng.lognormal(0, 0.05, config.titles)
        self.title_shares: Floats = shares / shares.sum()
        self.isp_quality: Floats = rng.lognormal(0, 0.2, len(self.isps))
        self.region_cdn: Floats = np.array([_cdn_shares(region, config.cdn_shares) for region in config.regions])
        self._hour: tuple[int, Floats] = (-1, np.zeros((60, 0, 0)))
        self._phases: Floats = rng.uniform(0, 2 * np.pi, (3, len(self.isps)))

    @property
    def seed(self) -> int:
        """The seed of the world and of everything drawn for it."""
        return self.config.seed

    def names_of(self, tag: str) -> list[str]:
        """Names of a tag's codes, for each of `layout.TAGS`."""
        tables = {
            "title": self.titles, "stream": self.streams, "cdn": self.cdns, "device": self.devices,
            "region": self.regions, "isp": self.isps, "app": self.apps, "player": self.players,
            "network": self.networks,
        }  # fmt: skip
        return tables[tag]

    def code_of(self, tag: str, name: str) -> int:
        """The code of a name; an unknown one is refused with the known ones."""
        names = self.names_of(tag)
        if name not in names:
            raise InputError(f"looking up {tag} {name!r} in the world: known are {', '.join(names[:50])}")
        return names.index(name)

    def wire_tags(self, stream: int, cdn: int, device: int, app: int, player: int, network: int) -> dict[str, str]:
        """The tags that a player sends, by their names on the wire; country and network are the server's to know."""
        title = int(self.stream_title[stream])
        return {
            "content.id": self.titles[title], "content.type": self.derived("kind", title),
            "stream.id": self.streams[stream], "stream.type": self.derived("mode", title),
            "stream.format": self.derived("format", player), "cdn.name": self.cdns[cdn],
            "player.name": self.players[player], "player.version": self.derived("player_version", player),
            "app.version": self.apps[app], "device.category": self.devices[device],
            "os.name": self.derived("os", device), "network.type": self.networks[network],
        }  # fmt: skip

    def derived(self, key: str, code: int) -> str:
        """The value of a key that follows from a title (kind, mode), player (format, player_version) or device (os)."""
        if key == "kind":
            return self.kinds[code]
        if key == "mode":
            return "live" if self.kinds[code] == "channel" else "vod"
        if key == "format":
            return "dash" if self.players[code] == "shaka" else "hls"
        if key == "player_version":
            return f"{self.players[code]}-1"
        return self.config.devices[code].os

    @cached_property
    def week(self) -> Floats:
        """Relative intensity by local minute of the week and device, shape (10080, devices); mean 1."""
        minute = np.arange(MINUTES_OF_WEEK)
        hour = (minute % 1440) / 60.0
        day = minute / 1440.0
        strength = self.config.season
        evening = np.cos(2 * np.pi * (hour - 20.5) / 24)
        shape = 1 + strength * (0.34 * evening + 0.1 * np.cos(4 * np.pi * (hour - 20.5) / 24))
        shape *= 1 + strength * 0.09 * np.cos(2 * np.pi * (day - 5.8) / 7)
        tilts = np.array([device.evening for device in self.config.devices])
        table = shape[:, None] * (1 + strength * tilts[None, :] * evening[:, None])
        return np.asarray(table / table.mean(axis=0))

    def intensity(self, minutes: Int64s) -> Floats:
        """Expected arrivals in each of the epoch minutes, shape (n, regions, devices)."""
        result = np.empty((len(minutes), len(self.regions), len(self.devices)))
        shares = np.array([device.share for device in self.config.devices])
        per_minute = self.config.viewers * MINUTE_MS / MEAN_STAY_MS
        for index, region in enumerate(self.config.regions):
            local = _local_minutes(minutes, ZoneInfo(region.zone))
            result[:, index, :] = self.week[local % MINUTES_OF_WEEK] * (shares / shares.sum()) * region.share
        total = sum(region.share for region in self.config.regions)
        return result * (per_minute / total)

    def _intensity_of_hour(self, hour: int) -> Floats:
        """`intensity` of an hour's minutes; the last hour asked for is kept."""
        if self._hour[0] != hour:
            self._hour = (hour, self.intensity(np.arange(hour * 60, hour * 60 + 60)))
        return self._hour[1]

    def weather(self, minute: int) -> Floats:
        """Factor on the stall rate of each network in an epoch minute, shape (isps,): slow waves of three periods."""
        periods = np.array([23.0, 61.0, 157.0])[:, None]
        waves = np.sin(2 * np.pi * minute / periods + self._phases).sum(axis=0) * np.sqrt(2 / 3)
        return np.asarray(np.exp(self.config.weather_sd * waves))

    def arrivals(self, minute: int, boosts: Sequence[Boost] = ()) -> Records:
        """Sessions (`layout.SESSION`, WAITING) that press play in an epoch minute, by start time.

        A boost adds plays of its own, or takes some of the usual ones away: the rest of the minute stays the same.
        """
        intensity = self._intensity_of_hour(minute // 60)[minute % 60]
        usual = self._draw(np.random.default_rng([self.seed, minute]), minute, intensity, -1)
        groups = []
        for ordinal, boost in enumerate(boosts):
            rng = np.random.default_rng([self.seed, minute, 1 + ordinal])
            if boost.factor < 1:
                hit = (boost.title < 0) | (usual["title"] == boost.title)
                usual = usual[~hit | (rng.random(len(usual)) < boost.factor)]
            else:
                share = self.title_shares[boost.title] if boost.title >= 0 else 1.0
                groups.append(self._draw(rng, minute, intensity * ((boost.factor - 1) * share), boost.title))
        sessions = np.concatenate([usual, *groups]) if groups else usual
        return sessions[np.argsort(sessions["start_ms"], kind="stable")]

    def _draw(self, rng: np.random.Generator, minute: int, intensity: Floats, title: int) -> Records:
        n = int(rng.poisson(intensity.sum()))
        cells = rng.choice(intensity.size, n, p=(intensity / intensity.sum()).ravel())
        sessions = np.zeros(n, layout.SESSION)
        sessions["region"], sessions["device"] = cells // len(self.devices), cells % len(self.devices)
        sessions["start_ms"] = minute * MINUTE_MS + rng.integers(0, MINUTE_MS, n)
        sessions["clock_ms"] = sessions["start_ms"]
        sessions["sid"] = rng.integers(0, 2**64, n, np.uint64)
        sessions["rng"] = rng.integers(0, 2**64, n, np.uint64)
        sessions["title"] = rng.choice(len(self.titles), n, p=self.title_shares) if title < 0 else title
        self._place(rng, sessions)
        self._temper(rng, sessions)
        return sessions

    def _place(self, rng: np.random.Generator, sessions: Records) -> None:
        """Stream, network, CDN, app and player of each session, and where in the title it begins."""
        n = len(sessions)
        u = rng.random((7, n))
        region, title, device = sessions["region"], sessions["title"], sessions["device"]
        first, count = _groups(self.stream_title, len(self.titles))
        sessions["stream"] = first[title] + (u[0] * count[title] * 0.999).astype(np.int64) * (u[0] > 0.3)
        first, count = _groups(self.isp_region, len(self.regions))
        sessions["isp"] = first[region] + np.minimum((u[1] ** 1.4 * count[region]).astype(np.int64), count[region] - 1)
        sessions["cdn"] = (u[2][:, None] > np.cumsum(self.region_cdn, axis=1)[region, :-1]).sum(axis=1)
        devices = self.config.devices
        sessions["app"] = _pick(u[3], device, [[self.apps.index(app) for app in d.apps] for d in devices])
        sessions["player"] = _pick(u[4], device, [[self.players.index(p) for p in d.players] for d in devices])
        sessions["network"] = _pick(u[5], device, [[self.networks.index(k) for k in d.networks] for d in devices])
        sessions["length_ms"] = self.length_ms[title]
        channel = np.array([kind == "channel" for kind in self.kinds])[title]
        sessions["loops"] = sessions["live"] = channel
        resumes = channel | (u[6] < 0.4)
        sessions["playhead_ms"] = np.where(resumes, rng.random(n) * 0.9 * sessions["length_ms"], 0).astype(np.int64)

    def _temper(self, rng: np.random.Generator, sessions: Records) -> None:
        """What the viewer and the network are like: rates are a millisecond of playing."""
        n = len(sessions)
        z = rng.standard_normal((9, n))
        u = rng.random((5, n))
        device = sessions["device"]
        per_device = {
            name: np.array([getattr(d, name) for d in self.config.devices], np.float64)[device]
            for name in ("startup_ms", "stalls_an_hour", "killed_share", "rung_max", "av_mean_ms", "drop_share")
        }
        network = self.isp_quality[sessions["isp"]]
        sessions["startup_plan_ms"] = per_device["startup_ms"] * network**0.5 * np.exp(0.55 * z[0])
        sessions["patience_ms"] = 7_000 * np.exp(0.8 * z[1])
        sessions["intent_ms"] = np.minimum(11 * MINUTE_MS * np.exp(1.0 * z[2]), STAY_MS_MAX - 30 * MINUTE_MS)
        sessions["start_fail_share"] = 0.006
        sessions["stall_rate"] = per_device["stalls_an_hour"] / HOUR_MS * network * np.exp(0.6 * z[3] - 0.18)
        sessions["stall_median_ms"] = 1_800 * np.exp(0.3 * z[4])
        sessions["seek_rate"] = np.where(sessions["live"] == 1, 0.0, 5.0 / HOUR_MS)
        sessions["pause_rate"] = 2.5 / HOUR_MS
        sessions["error_rate"] = 0.5 / HOUR_MS
        sessions["fatal_rate"] = 0.04 / HOUR_MS
        sessions["av_mean_ms"] = per_device["av_mean_ms"] + 8 * z[5]
        sessions["av_sd_ms"] = 5 * np.exp(0.2 * z[6])
        sessions["drop_share"] = per_device["drop_share"] * np.exp(0.7 * z[7])
        sessions["request_fail_share"] = 0.002
        sessions["request_ms"] = 210 * network * np.exp(0.3 * z[8])
        sessions["latency_ms"] = np.where(sessions["live"] == 1, 9_000 + 2_500 * u[0], 0)
        sessions["killed"] = u[1] < per_device["killed_share"]
        sessions["closes_page"] = (u[2] < 0.5) & (device == _index(self.devices, "web"))
        cut = (u[3] < 0.3).astype(np.int64) + (u[3] < 0.1)
        top = np.maximum(per_device["rung_max"].astype(np.int64) - cut, 0)
        sessions["rung_target"] = np.where(sessions["live"] == 1, np.minimum(top, CHANNEL_RUNG_MAX), top)
        sessions["rung"] = np.maximum(sessions["rung_target"] - (u[4] < 0.5), 0)


MEAN_STAY_MS = 12.6 * MINUTE_MS
"""Mean time that a session is watching (not paused), measured over the model's own sessions; kept by a test."""


def _kind(rank: int, channels: tuple[int, ...]) -> str:
    if rank in channels:
        return "channel"
    return "movie" if rank % 2 else "episode"


def _index(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _cdn_shares(region: Region, shares: tuple[float, ...]) -> Floats:
    tilted = np.array(shares) * np.array([region.cdn_tilt, *([1.0] * (len(shares) - 1))])
    return np.asarray(tilted / tilted.sum())


def _groups(owner: Int64s, owners: int) -> tuple[Int64s, Int64s]:
    """First index and number of the members of each owner, where members are sorted by owner."""
    return np.searchsorted(owner, np.arange(owners)), np.bincount(owner, minlength=owners)


def _pick(u: Floats, device: Int64s, choices: Sequence[Sequence[int]]) -> Int64s:
    """One of the device's choices, the first two times in three where there are two."""
    first = np.array([options[0] for options in choices])[device]
    last = np.array([options[-1] for options in choices])[device]
    return np.where(u < 2 / 3, first, last)


def _local_minutes(minutes: Int64s, zone: ZoneInfo) -> Int64s:
    """Minutes since Monday 1970-01-05 00:00 on the zone's wall clock; the offset is looked up once an hour."""
    hours, place = np.unique(minutes // 60, return_inverse=True)
    offsets = np.array([_offset_minutes(int(hour) * 60, zone) for hour in hours], np.int64)
    return minutes + offsets[place] - 4 * 1440


def _offset_minutes(minute: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(minute * 60, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) // 60
