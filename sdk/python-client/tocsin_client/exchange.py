"""Questions and answers without a connection: a method is a generator that yields requests and is sent responses.

So each method is written once, and the two clients only carry requests: one waits, the other awaits.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

T = TypeVar("T")


class TocsinError(Exception):
    """The server refused, or is away. `status` is the HTTP status (0: nobody answered), `message` what it said."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}" if status else message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `is_write` sends the publishing key instead of the token."""

    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    json: Any = None
    is_write: bool = False


Exchange = Generator[Ask, httpx.Response, T]


def checked(response: httpx.Response) -> httpx.Response:
    """The response where it is a success; else raises `TocsinError` with what its body says."""
    if response.is_success:
        return response
    raise TocsinError(response.status_code, _said(response))


def _said(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.text[:300] or response.reason_phrase
    found = body.get("message") or body.get("error") or body.get("detail") if isinstance(body, dict) else body
    return "; ".join(map(str, found)) if isinstance(found, list) else str(found)
