"""Where a viewer is: country and network operator, from a trusted proxy's headers or the operator's own table.

The address itself is used for the look-up and for the rate bucket of its network, and is then forgotten.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

from ingest.body import Headers
from ingest.settings import IngestSettings
from tocsin.model.errors import ConfigError

UNIX = "unix"
"""The peer's name where a request comes by a unix socket."""


class Place(NamedTuple):
    """The client's address (never stored), country and network operator; empty where not known."""

    address: str
    region: str
    isp: str


class Geo:
    """Finds the `Place` of a request."""

    def __init__(self, settings: IngestSettings) -> None:
        self._trusted = frozenset(settings.trusted_proxies)
        self._country = settings.geo_country_header.lower().encode()
        self._asn = settings.geo_asn_header.lower().encode()
        try:
            networks = [(ipaddress.ip_network(one.cidr), one) for one in settings.geo_networks]
        except ValueError as error:
            raise ConfigError(f"reading geo_networks: {error}; write each as 192.0.2.0/24 or 2001:db8::/48") from error
        self._networks = sorted(networks, key=lambda pair: -pair[0].prefixlen)
        self._look_up = lru_cache(maxsize=16_384)(self._search)

    def place(self, peer: str, headers: Headers) -> Place:
        """The place of a request that comes from `peer` (an address, or `UNIX`)."""
        if peer not in self._trusted:
            region, isp = self._look_up(peer) if self._networks else ("", "")
            return Place(peer, region, isp)
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        # The last entry is the one that the trusted proxy itself has seen; those before it are the client's word.
        address = forwarded.rpartition(",")[2].strip() or peer
        region, isp = self._look_up(address) if self._networks else ("", "")
        if self._country:
            region = headers.get(self._country, b"").decode("latin-1").strip() or region
        if self._asn:
            isp = headers.get(self._asn, b"").decode("latin-1").strip() or isp
        return Place(address, region, isp)

    def _search(self, address: str) -> tuple[str, str]:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return "", ""
        for network, place in self._networks:
            if parsed in network:
                return place.country, place.asn
        return "", ""
