"""Reads manifests and segments of strangers without being led astray. The only place of the probe that opens a socket.

Every URL (the first, each redirect, each inner URL of a playlist) passes the same gate: its origin is on the list, its
host is resolved once a look and the connection goes to that very address, and the address is public unless its origin
is listed as private. So a name that changes its address between check and use gains nothing. Bytes, time and requests
of a look are capped; bodies are taken as they come (no content coding, so no bomb).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx

from server_probe.pinned import PinnedTransport
from tocsin.model.errors import ConfigError, InputError, UnavailableError

Resolver = Callable[[str, int], list[str]]
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
_DISGUISES = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "2002::/16", "2001::/32"))
"""NAT64, 6to4 and Teredo carry an IPv4 address inside that nobody would have checked."""
_FAULTS = (httpx.HTTPError, httpx.InvalidURL, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


class RefusedError(InputError):
    """A URL, an address or an amount that the probe does not read; nothing was sent, or reading stopped at the cap."""


class OriginError(UnavailableError):
    """An allowed origin did not answer as it should; `status` is its HTTP status, 0 if there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Origin:
    """One allowed origin. `private` lets its host have a private address (loopback, site-local; never link-local)."""

    scheme: str
    host: str
    port: int
    private: bool = False

    @classmethod
    def parse(cls, text: str, *, private: bool | None = None) -> Self:
        """From `https://cdn.example.com[:port]`; a literal address is spelled out, so it may be private by itself."""
        parts = urlsplit(text)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.username:
            raise ConfigError(f"allowing origin {text!r}: give scheme://host or scheme://host:port, nothing more")
        host = parts.hostname.lower()
        if private is None:
            private = _is_literal(host)
        return cls(parts.scheme, host, parts.port or _PORTS[parts.scheme], private)


@dataclass(frozen=True)
class FetchPolicy:
    """What may be read, and how much of it."""

    origins: tuple[Origin, ...]
    manifest_bytes_max: int = 2**20
    segment_bytes_max: int = 32 * 2**20
    look_bytes_max: int = 192 * 2**20
    look_requests_max: int = 500
    redirects_max: int = 3
    request_s_max: float = 10.0
    look_s_max: float = 60.0


@dataclass(frozen=True)
class Fetched:
    """A body that was read whole, from which URL it came in the end, and how long it took."""

    url: str
    body: bytes
    took_s: float


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        if any(address in network for network in _DISGUISES):
            return False
    return address.is_global and not address.is_multicast


def system_resolver(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system sees them; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Fetcher:
    """Gives each look a session of its own; `clock` is a monotonic one, in seconds."""

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        resolver: Resolver = system_resolver,
    ) -> None:
        self.policy = policy
        self._clock = clock
        self._resolver = resolver
        self._ssl_context = httpx.create_ssl_context()

    def session(self) -> FetchSession:
        """A fresh budget and fresh pins."""
        return FetchSession(self.policy, self._clock, self._resolver, self._ssl_context)


