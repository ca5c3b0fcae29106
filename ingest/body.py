"""Reading a request's body: bounded on the wire, bounded inflated, bounded in time, and no bomb is unpacked."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ingest.settings import KIB, Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]

RATIO_MAX = 200
"""Inflated over compressed bytes; heartbeats compress some 20 times, deflate's own limit is 1032."""
_CHUNK = 256 * KIB
_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


class HttpError(Exception):
    """An answer that ends the request: status, ledger reason, text for people, and further headers."""

    def __init__(self, status: int, code: str, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.headers = headers


class ClientGoneError(Exception):
    """The client closed the connection before its body was complete; there is nobody to answer."""


async def read_body(receive: Receive, wire_bytes_max: int, timeout_s: float, declared: bytes) -> bytes:
    """The body as sent. Raises `HttpError` 413 or 408, or `ClientGoneError`.

    The first part is taken without a timer: the server's own deadline covers it, and most bodies are whole by then.
    """
    if declared.isdigit() and int(declared) > wire_bytes_max:
        raise _too_large(int(declared), wire_bytes_max)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > wire_bytes_max:
            raise _too_large(len(body), wire_bytes_max)
        return body
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_rest(receive, body, wire_bytes_max)
    except TimeoutError:
        raise HttpError(408, "slow", f"the body did not arrive within {timeout_s:g} s") from None


async def _read_rest(receive: Receive, body: bytes, wire_bytes_max: int) -> bytes:
    parts = [body]
    size = len(body)
    more = True
    while more:
        if size > wire_bytes_max:
            raise _too_large(size, wire_bytes_max)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    if size > wire_bytes_max:
        raise _too_large(size, wire_bytes_max)
    return b"".join(parts)


def inflate(body: bytes, encoding: bytes, limits: Limits) -> bytes:
    """The body without its content encoding. Raises `HttpError` 415, 413 (too large or a bomb) or 400 (broken)."""
    encoding = encoding.strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in _WINDOW_BITS:
        text = f"content-encoding {encoding[:40]!r} is not known; send gzip, deflate or none"
        raise HttpError(415, "encoding", text, ((b"accept-encoding", b"gzip, deflate"),))
    bits = _WINDOW_BITS[encoding]
    if encoding == b"deflate" and body[:1] and body[0] & 15 != 8:
        bits = -15  # raw deflate, which some clients send under this name
    inflater = zlib.decompressobj(bits)
    parts: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest and not inflater.eof:
            part = inflater.decompress(rest, _CHUNK)
            rest = inflater.unconsumed_tail
            size += len(part)
            if size > limits.inflated_bytes:
                text = f"the body inflates to more than {limits.inflated_bytes} bytes"
                raise HttpError(413, "size", text)
            if size > _CHUNK and size > RATIO_MAX * (len(body) - len(rest)):
                raise HttpError(413, "size", f"the body inflates more than {RATIO_MAX} times: it is no heartbeat")
            parts.append(part)
            if not part and not rest:
                break
    except zlib.error as error:
        raise HttpError(400, "encoding", f"the body is not valid {encoding.decode()}: {error}") from error
    if not inflater.eof:
        raise HttpError(400, "encoding", f"the {encoding.decode()} body is cut off")
    return b"".join(parts)


def _too_large(size: int, most: int) -> HttpError:
    return HttpError(413, "size", f"the body has {size} bytes or more, {most} is the most; send less at a time")
