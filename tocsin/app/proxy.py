"""A reverse proxy as an ASGI application: what the gateway does not answer goes to the core process.

Answers are streamed as they come, so server-sent events pass through; a request's body is streamed too. The client's
address is added to X-Forwarded-For, hop-by-hop headers are dropped (RFC 9110, 7.6.1), and where the core is away the
answer is 502 or 504 with the reason.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 300.0
GET_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 512
_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"proxy-connection",
    }
)  # fmt: skip
_log = logging.getLogger("tocsin.proxy")


class ReverseProxy:
    """Forwards every HTTP request to `target`: "unix:/path/to.sock", or "http://127.0.0.1:port"."""

    def __init__(self, target: str, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        uds = target.removeprefix("unix:") if target.startswith("unix:") else None
        self._base = "http://core" if uds else target.rstrip("/")
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=uds, limits=httpx.Limits(max_connections=CONNECTIONS_MAX)),
            timeout=httpx.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close the connections to the core."""
        await self._client.aclose()

    async def get(self, path: str) -> bytes:
        """The core's answer to a GET of this process's own; empty where it does not answer with success."""
        try:
            answer = await self._client.get(self._base + path, timeout=GET_TIMEOUT_S)
        except httpx.HTTPError as error:
            _log.warning("asking the core for %s: %r", path, error)
            return b""
        return answer.content if answer.is_success else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; WebSockets are refused by closing."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._forward(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1011})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                await self.aclose()
                return

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        inbox = _Inbox(receive)
        loop = asyncio.get_running_loop()
        listening = loop.create_task(inbox.listen())
        relaying = loop.create_task(self._relay(scope, inbox, send))
        try:
            # Listening ends only where the client leaves: then nobody waits for the core's answer.
            await asyncio.wait({relaying, listening}, return_when=asyncio.FIRST_COMPLETED)
            if relaying.done():
                relaying.result()
        finally:
            relaying.cancel()
            listening.cancel()
            await asyncio.wait({relaying, listening})

    async def _relay(self, scope: Scope, inbox: _Inbox, send: Send) -> None:
        started = False
        try:
            answer = await self._client.send(self._request(scope, inbox), stream=True)
            try:
                headers = _end_to_end(answer.headers.raw)
                await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
                started = True
                async for chunk in answer.aiter_raw():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            if started:
                # The status is out: only a cut connection tells the client that the body is not whole.
                raise
            _log.warning("forwarding %s %s: %r", scope["method"], scope["path"], error)
            await _refuse(send, 504 if isinstance(error, httpx.TimeoutException) else 502)

    def _request(self, scope: Scope, inbox: _Inbox) -> httpx.Request:
        raw_path = scope.get("raw_path") or scope["path"].encode()
        query = scope["query_string"]
        url = httpx.URL(self._base).copy_with(raw_path=raw_path + (b"?" + query if query else b""))
        headers = [pair for pair in _end_to_end(scope["headers"]) if pair[0] != b"x-forwarded-for"]
        given = dict(scope["headers"])
        client = scope["client"][0].encode() if scope.get("client") else b"unix"
        before = given.get(b"x-forwarded-for")
        headers.append((b"x-forwarded-for", before + b", " + client if before else client))
        headers.append((b"x-forwarded-proto", scope.get("scheme", "http").encode()))
        has_body = b"transfer-encoding" in given or given.get(b"content-length", b"0") != b"0"
        if not has_body:
            return self._client.build_request(scope["method"], url, headers=headers)
        return self._client.build_request(scope["method"], url, headers=headers, content=inbox.body())


class _Inbox:
    """What the client sends: its body for the core, at most a few parts ahead, and the news that it has left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._body: asyncio.Queue[bytes | None] = asyncio.Queue(4)

    async def listen(self) -> None:
        """Take in the body; return when the client has left."""
        more = True
        while (message := await self._receive())["type"] != "http.disconnect":
            if not more:
                continue
            if message.get("body"):
                await self._body.put(message["body"])
            more = message.get("more_body", False)
            if not more:
                await self._body.put(None)

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body as it comes."""
        while (chunk := await self._body.get()) is not None:
            yield chunk


def _end_to_end(headers: Any) -> list[tuple[bytes, bytes]]:
    named = {
        token.strip().lower() for name, value in headers if name.lower() == b"connection" for token in value.split(b",")
    }
    return [(n.lower(), v) for n, v in headers if n.lower() not in _HOP_BY_HOP and n.lower() not in named]


async def _refuse(send: Send, status: int) -> None:
    body = json.dumps({"error": {"reason": "the core process does not answer; try again"}}).encode()
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"retry-after", b"2")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
