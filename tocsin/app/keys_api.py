"""Tokens over HTTP, for who administers them without a shell: make, list, revoke; and who wrote what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from tocsin.adapters.state.keys import KeyRows
from tocsin.app.tokens import DAYS_MAX, make_token, token_doc

DAYS = 365
AUDIT_MAX = 1_000


class TokenBody(BaseModel):
    """A token to be made: `tenant` are tags that all it sees must have."""

    model_config = ConfigDict(extra="forbid")

    name: str
    scopes: list[str] = Field(max_length=16)
    days: int = Field(DAYS, ge=1, le=DAYS_MAX)
    tenant: dict[str, str] = Field(default_factory=dict, max_length=16)


def keys_router(rows: KeyRows, now_ms: Callable[[], int]) -> APIRouter:
    """Routes `/v1/keys` and `/v1/audit`."""
    routes = APIRouter(prefix="/v1", tags=["keys"])

    @routes.post("/keys", status_code=201)
    def make(body: TokenBody) -> dict[str, Any]:
        """Make a token; it is shown now and never again."""
        token, row = make_token(body.name, body.scopes, body.days, now_ms(), body.tenant)
        rows.add_token(row)
        return {**token_doc(row, now_ms()), "token": token}

    @routes.get("/keys")
    def listed() -> dict[str, Any]:
        """All tokens, without their secrets."""
        return {"keys": [token_doc(row, now_ms()) for row in rows.tokens()]}

    @routes.delete("/keys/{key_id}", status_code=204)
    def revoke(key_id: str) -> Response:
        """End a token; it holds within a second."""
        if not rows.revoke_token(key_id, now_ms()):
            raise HTTPException(404, f"no token {key_id!r} that is not revoked")
        return Response(status_code=204)

    @routes.get("/audit")
    def audit(limit: Annotated[int, Query(ge=1, le=AUDIT_MAX)] = 100) -> dict[str, Any]:
        """The newest writes, newest first."""
        found = rows.audit(limit)
        return {"writes": [{"at_ms": r.at_ms, "who": r.who, "what": r.what, "status": r.status} for r in found]}

    return routes