@dataclass
class FetchSession:
    """One look's reading. Close it, or use it as a context manager."""

    policy: FetchPolicy
    clock: Callable[[], float]
    resolver: Resolver
    ssl_context: ssl.SSLContext
    bytes_read: int = 0
    requests: int = 0
    _pins: dict[tuple[str, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the look's time; proxies and netrc of the environment are not for the probe."""
        self._deadline_s = self.clock() + self.policy.look_s_max
        self._request_until_s = self._deadline_s
        transport = PinnedTransport(self._pin, lambda: self._request_until_s - self.clock(), self.ssl_context)
        self._client = httpx.Client(transport=transport, trust_env=False, follow_redirects=False)

    def __enter__(self) -> Self:
        """See the class."""
        return self

    def __exit__(self, *_: object) -> None:
        """See the class."""
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def manifest(self, url: str) -> Fetched:
        """Read a playlist; raises `RefusedError` or `OriginError`."""
        return self.get(url, self.policy.manifest_bytes_max)

    def segment(self, url: str, byterange: tuple[int, int] | None = None) -> Fetched:
        """Read a segment, or `byterange` (offset, length) of it; raises `RefusedError` or `OriginError`."""
        return self.get(url, self.policy.segment_bytes_max, byterange)

    def get(self, url: str, bytes_max: int, byterange: tuple[int, int] | None = None) -> Fetched:
        """Read a URL whole, through at most `redirects_max` redirects, each of which passes the gate again."""
        began_s = self.clock()
        for _ in range(self.policy.redirects_max + 1):
            self._check(url)
            try:
                return Fetched(url, self._read(url, bytes_max, byterange), self.clock() - began_s)
            except _RedirectedError as redirect:
                url = _joined(url, redirect.location)
            except _FAULTS as error:
                raise OriginError(f"reading {_shown(url)}: {type(error).__name__}: {error}") from error
        raise RefusedError(f"reading {_shown(url)}: more than {self.policy.redirects_max} redirects")

    def _check(self, url: str) -> None:
        """The gate's first half: scheme, no user, origin on the list."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise RefusedError(f"reading {_shown(url)}: {error}") from error
        host = (parts.hostname or "").lower()
        if parts.scheme not in _PORTS or not host or parts.username is not None:
            raise RefusedError(f"reading {_shown(url)}: only http and https URLs without a user are read")
        if not self._origins_at(host, port, parts.scheme):
            raise RefusedError(f"reading {_shown(url)}: its origin is not on the list of allowed origins")

    def _origins_at(self, host: str, port: int, scheme: str = "") -> list[Origin]:
        return [
            origin
            for origin in self.policy.origins
            if (origin.host, origin.port) == (host, port) and scheme in ("", origin.scheme)
        ]

    def _pin(self, host: str, port: int) -> str:
        """The gate's second half: the one address that connections to this host and port go to during this look."""
        known = self._pins.get((host, port))
        if known is not None:
            return known
        origins = self._origins_at(host.lower(), port)
        if not origins:
            raise RefusedError(f"connecting to {host}:{port}: it is not on the list of allowed origins")
        private = any(origin.private for origin in origins)
        try:
            found = [host] if _is_literal(host) else self.resolver(host, port)
        except OSError as error:
            raise OriginError(f"resolving {host}: {error}") from error
        if not found:
            raise OriginError(f"resolving {host}: no address")
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            if not _is_public(address) and (not private or address.is_link_local or address.is_unspecified):
                raise RefusedError(f"reading from {host}: {text} is not a public address; list the origin as private")
        self._pins[(host, port)] = found[0]
        return found[0]

    def _read(self, url: str, bytes_max: int, byterange: tuple[int, int] | None) -> bytes:
        """One request, read up to the caps."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "tocsin-probe"}
        if byterange is not None:
            headers["Range"] = f"bytes={byterange[0]}-{byterange[0] + byterange[1] - 1}"
        self.requests += 1
        if self.requests > self.policy.look_requests_max:
            raise RefusedError(f"reading {_shown(url)}: the look has made {self.policy.look_requests_max} requests")
        now_s = self.clock()
        if now_s >= self._deadline_s:
            raise RefusedError(f"reading {_shown(url)}: the look's {self.policy.look_s_max:g} s are used up")
        self._request_until_s = min(self._deadline_s, now_s + self.policy.request_s_max)
        response = self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        try:
            self._accept(url, response, wanted=206 if byterange is not None else 200)
            return self._drain(url, response, bytes_max)
        finally:
            response.close()

    def _accept(self, url: str, response: httpx.Response, wanted: int) -> None:
        if response.status_code in _REDIRECTS and "location" in response.headers:
            raise _RedirectedError(response.headers["location"])
        if response.status_code != wanted:
            raise OriginError(f"reading {_shown(url)}: HTTP {response.status_code}", response.status_code)
        coding = response.headers.get("content-encoding", "identity").lower()
        if coding not in ("", "identity"):
            raise RefusedError(f"reading {_shown(url)}: content coding {coding!r} was not asked for")

    def _drain(self, url: str, response: httpx.Response, bytes_max: int) -> bytes:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            self.bytes_read += len(chunk)
            if len(body) > bytes_max:
                raise RefusedError(f"reading {_shown(url)}: more than {bytes_max} bytes")
            if self.bytes_read > self.policy.look_bytes_max:
                raise RefusedError(f"reading {_shown(url)}: the look's {self.policy.look_bytes_max} bytes are used up")
        return bytes(body)


class _RedirectedError(Exception):
    """Control flow inside `FetchSession.get`: where to look next."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise RefusedError(f"reading {_shown(url)}: it redirects to what is no URL: {error}") from error


def _shown(url: str) -> str:
    """A URL for messages: without user, query and fragment, which may carry secrets."""
    bare = url[:2_000].partition("#")[0].partition("?")[0]
    scheme, mark, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"[:300]
