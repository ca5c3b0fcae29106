"""Tokens and the audit of writes, as rows of one SQLite database that several processes may share.

A token's secret is not here, only its SHA-256: 256 random bits need no slower hash. A revoked or expired token stays as
a row, so that the audit still says whose it was, and so that revoking the last one does not open the door.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from tocsin.adapters.state.sqlite import SqliteRows
from tocsin.adapters.state.tables import AUDIT, TOKENS

AUDIT_ROWS_MAX = 100_000
"""Newest writes that are kept."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token: `tenant` are tags that every heartbeat it sees must have; empty: all. Times are epoch ms."""

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    tenant: Mapping[str, str]
    created_ms: int
    expires_ms: int
    revoked_ms: int | None = None

    def is_live(self, now_ms: int) -> bool:
        """Whether it may still be used."""
        return self.revoked_ms is None and now_ms < self.expires_ms


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One write: who asked for what, when, and the HTTP status that it was answered with."""

    at_ms: int
    who: str
    what: str
    status: int


class KeyRows(SqliteRows):
    """The rows in the file at `path`; raises `UnavailableError` where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "the keys in", [TOKENS, AUDIT])

    def add_token(self, row: TokenRow) -> None:
        """Add a token."""
        with self._transaction() as db:
            db.execute(insert(TOKENS).values(
                id=row.id, name=row.name, sha256=row.sha256, scopes=" ".join(row.scopes),
                tenant=json.dumps(dict(row.tenant)), created_ms=row.created_ms, expires_ms=row.expires_ms,
                revoked_ms=row.revoked_ms,
            ))  # fmt: skip

    def revoke_token(self, token_id: str, now_ms: int) -> bool:
        """End a token now; False where there is none that was not revoked before."""
        live = (TOKENS.c.id == token_id) & TOKENS.c.revoked_ms.is_(None)
        with self._transaction() as db:
            return bool(db.execute(update(TOKENS).where(live).values(revoked_ms=now_ms)).rowcount)

    def tokens(self) -> list[TokenRow]:
        """All tokens, the oldest first."""
        with self._transaction() as db:
            return [_token(row) for row in db.execute(select(TOKENS).order_by(TOKENS.c.created_ms, TOKENS.c.id))]

    def add_audit(self, row: AuditRow) -> None:
        """Note a write; the oldest beyond `AUDIT_ROWS_MAX` are dropped."""
        with self._transaction() as db:
            db.execute(insert(AUDIT).values(at_ms=row.at_ms, who=row.who, what=row.what, status=row.status))
            newest = db.execute(select(func.max(AUDIT.c.number))).scalar_one()
            db.execute(delete(AUDIT).where(AUDIT.c.number <= newest - AUDIT_ROWS_MAX))

    def audit(self, limit: int) -> list[AuditRow]:
        """The newest writes, newest first."""
        query = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(limit)
        with self._transaction() as db:
            return [AuditRow(row.at_ms, row.who, row.what, row.status) for row in db.execute(query)]


def _token(row: Row[Any]) -> TokenRow:
    return TokenRow(
        row.id, row.name, row.sha256, tuple(row.scopes.split()), json.loads(row.tenant), row.created_ms,
        row.expires_ms, row.revoked_ms,
    )  # fmt: skip
