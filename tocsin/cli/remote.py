"""Asking a running Tocsin over HTTP: one way to say that it is away, and whose fault a refusal is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tocsin.model.errors import InputError, TocsinError, UnavailableError

TIMEOUT_S = 60.0
TEXT_MAX = 300
TOKEN_VARIABLE = "TOCSIN_TOKEN"  # noqa: S105  the name of the variable
"""Environment variable with the bearer token of whoever runs a command."""

Params = Mapping[str, str] | Sequence[tuple[str, str]]


def authorization() -> dict[str, str]:
    """The header with the caller's token; none where no token is given."""
    token = os.environ.get(TOKEN_VARIABLE)
    return {"Authorization": f"Bearer {token}"} if token else {}


def get(server: str, path: str, params: Params | None = None) -> httpx.Response:
    """The answer of `GET server/path`, 2xx.

    Raises `InputError` for a 4xx answer (with what the server says is wrong) and for a base URL that is none;
    `UnavailableError` where nobody answers, or the answer is 5xx.
    """
    return _ask("GET", server, path, params=params or {})


def post(server: str, path: str, body: dict[str, Any]) -> httpx.Response:
    """The answer of `POST server/path` with a JSON body, 2xx; raises as `get`."""
    return _ask("POST", server, path, json=body)


def _ask(method: str, server: str, path: str, **sent: Any) -> httpx.Response:
    url = server.rstrip("/") + path
    try:
        answer = httpx.request(method, url, timeout=TIMEOUT_S, headers=authorization(), **sent)
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise InputError(f"asking {url}: {error}; give --server as http://HOST:PORT") from error
    except httpx.HTTPError as error:
        raise UnavailableError(f"asking {url}: {error or type(error).__name__}; is `tocsin up` running?") from error
    if answer.is_success:
        return answer
    raise _refused(url, answer)


def get_json(server: str, path: str, params: Params | None = None) -> Any:
    """The decoded body; raises as `get`, and `UnavailableError` where it is no JSON."""
    answer = get(server, path, params)
    try:
        return answer.json()
    except ValueError as error:
        raise UnavailableError(f"asking {answer.url}: the answer is no JSON; is that a Tocsin?") from error


def _refused(url: str, answer: httpx.Response) -> TocsinError:
    kind = InputError if answer.is_client_error else UnavailableError
    return kind(f"asking {url}: HTTP {answer.status_code}: {_said(answer)}")


def _said(answer: httpx.Response) -> str:
    """What an error's body says, in any of the forms that Tocsin's parts write."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text[:TEXT_MAX]
    if isinstance(body, dict):
        for key in ("message", "error", "detail"):
            if body.get(key):
                said = body[key]
                return str(said.get("reason", said) if isinstance(said, dict) else said)[:TEXT_MAX]
    return answer.text[:TEXT_MAX]
