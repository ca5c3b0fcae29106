"""The connections under the fetcher: to the checked address only, and never for longer than the deadline.

httpx's time-outs run anew with each read, so a server that drips a byte a second keeps a reader for ever, headers
included. Here each read and write gets what is left until the deadline. The pool asks this backend for every connection
and the backend asks the gate for the address: there is no way around it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore
import httpx

Remaining = Callable[[], float]
"""Seconds left until the deadline; at or below 0 it has passed."""
Gate = Callable[[str, int], str]
"""(host, port) → the address to connect to; raises if there is none that may be used."""


def _within(remaining: Remaining, error: type[Exception]) -> float:
    left_s = remaining()
    if left_s <= 0:
        raise error("the deadline has passed")
    return left_s


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end at the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, remaining: Remaining) -> None:
        self._inner = inner
        self._remaining = remaining

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there; `timeout` gives way to the deadline."""
        del timeout
        return self._inner.read(max_bytes, _within(self._remaining, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all; `timeout` gives way to the deadline."""
        del timeout
        self._inner.write(buffer, _within(self._remaining, httpcore.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Shake hands; the certificate is checked against the host's name, not its address."""
        del timeout
        left_s = _within(self._remaining, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._remaining)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about the socket."""
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens TCP connections to the address that the gate gives."""

    def __init__(self, gate: Gate, remaining: Remaining) -> None:
        self._gate = gate
        self._remaining = remaining
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the pinned address of `host`."""
        del timeout
        address = self._gate(host, port)
        left_s = _within(self._remaining, httpcore.ConnectTimeout)
        opened = self._inner.connect_tcp(address, port, left_s, local_address, socket_options)
        return _Stream(opened, self._remaining)


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class PinnedTransport(httpx.BaseTransport):
    """httpx transport over `_Backend`: no proxies, no HTTP/2, two connections an origin at most."""

    def __init__(self, gate: Gate, remaining: Remaining, ssl_context: ssl.SSLContext) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context,
            max_connections=8,
            max_keepalive_connections=4,
            network_backend=_Backend(gate, remaining),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raises httpcore's errors."""
        target = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        sent = httpcore.Request(request.method, target, headers=request.headers.raw)
        response = self._pool.handle_request(sent)
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
