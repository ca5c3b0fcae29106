"""Tokens: made and shown once, kept as hashes, ended by time or by hand; and no open door to a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cli_support
from tocsin.adapters.state.keys import AUDIT_ROWS_MAX, AuditRow, KeyRows
from tocsin.app.access import Access
from tocsin.app.config import Config
from tocsin.app.scopes import SCOPES
from tocsin.app.tokens import DAY_MS, REFRESH_S, SERVICE, Caller, Tokens, make_token
from tocsin.model.errors import ConfigError, InputError

NOW_MS = 1_795_176_000_000


class Times:
    """Clocks that a test sets."""

    now_ms = NOW_MS
    monotonic_s = 0.0


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[KeyRows]:
    """A new database."""
    made = KeyRows(tmp_path / "state.db")
    yield made
    made.close()


@pytest.fixture
def times() -> Times:
    """Clocks that stand still."""
    return Times()


def tokens_of(rows: KeyRows, times: Times, service: str = "", *, is_loopback: bool = True) -> Tokens:
    """A process's view of the tokens."""
    return Tokens(rows, service, is_loopback, lambda: times.now_ms, lambda: times.monotonic_s)


def test_a_token_is_its_callers(rows: KeyRows, times: Times) -> None:
    """Name, scopes and tenant come with it; a changed token is nobody's."""
    token, row = make_token("ann", ["alerts:read", "query:read"], 1, NOW_MS, {"cdn": "b"})
    rows.add_token(row)
    tokens = tokens_of(rows, times)
    caller = tokens.caller(token)
    assert caller == Caller("ann", frozenset({"query:read", "alerts:read"}), {"cdn": "b"})
    for wrong in (token[:-1], token + "x", token.replace("tocsin_", "tocsim_"), row.sha256, row.id, ""):
        assert tokens.caller(wrong) is None


def test_the_secret_is_not_kept(rows: KeyRows, tmp_path: Path) -> None:
    """Neither the database nor what is around it holds a token."""
    token, row = make_token("ann", ["query:read"], 1, NOW_MS)
    rows.add_token(row)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert row.sha256.encode() in kept
    assert token.rsplit("_", 1)[1].encode() not in kept


def test_tokens_end(rows: KeyRows, times: Times) -> None:
    """By time, exactly; and within a second of being revoked by another process."""
    short, first = make_token("short", ["query:read"], 1, NOW_MS)
    long, second = make_token("long", ["query:read"], 10, NOW_MS)
    rows.add_token(first)
    rows.add_token(second)
    tokens = tokens_of(rows, times)
    times.now_ms = NOW_MS + DAY_MS - 1
    assert tokens.caller(short) is not None
    times.now_ms += 1
    assert tokens.caller(short) is None
    assert rows.revoke_token(second.id, times.now_ms)
    assert not rows.revoke_token(second.id, times.now_ms)
    times.monotonic_s += REFRESH_S
    assert tokens.caller(long) is None
    assert tokens.are_needed(), "the last token's end does not open the door"


def test_when_tokens_are_needed(rows: KeyRows, times: Times) -> None:
    """Not on loopback until one was made; always beyond it, also where there is only the service's own."""
    assert not tokens_of(rows, times).are_needed()
    assert tokens_of(rows, times, "s" * 32, is_loopback=False).are_needed()
    rows.add_token(make_token("ann", ["query:read"], 1, NOW_MS)[1])
    assert tokens_of(rows, times).are_needed()


def test_the_service_token(rows: KeyRows, times: Times) -> None:
    """It is known without a row; without one, the empty text is nobody."""
    assert tokens_of(rows, times, "s" * 32).caller("s" * 32) is SERVICE
    assert tokens_of(rows, times).caller("") is None


@pytest.mark.parametrize(
    ("name", "scopes", "days", "tenant", "said"),
    [
        ("ann", ["query:write"], 1, {}, "query:write"), ("ann", [], 1, {}, "without a scope"),
        ("", ["query:read"], 1, {}, "characters"), ("a\nb", ["query:read"], 1, {}, "printable"),
        ("ann", ["query:read"], 0, {}, "0 days"), ("ann", ["query:read"], 1, {"session": "x"}, "session"),
    ],
)  # fmt: skip
def test_what_no_token_can_be(name: str, scopes: list[str], days: int, tenant: dict[str, str], said: str) -> None:
    """Refused with the value and what is known."""
    with pytest.raises(InputError, match=said):
        make_token(name, scopes, days, NOW_MS, tenant)


def test_the_audit_is_bounded(rows: KeyRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest writes are kept."""
    assert AUDIT_ROWS_MAX > 1_000
    monkeypatch.setattr("tocsin.adapters.state.keys.AUDIT_ROWS_MAX", 3)
    for number in range(5):
        rows.add_audit(AuditRow(NOW_MS, "ann", f"POST /v1/{number}", 201))
    assert [row.what for row in rows.audit(10)] == ["POST /v1/4", "POST /v1/3", "POST /v1/2"]


def test_no_network_without_a_token(tmp_path: Path) -> None:
    """Beyond loopback a role starts only where a token lives, or the service has its own, which nobody guesses."""
    config = Config(data=tmp_path, host="0.0.0.0")  # noqa: S104  the address that must not be open
    with pytest.raises(ConfigError, match="tocsin keys create"):
        Access(config)
    rows = KeyRows(config.keys_path)
    _, row = make_token("ann", ["query:read"], 1, Access(Config(data=tmp_path)).now_ms())
    rows.add_token(row)
    Access(config).close()
    rows.revoke_token(row.id, 1)
    rows.close()
    with pytest.raises(ConfigError, match="no token exists"):
        Access(config)
    Access(config.model_copy(update={"service_token": "s" * 32})).close()
    with pytest.raises(ConfigError, match="can be guessed"):
        Access(config.model_copy(update={"service_token": "secret"}))
    for host in ("127.0.0.1", "::1", "localhost"):
        Access(config.model_copy(update={"host": host})).close()


def test_commands(tmp_path: Path) -> None:
    """A token is printed once; the list shows whose it is and what it may; revoking is noted under the user's name."""
    made = cli_support.run(
        "keys", "create", "cdn-b", "--scope", "query:read", "--tenant", "cdn=b", "--days", "2", cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    (token,) = made.stdout.split()
    listed = cli_support.run("keys", "list", cwd=tmp_path).stdout
    assert all(said in listed for said in ("cdn-b", "live", "query:read", "cdn=b", token.split("_")[1]))
    assert token not in listed
    assert cli_support.run("keys", "revoke", token.split("_")[1], cwd=tmp_path).returncode == 0
    (doc,) = json.loads(cli_support.run("keys", "list", "--json", cwd=tmp_path).stdout)
    assert doc["state"] == "revoked"
    audit = json.loads(cli_support.run("keys", "audit", "--json", cwd=tmp_path).stdout)
    assert [row["what"].split()[:2] for row in audit] == [["keys", "revoke"], ["keys", "create"]]
    refused = cli_support.run("keys", "create", "ann", "--scope", "query:write", cwd=tmp_path)
    assert refused.returncode == 2
    assert all(scope in refused.stderr for scope in SCOPES)
