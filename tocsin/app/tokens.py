"""Bearer tokens: made, shown once, and found again by what is kept of them.

A token is `tocsin_<id>_<secret>`: the id finds the row, the SHA-256 of the whole is compared in constant time. Tokens
are read again at most once a second, so a revocation holds a second later in every process that shares the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tocsin.adapters.state.keys import KeyRows, TokenRow
from tocsin.app.scopes import SCOPES
from tocsin.model.errors import InputError
from tocsin.model.tags import TAG_KEYS

PREFIX = "tocsin"
DAY_MS = 86_400_000
DAYS_MAX = 3_650
NAME_LENGTH_MAX = 64
REFRESH_S = 1.0
SERVICE_SCOPES = frozenset({"alerts:read", "alerts:write"})
"""What one role may ask of another: hints, and attaching verdicts."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; `tenant` are tags that every heartbeat that they see must have; empty: all."""

    name: str
    scopes: frozenset[str]
    tenant: Mapping[str, str]


ANYBODY = Caller("api", frozenset(SCOPES), {})
"""The caller where no token exists: whoever reaches the loopback address."""
SERVICE = Caller("tocsin", SERVICE_SCOPES, {})
"""Another role, by the service's own token."""


def make_token(
    name: str, scopes: Sequence[str], days: int, now_ms: int, tenant: Mapping[str, str] | None = None
) -> tuple[str, TokenRow]:
    """A new token and its row. Raises `InputError` for a scope, a tag or a duration that cannot be."""
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise InputError(f"making a token named {name!r}: 1 to {NAME_LENGTH_MAX} printable characters, please")
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise InputError(f"making a token for scope {unknown[0]!r}: known are {', '.join(SCOPES)}")
    if not scopes:
        raise InputError(f"making a token without a scope: choose of {', '.join(SCOPES)}")
    if unknown := [key for key in tenant or {} if key not in TAG_KEYS]:
        raise InputError(f"binding a token to tag {unknown[0]!r}: known are {', '.join(TAG_KEYS)}")
    if not 0 < days <= DAYS_MAX:
        raise InputError(f"making a token for {days} days: 1 to {DAYS_MAX}, please")
    token_id = secrets.token_hex(4)
    token = f"{PREFIX}_{token_id}_{secrets.token_urlsafe(32)}"
    kept = tuple(scope for scope in SCOPES if scope in scopes)
    return token, TokenRow(token_id, name, digest(token), kept, dict(tenant or {}), now_ms, now_ms + days * DAY_MS)


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_doc(row: TokenRow, now_ms: int) -> dict[str, Any]:
    """What may be shown of a token."""
    state = "live" if row.is_live(now_ms) else "expired" if row.revoked_ms is None else "revoked"
    return {
        "id": row.id, "name": row.name, "scopes": list(row.scopes), "tenant": dict(row.tenant), "state": state,
        "created_ms": row.created_ms, "expires_ms": row.expires_ms, "revoked_ms": row.revoked_ms,
    }  # fmt: skip


class Tokens:
    """Who a token stands for. `service_token` is the roles' own, empty for none; thread-safe.

    `is_loopback`: only this machine can ask, so as long as no token was made, anybody may.
    """

    def __init__(
        self,
        rows: KeyRows,
        service_token: str,
        is_loopback: bool,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows, self._is_loopback = rows, is_loopback
        self._now_ms, self._monotonic_s = now_ms, monotonic_s
        self._service = digest(service_token) if service_token else ""
        self._known: dict[str, TokenRow] = {}
        self._read_s = float("-inf")
        self._lock = threading.Lock()

    def are_needed(self) -> bool:
        """Whether every caller needs one: beyond loopback, and from the first that was ever made."""
        return not self._is_loopback or bool(self._fresh())

    def caller(self, token: str) -> Caller | None:
        """The caller, or None for a token that is not known, not valid any more, or revoked."""
        given = digest(token)
        if self._service and hmac.compare_digest(given, self._service):
            return SERVICE
        _, _, rest = token.partition(f"{PREFIX}_")
        row = self._fresh().get(rest.partition("_")[0])
        if row is None or not hmac.compare_digest(given, row.sha256) or not row.is_live(self._now_ms()):
            return None
        return Caller(row.name, frozenset(row.scopes), row.tenant)

    def _fresh(self) -> dict[str, TokenRow]:
        with self._lock:
            if self._monotonic_s() - self._read_s >= REFRESH_S:
                self._known = {row.id: row for row in self._rows.tokens()}
                self._read_s = self._monotonic_s()
            return self._known
