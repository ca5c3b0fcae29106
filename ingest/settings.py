"""What can be set at the gateway, as plain data; defaults were chosen by measurement (benchmarks/bench_ingest.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from tocsin.model.errors import ConfigError

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be: bytes on the wire, bytes inflated, heartbeats, bytes of one heartbeat."""

    wire_bytes: int
    inflated_bytes: int
    events: int
    event_bytes: int = 8 * KIB


PUBLIC_LIMITS = Limits(64 * KIB, 512 * KIB, 500)
BULK_LIMITS = Limits(4 * MIB, 16 * MIB, 20_000)


@dataclass(frozen=True, slots=True)
class WriteKey:
    """One write key. Keys ship in players, so they are public: they submit and do nothing else.

    `origins`: allowed Origin headers, empty for any. `bulk`: a server that sends for many players; larger bodies and
    no buckets by network and session. `publish`: may POST published points. `backfill`: published points of any age.
    """

    key: str
    name: str
    origins: tuple[str, ...] = ()
    bulk: bool = False
    publish: bool = False
    backfill: bool = False
    revoked: bool = False
    events_per_s: float = 50_000.0
    burst_events: float = 200_000.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Token buckets beside the key's own, for public keys; `entries` bounds the memory of each table."""

    network_events_per_s: float = 2_000.0
    network_burst_events: float = 20_000.0
    session_events_per_s: float = 2.0
    session_burst_events: float = 256.0
    entries: int = 65_536


@dataclass(frozen=True, slots=True)
class GeoNetwork:
    """A network whose viewers are known to be in `country` behind `asn`, e.g. from the operator's own table."""

    cidr: str
    country: str = ""
    asn: str = ""


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Settings of the ingest role.

    `linger_ms_max` is how long a heartbeat waits for company where company pays (`batcher.py`), `linger_ms_min` where
    it does not. `geo_country_header` and `geo_asn_header` name headers that a trusted proxy sets; they are read, as is
    X-Forwarded-For, only from peers in `trusted_proxies` (addresses, or "unix" for a unix socket).
    """

    host: str = "127.0.0.1"
    port: int = 8080
    uds: str = ""
    keys: tuple[WriteKey, ...] = ()
    allow_anonymous: bool = False
    public_limits: Limits = PUBLIC_LIMITS
    bulk_limits: Limits = BULK_LIMITS
    rates: Rates = field(default_factory=Rates)
    batch_heartbeats: int = 4_000
    linger_ms_min: float = 2.0
    linger_ms_max: float = 100.0
    in_flight_bytes_max: int = 64 * MIB
    append_timeout_s: float = 30.0
    retry_after_s: int = 5
    header_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    connections_max: int = 4_096
    drain_timeout_s: float = 35.0
    skew_ms_max: int = 30_000
    unknown_fields_sample: int = 256
    publish_age_ms_max: int = 60_000
    trusted_proxies: tuple[str, ...] = ()
    geo_country_header: str = ""
    geo_asn_header: str = ""
    geo_networks: tuple[GeoNetwork, ...] = ()

    def check(self) -> None:
        """Raise `ConfigError` where the settings would let strangers in, or cannot work."""
        if not self.keys and not self.allow_anonymous and not self.uds and not ip_address(self.host).is_loopback:
            raise ConfigError(
                f"binding the gateway to {self.host}: no write key is configured, so anybody could write; add a key, "
                "bind to 127.0.0.1, or set allow_anonymous"
            )
        if not 0 < self.batch_heartbeats <= 16_384:
            raise ConfigError(f"setting batch_heartbeats to {self.batch_heartbeats}: it must be 1 to 16384")
        if len({key.key for key in self.keys}) != len(self.keys):
            raise ConfigError("setting the write keys: one key is given twice; remove one")
