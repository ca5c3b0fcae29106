"""Who may call what: every request is held against the table of scopes before its route sees it.

On loopback, where no token was ever made, the API is open. From the first token on every caller needs one, and beyond
loopback always: a role does not start there before one exists. There is no CORS: another origin's page reads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route

from tocsin.adapters.state.keys import AuditRow, KeyRows
from tocsin.app.clock import RealClock
from tocsin.app.config import Config
from tocsin.app.scopes import NEEDS, UNLISTED, Need
from tocsin.app.tenants import TENANT
from tocsin.app.tokens import ANYBODY, Caller, Tokens
from tocsin.model.errors import ConfigError, UnavailableError

ERROR_STATUS = 500
SERVICE_TOKEN_LENGTH_MIN = 32
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
_log = structlog.get_logger("tocsin.audit")


class Access:
    """Tokens and audit of a configuration; refuses one that would let a network in (`ConfigError`)."""

    def __init__(self, config: Config) -> None:
        now_ms = RealClock().now_ms  # a demonstration's clock is not for what tokens are worth
        self.rows = KeyRows(config.keys_path)
        self.now_ms = now_ms
        try:
            check_exposed(config, self.rows, now_ms())
        except ConfigError:
            self.close()
            raise
        self.tokens = Tokens(self.rows, config.service_token, config.is_loopback, now_ms)
        self.routes: tuple[BaseRoute, ...] = ()

    def guard(self, app: FastAPI, routes: Sequence[BaseRoute]) -> None:
        """Hold every request of an application, with these routes, against the table."""
        self.routes = tuple(routes)
        app.add_middleware(Guard, routes=self.routes, tokens=self.tokens, rows=self.rows, now_ms=self.now_ms)

    def close(self) -> None:
        """Release the database."""
        self.rows.close()


def check_exposed(config: Config, rows: KeyRows, now_ms: int) -> None:
    """Raise `ConfigError` where the API would be open to a network: beyond loopback a token must exist."""
    if 0 < len(config.service_token) < SERVICE_TOKEN_LENGTH_MIN:
        raise ConfigError(
            f"reading service_token: {len(config.service_token)} characters can be guessed; take at least "
            f"{SERVICE_TOKEN_LENGTH_MIN} random ones, as `openssl rand -hex 32` gives"
        )
    if config.is_loopback or config.service_token or any(row.is_live(now_ms) for row in rows.tokens()):
        return
    raise ConfigError(
        f"binding to {config.host}: no token exists, so anybody could read and change everything; make one with "
        "`tocsin keys create NAME --scope query:read`, or bind to 127.0.0.1 (key host)"
    )


def caller_name(request: Request) -> str:
    """Who calls, for timelines: the token's name."""
    return str(request.state.caller.name)


class Guard:
    """ASGI middleware around an application whose `routes` are in `NEEDS`. `now_ms` stamps the audit."""

    def __init__(
        self, app: Asgi, routes: Sequence[BaseRoute], tokens: Tokens, rows: KeyRows, now_ms: Callable[[], int]
    ) -> None:
        self._app, self._routes = app, routes
        self._tokens, self._rows, self._now_ms = tokens, rows, now_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that may be served; answer 401 or 403 to others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        need = need_of(self._routes, scope)
        if need is None or need.scope is None:
            await self._app(scope, receive, send)
            return
        try:
            caller = await run_in_threadpool(self._caller, dict(scope["headers"]).get(b"authorization", b""))
        except UnavailableError as error:
            await _refuse(send, 503, str(error), {"retry-after": "5"})
            return
        if caller is None:
            said = "send `Authorization: Bearer TOKEN`, with a token that is neither expired nor revoked"
            await _refuse(send, 401, said, {"www-authenticate": "Bearer"})
        elif (refusal := _refusal(caller, need)) is not None:
            challenge = f'Bearer error="insufficient_scope", scope="{need.scope}"'
            await self._audited(scope, need, caller, 403)
            await _refuse(send, 403, refusal, {"www-authenticate": challenge})
        else:
            await self._serve(scope, receive, send, need, caller)

    def _caller(self, header: bytes) -> Caller | None:
        scheme, token = get_authorization_scheme_param(header.decode("latin-1"))
        if scheme.lower() == "bearer" and token:
            found = self._tokens.caller(token)
            if found is not None:
                return found
        return None if self._tokens.are_needed() else ANYBODY

    async def _serve(self, scope: Scope, receive: Receive, send: Send, need: Need, caller: Caller) -> None:
        status = ERROR_STATUS

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope.setdefault("state", {})["caller"] = caller
        tenant = TENANT.set(caller.tenant)
        try:
            await self._app(scope, receive, watched)
        finally:
            TENANT.reset(tenant)
            await self._audited(scope, need, caller, status)

    async def _audited(self, scope: Scope, need: Need, caller: Caller, status: int) -> None:
        """Note a write: the log line is there even where the row cannot be stored."""
        if not need.writes:
            return
        row = AuditRow(self._now_ms(), caller.name, f"{scope['method']} {scope['path']}", status)
        _log.info("write", who=row.who, what=row.what, status=row.status)
        try:
            await run_in_threadpool(self._rows.add_audit, row)
        except UnavailableError as error:
            _log.error("write not stored", who=row.who, what=row.what, error=str(error))


def need_of(routes: Sequence[BaseRoute], scope: Scope) -> Need | None:
    """What the first route that fits a request needs; None where none does, or where another role answers, which asks
    for itself."""
    for route in routes:
        match, _ = route.matches(scope)
        if match == Match.FULL:
            return NEEDS.get((_method(scope), route.path), UNLISTED) if isinstance(route, Route) else None
    return None


def _method(scope: Scope) -> str:
    return "GET" if scope["method"] == "HEAD" else str(scope["method"])


def _refusal(caller: Caller, need: Need) -> str | None:
    if need.scope not in caller.scopes:
        return f"token '{caller.name}' lacks scope {need.scope}"
    if caller.tenant and not need.for_tenants:
        bound = ", ".join(f"{key}={value}" for key, value in caller.tenant.items())
        return f"token '{caller.name}' is bound to {bound}, and this route cannot be restricted to that"
    return None


async def _refuse(send: Send, status: int, message: str, headers: dict[str, str]) -> None:
    body = json.dumps({"type": "error", "message": message}).encode()
    all_headers = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in all_headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
