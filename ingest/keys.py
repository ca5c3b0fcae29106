"""Who may write: public write keys, where from, and how much.

A key travels as `?key=` (no preflight) or `Authorization: Bearer`. It submits and does nothing else. A public key is
limited three ways: by key, by the sender's network (/24, /48) and by session (the last in `limits.SessionBuckets`).
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from functools import lru_cache

from ingest.body import Headers, HttpError
from ingest.limits import Buckets
from ingest.settings import IngestSettings, Limits, WriteKey

ANONYMOUS = WriteKey(key="", name="anonymous", bulk=True, publish=True)
"""Whom a gateway without keys takes everybody for; it is bound to loopback, or told to trust its callers."""


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The /24 or /48 of an address, all that is ever kept of it; what is no address is one network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "local"
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, prefix), strict=False))


class Gatekeeper:
    """Checks keys, origins and rates for one gateway process."""

    def __init__(self, settings: IngestSettings) -> None:
        self._keys = {key.key: key for key in settings.keys}
        self._open = not settings.keys
        self._public, self._bulk = settings.public_limits, settings.bulk_limits
        rates = settings.rates
        self._by_network = Buckets(rates.network_events_per_s, rates.network_burst_events, rates.entries)
        self._by_key = {key.key: Buckets(key.events_per_s, key.burst_events, 1) for key in settings.keys}

    def admit(self, presented: str, origin: str) -> WriteKey:
        """The key presented. Raises `HttpError` 401 (none, unknown or revoked) or 403 (origin not listed)."""
        if self._open:
            return ANONYMOUS
        key = self._keys.get(presented)
        if key is None or key.revoked:
            text = "no valid write key; send ?key=… or Authorization: Bearer …"
            raise HttpError(401, "key", text, ((b"www-authenticate", b'Bearer realm="tocsin"'),))
        if key.origins and origin not in key.origins and not (key.bulk and not origin):
            raise HttpError(403, "origin", f"origin {origin[:100]!r} is not listed for this write key")
        return key

    def limits(self, key: WriteKey) -> Limits:
        """What one request of this key may be."""
        return self._bulk if key.bulk else self._public

    def charge(self, key: WriteKey, address: str, events: int, now_s: float) -> None:
        """Take `events` from the key's and the network's buckets. Raises `HttpError` 429 with Retry-After."""
        if key is ANONYMOUS:
            return
        wait_s = 0.0 if key.bulk else self._by_network.wait_s(network_of(address), events, now_s)
        by = "network"
        if not wait_s:
            wait_s, by = self._by_key[key.key].wait_s("", events, now_s), "write key"
        if wait_s:
            seconds = str(math.ceil(wait_s)).encode()
            text = f"this {by} sends more than its limit; try again in {seconds.decode()} s"
            raise HttpError(429, "rate", text, ((b"retry-after", seconds),))


def presented_key(query: Mapping[str, str], headers: Headers) -> str:
    """The write key that a request shows, empty where none."""
    if "key" in query:
        return query["key"]
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
