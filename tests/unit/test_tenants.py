"""A token that is bound to a tenant sees its own share, whatever it asks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.api import router
from query.deps import QueryDeps
from tocsin.app.access import Access
from tocsin.app.config import Config
from tocsin.app.tenants import TenantSource
from tocsin.app.tokens import make_token
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.times import MINUTE

END = 1_795_176_000_000
RANGE = {"s": "e-5m", "e": str(END), "format": "json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The query stage over two CDNs; `tenant` and `all` are tokens."""
    source = MemorySource()
    for back in range(10):
        for cdn, value in (("a", 10.0), ("b", 3.0)):
            source.put({"name": "sps", "cdn": cdn, f"only_{cdn}": "x"}, END - back * MINUTE, value)
        source.put({"name": "queue.depth"}, END - back * MINUTE, 7.0)
    access = Access(Config(data=tmp_path_factory.mktemp("tenants")))
    app = FastAPI()
    seen = TenantSource(source)
    routes = router(QueryDeps(seen, seen, lambda: END))
    app.include_router(routes)
    access.guard(app, routes.routes)
    made = TestClient(app)
    for name, tenant in (("tenant", {"cdn": "b"}), ("all", {})):
        token, row = make_token(name, ["query:read"], 1, access.now_ms(), tenant)
        access.rows.add_token(row)
        made.headers[name] = f"Bearer {token}"
    yield made
    access.close()


def ask(client: TestClient, who: str, path: str, **params: str) -> str:
    """The body of an answer."""
    answer = client.get(path, params=params, headers={"Authorization": client.headers[who]})
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def last(client: TestClient, who: str, q: str) -> list[float]:
    """The last values of an expression's lines."""
    return [float(v) for v in json.loads(ask(client, who, "/api/v1/graph", q=q, **RANGE))["values"][-1]]


@pytest.mark.parametrize(
    ("q", "own", "everything"),
    [
        ("name,sps,:eq,:sum", [3.0], [13.0]),
        ("name,sps,:eq,(,cdn,),:by", [3.0], [10.0, 3.0]),
        (":true,:all", [3.0], [7.0, 10.0, 3.0]),
        ("name,sps,:eq,cdn,a,:eq,:or,:sum", [3.0], [13.0]),
        ("name,sps,:eq,cdn,b,:eq,:not,:and,:sum", [float("nan")], [10.0]),
        ("name,sps,:eq,:sum,:dup,1m,:offset,:add", [6.0], [26.0]),
    ],
)
def test_every_expression_is_restricted(client: TestClient, q: str, own: list[float], everything: list[float]) -> None:
    """Sums, groups, negations, alternatives and offsets: none reaches around the conditions of the tenant."""
    assert last(client, "tenant", q) == pytest.approx(own, nan_ok=True)
    assert sorted(last(client, "all", q)) == pytest.approx(sorted(everything))


def test_streams_are_restricted(client: TestClient) -> None:
    """Chunks are made after the answer has begun, and are restricted all the same."""
    body = ask(client, "tenant", "/api/v2/fetch", q="name,sps,:eq,:sum", s="e-5m", e=str(END))
    values = [v for line in body.splitlines() if '"timeseries"' in line for v in json.loads(line[6:])["data"]["values"]]
    assert set(values) == {3.0}


def test_tags_are_restricted(client: TestClient) -> None:
    """Keys and values of other tenants are not even named."""
    assert json.loads(ask(client, "tenant", "/api/v1/tags")) == ["cdn", "name", "only_b"]
    assert json.loads(ask(client, "tenant", "/api/v1/tags/cdn")) == ["b"]
    assert json.loads(ask(client, "tenant", "/api/v1/tags/name", q="cdn,a,:eq")) == []
    assert "only_a" not in ask(client, "tenant", "/api/v1/tags", verbose="1")
    assert json.loads(ask(client, "all", "/api/v1/tags/cdn")) == ["a", "b"]


def test_a_tenant_is_not_left_behind(client: TestClient) -> None:
    """The next caller is not restricted by the one before."""
    assert last(client, "tenant", "name,sps,:eq,:sum") == [3.0]
    assert last(client, "all", "name,sps,:eq,:sum") == [13.0]
