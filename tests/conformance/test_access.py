"""Every route of every role is held against the table of scopes, for callers with each scope, without, and of a tenant.

The applications are the roles' own over an embedded store. 401 and 403 are the guard's answers alone: any other is the
route's own, so the caller got in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from ingest import app as ingest_app
from tocsin.adapters.log.local import LocalLog
from tocsin.adapters.state.keys import AuditRow
from tocsin.app.config import Config
from tocsin.app.core import PARTS, Core, Part
from tocsin.app.gateway import settings_of
from tocsin.app.scopes import NEEDS, SCOPES, Need
from tocsin.app.tokens import make_token

ROLES: dict[str, Sequence[Part]] = {"up": PARTS, "query": ("query",), "alerting": ("alerting",), "probe": ("probe",)}
OF_THE_GATEWAY = {"/v1/heartbeats", "/v1/cmcd", "/api/v1/publish"}
"""Routes that take write keys."""
SERVICE_TOKEN = "s" * 32
BOUND = "bound to a tenant"
REFUSED = (401, 403)
NOBODY = "http://127.0.0.1:1"
Callers = dict[str, dict[str, str]]


class Role:
    """A role's application, its routes, and a header for each kind of caller."""

    def __init__(self, parts: Sequence[Part], folder: Path) -> None:
        self.parts = parts
        alerting_url = "" if "alerting" in parts else NOBODY
        self.config = Config(
            data=folder, alerting_url=alerting_url, service_token=SERVICE_TOKEN, write_keys=["player-key"]
        )
        self.core = Core(self.config, parts)
        self.client = TestClient(self.core.app(), raise_server_exceptions=False)
        self.callers: Callers = {scope: self.header(scope) for scope in SCOPES}
        self.callers[BOUND] = self.header(*SCOPES, tenant={"cdn": "b"})

    def header(self, *scopes: str, tenant: dict[str, str] | None = None) -> dict[str, str]:
        """The header of a new token's caller."""
        token, row = make_token("-".join(scopes)[:60], scopes, 1, self.core.access.now_ms(), tenant)
        self.core.access.rows.add_token(row)
        return {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> Any:
        """The answer to an empty request."""
        return self.client.request(method, re.sub(r"\{\w+(:path)?\}", "x1", path), headers=headers)

    def served(self) -> list[tuple[str, str]]:
        """(method, path) of all routes."""
        routes = [route for route in self.core.access.routes if isinstance(route, Route)]
        return [(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}]


@pytest.fixture(scope="module", params=ROLES)
def role(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Role]:
    """Each role, one after another: one process at a time can open the embedded store."""
    made = Role(ROLES[request.param], tmp_path_factory.mktemp(request.param))
    yield made
    made.core.close()


def test_every_route_has_an_entry(role: Role) -> None:
    """A route that nobody thought about is found here; and an entry whose route is gone, where all parts run."""
    assert all(isinstance(route, Route) for route in role.core.access.routes)
    assert set(role.served()) - set(NEEDS) == set()
    if role.parts == PARTS:
        assert set(NEEDS) - set(role.served()) == set()


def test_without_a_token_only_open_routes_answer(role: Role) -> None:
    """Nobody, a token that does not exist, a write key, and another scheme are answered 401, and told how to ask."""
    strangers: list[dict[str, str]] = [
        {}, {"Authorization": "Bearer tocsin_00000000_nothing"}, {"Authorization": "Bearer player-key"},
        {"X-Tocsin-Key": "player-key"}, {"Authorization": "Basic cGxheWVyLWtleTo="}, {"Authorization": "Bearer "},
    ]  # fmt: skip
    for method, path in role.served():
        for headers in strangers:
            answer = role.ask(method, path, headers)
            if NEEDS[method, path].scope is None:
                assert answer.status_code not in REFUSED, (method, path)
            else:
                assert answer.status_code == 401, (method, path, headers)
                assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", SCOPES)
def test_each_scope_opens_its_own_routes_alone(role: Role, scope: str) -> None:
    """Of two callers only the one with the route's scope gets in; the other is told which is missing."""
    for method, path in role.served():
        need = NEEDS[method, path]
        if need.scope is None:
            continue
        answer = role.ask(method, path, role.callers[scope])
        if need.scope == scope:
            assert answer.status_code not in REFUSED, (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert need.scope in answer.json()["message"]
            assert f'scope="{need.scope}"' in answer.headers["www-authenticate"]


def test_a_tenants_token_is_refused_where_nothing_can_be_restricted(role: Role) -> None:
    """It may have every scope: SQL, explanations, incidents and the like stay closed, and the answer says why."""
    for method, path in role.served():
        need = NEEDS[method, path]
        if need.scope is None:
            continue
        answer = role.ask(method, path, role.callers[BOUND])
        if need.for_tenants:
            assert answer.status_code not in REFUSED, (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert "bound to cdn=b" in answer.json()["message"]


def test_roles_know_one_another_by_the_service_token(role: Role) -> None:
    """It opens what roles ask of each other, and nothing else."""
    headers = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
    for method, path in role.served():
        need = NEEDS[method, path]
        if need.scope is not None:
            got_in = role.ask(method, path, headers).status_code not in REFUSED
            assert got_in == (need.scope in ("alerts:read", "alerts:write")), (method, path)


def test_routes_of_another_role_are_passed_on(role: Role) -> None:
    """The other role asks for the token: here is none to answer."""
    if role.config.alerting_url:
        assert role.ask("GET", "/v1/incidents").status_code == 502


def test_there_is_no_cors(role: Role) -> None:
    """A page of another origin is not told that it may read, before or after."""
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    for answer in (role.ask("OPTIONS", "/v1/status", headers), role.ask("GET", "/v1/status", headers)):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_writes_are_noted_and_reads_are_not(role: Role) -> None:
    """Who asked for what, when, and how it was answered, also where it was refused."""
    before = len(role.core.access.rows.audit(10_000))
    role.ask("DELETE", "/v1/keys/x1", role.callers["keys:admin"])
    role.ask("DELETE", "/v1/keys/x1", role.callers["query:read"])
    role.ask("DELETE", "/v1/keys/x1")
    role.ask("GET", "/v1/status", role.callers["query:read"])
    found = role.core.access.rows.audit(10_000)
    assert len(found) - before == 2
    assert [(row.who, row.what, row.status) for row in found[:2]] == [
        ("query:read", "DELETE /v1/keys/x1", 403), ("keys:admin", "DELETE /v1/keys/x1", 404),
    ]  # fmt: skip
    assert all(isinstance(row, AuditRow) and row.at_ms > 0 for row in found)


def test_the_gateway_has_routes_for_write_keys_only(tmp_path: Path) -> None:
    """What the gateway answers itself takes no token, and shows nobody's data; the rest is behind it."""
    log = LocalLog(tmp_path / "log.db", lambda: 0, 1)
    gateway = ingest_app.build(log, lambda: 0, settings_of(Config(data=tmp_path, write_keys=["player-key"])))
    served = set(TestClient(gateway).get("/openapi.json").json()["paths"])
    log.close()
    opened = {path for (_, path), need in NEEDS.items() if need == Need(None)}
    assert served - OF_THE_GATEWAY <= opened
