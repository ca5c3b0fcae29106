"""`Client` and `AsyncClient`: the same methods, over one connection pool each."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from tocsin_client import methods
from tocsin_client.exchange import Ask, Exchange, TocsinError

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_S = 60.0


def _waiting(method: Callable[P, Exchange[T]]) -> Callable[Concatenate[Client, P], T]:
    def ask(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        exchange = method(*args, **kwargs)
        try:
            wanted = next(exchange)
            while True:
                wanted = exchange.send(client.answer(wanted))
        except StopIteration as end:
            result: T = end.value
            return result

    return _described(ask, method)


def _awaiting(method: Callable[P, Exchange[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    async def ask(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        exchange = method(*args, **kwargs)
        try:
            wanted = next(exchange)
            while True:
                wanted = exchange.send(await client.answer(wanted))
        except StopIteration as end:
            result: T = end.value
            return result

    return _described(ask, method)


def _described(ask: F, method: Callable[..., Any]) -> F:
    """`ask` with the name, text and parameters of a method, for help and completion."""
    ask.__name__ = ask.__qualname__ = method.__name__
    ask.__doc__ = method.__doc__
    found = inspect.signature(method)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    ask.__signature__ = found.replace(parameters=[itself, *found.parameters.values()])  # type: ignore[attr-defined]
    return ask


class _Sender:
    """Where requests go and what they carry."""

    def __init__(self, url: str, token: str, publish_key: str) -> None:
        self._url = url.rstrip("/")
        self._token, self._publish_key = token, publish_key

    def _sent(self, ask: Ask) -> dict[str, Any]:
        secret = (self._publish_key or self._token) if ask.is_write else self._token
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        return {
            "method": ask.method, "url": self._url + ask.path, "params": dict(ask.params), "json": ask.json,
            "headers": headers,
        }  # fmt: skip

    def _away(self, error: Exception) -> TocsinError:
        return TocsinError(0, f"asking {self._url}: {error or type(error).__name__}; is Tocsin running there?")


class Client(_Sender):
    """Asks the Tocsin at `url` and waits. `token` reads; `publish_key`, where it is another, writes points."""

    def __init__(self, url: str, token: str = "", *, publish_key: str = "", timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(url, token, publish_key)
        self._http = httpx.Client(timeout=timeout_s)

    graph = _waiting(methods.graph)
    metric = _waiting(methods.metric)
    sql = _waiting(methods.sql)
    tags = _waiting(methods.tags)
    incidents = _waiting(methods.incidents)
    dictionary = _waiting(methods.dictionary)
    publish = _waiting(methods.publish)

    def answer(self, ask: Ask) -> httpx.Response:
        """The response to one request, whatever its status."""
        try:
            return self._http.request(**self._sent(ask))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._away(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient(_Sender):
    """The same, to await."""

    def __init__(self, url: str, token: str = "", *, publish_key: str = "", timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(url, token, publish_key)
        self._http = httpx.AsyncClient(timeout=timeout_s)

    graph = _awaiting(methods.graph)
    metric = _awaiting(methods.metric)
    sql = _awaiting(methods.sql)
    tags = _awaiting(methods.tags)
    incidents = _awaiting(methods.incidents)
    dictionary = _awaiting(methods.dictionary)
    publish = _awaiting(methods.publish)

    async def answer(self, ask: Ask) -> httpx.Response:
        """The response to one request, whatever its status."""
        try:
            return await self._http.request(**self._sent(ask))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._away(error) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()
