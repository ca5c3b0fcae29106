"""Configuration: one `tocsin.toml`, every key also as environment variable `TOCSIN_<KEY>`, which wins.

Unknown keys are refused, with the nearest known one. Every key has a default that works on one machine, serverless.
"""

from __future__ import annotations

import difflib
import functools
import os
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tocsin.app.clock import Clock, ConductedClock, RealClock
from tocsin.model.cubes import DEFAULT_CUBES, Cube, declare
from tocsin.model.errors import ConfigError
from tocsin.model.tables import TABLES

ENV_PREFIX = "TOCSIN_"
ENV_OF_OTHERS = frozenset(
    {
        "TOCSIN_CACHE",
        "TOCSIN_CLICKHOUSE_PASSWORD",
        "TOCSIN_FAILPOINT",
        "TOCSIN_FAILPOINT_FILE",
        "TOCSIN_FAILPOINT_AFTER",
        "TOCSIN_TOKEN",
        "TOCSIN_WRITE_KEY",
    }
)
"""Variables with the prefix that are no configuration keys: the download cache, the compose file, the kill tests, a
caller's token."""


class Config(BaseSettings):
    """Every key, with its unit in the name and its default."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    data: Path = Field(Path(".tocsin"), description="Folder of the embedded log, store and state.")
    log: str = Field("", description="Log: empty for the embedded one, or kafka://HOST:PORT/TOPIC.")
    store: str = Field("", description="Store: empty for the embedded one, or http://USER:PASSWORD@HOST:PORT/DATABASE.")
    partitions: int = Field(1, ge=1, le=1024, description="Partitions of the log, fixed when it is made.")
    cubes: list[str] = Field([cube.name for cube in DEFAULT_CUBES], description="Sets of tag keys to keep sums by.")
    lateness_s: float = Field(900.0, gt=0, description="How old a heartbeat may be and still count in its minute.")
    session_timeout_s: float = Field(120.0, gt=0, description="Silence after which a session has ended.")
    keep_days: dict[str, PositiveInt] = Field({}, description="Days to keep, by table; those not named keep theirs.")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str = Field("", description="Where people reach this server: used in pages; empty: host and port.")
    write_keys: list[str] = Field([], description="Keys that players send; empty accepts any on loopback.")
    bulk_keys: list[str] = Field([], description="Keys of servers that send for many players; they may publish.")
    admin_key: str = Field("", description="Key that may also back-fill published points.")
    keys_db: Path | None = Field(None, description="Database of tokens and the audit; empty: state.db in `data`.")
    service_token: str = Field("", description="Token that roles send to one another: the same in all.")
    trusted_proxies: list[str] = Field([], description="Peers whose forwarding and geo headers are believed.")
    geo_country_header: str = Field("", description="Header with the viewer's country, set by a trusted proxy.")
    geo_asn_header: str = Field("", description="Header with the viewer's network, set by a trusted proxy.")

    rules: Path | None = Field(None, description="Alert rules (YAML); empty: the shipped set.")
    alert_tick_s: float = Field(10.0, gt=0, description="Seconds between two evaluations of all rules.")
    close_hold_s: float = Field(
        1800.0, ge=0, description="Seconds that a slice must be quiet before its incident closes."
    )
    reopen_within_s: float = Field(3600.0, ge=0, description="An incident that comes back sooner keeps its id.")
    false_pages_a_week: float = Field(1.0, gt=0, description="Budget of false pages over all slices.")
    pagers: list[dict[str, Any]] = Field([], description="Receivers of pages: type, name, url, … (see docs).")
    actions: list[dict[str, Any]] = Field([], description="Remediations that rules may name: name, type, url, …")
    alertmanager_url: str = Field("", description="Alertmanager base URL; a receiver of its own; empty: none.")
    alerting_url: str = Field("", description="Where the alerting role is, for the other roles.")
    timezone: str = Field("UTC", description="Zone of the viewers' week: baselines follow its clocks over DST.")

    streams: Path | None = Field(None, description="Stream registry (CSV): stream, cdn, manifest URL, live or vod.")
    probe_origins: list[str] = Field([], description="Origins that the probe may fetch from, as http://HOST:PORT.")
    probe_share: float = Field(0.05, ge=0, le=1, description="Share of one core for the rotating background sample.")

    probe_window_s: float = Field(10.0, gt=0, description="Seconds of a stream that one sampled look decodes.")

    clock_file: Path | None = Field(None, description="Demonstration only: file of a conducted clock.")

    @field_validator("keep_days")
    @classmethod
    def _of_tables(cls, keep_days: dict[str, int]) -> dict[str, int]:
        known = [table.name for table in TABLES if table.keep_by]
        if unknown := keep_days.keys() - set(known):
            raise ValueError(f"no table {min(unknown)!r} with a retention; there are {', '.join(known)}")
        return keep_days

    @functools.cached_property
    def clock(self) -> Clock:
        """The clock that all roles of this configuration share."""
        return RealClock() if self.clock_file is None else ConductedClock(self.clock_file)

    @property
    def store_dsn(self) -> str:
        """DSN of the store."""
        return self.store or f"chdb://{(self.data / 'store').absolute()}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address to listen on."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def keys_path(self) -> Path:
        """The database of tokens."""
        return self.keys_db or self.data / "state.db"

    @property
    def declared_cubes(self) -> tuple[Cube, ...]:
        """The cubes, checked."""
        return declare(self.cubes)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes as init arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load(path: Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """The configuration from `path` (default `tocsin.toml` where it exists), environment and `overrides`.

    Overrides come from command-line flags and win over all. Raises `ConfigError` naming key, value and remedy.
    """
    file = path or Path("tocsin.toml")
    values: dict[str, Any] = {}
    if path is not None or file.exists():
        try:
            values = tomllib.loads(file.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"reading the configuration {file}: {error}") from error
    _refuse_unknown(values, str(file))
    environment = {name.removeprefix(ENV_PREFIX).lower() for name in os.environ.keys() - ENV_OF_OTHERS
                   if name.startswith(ENV_PREFIX)}  # fmt: skip
    _refuse_unknown(dict.fromkeys(environment), f"the environment ({ENV_PREFIX}…)")
    try:
        config = Config(**values)
        if overrides:
            config = Config.model_validate({**config.model_dump(), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"reading the configuration: {key} = {first.get('input')!r}: {first['msg']}") from error
    declare(config.cubes)
    return config


def _refuse_unknown(values: dict[str, Any], where: str) -> None:
    for key in values:
        if key not in Config.model_fields:
            near = difflib.get_close_matches(key, Config.model_fields, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else "`tocsin config` lists the keys"
            raise ConfigError(f"reading {where}: unknown key {key!r}; {hint}")
