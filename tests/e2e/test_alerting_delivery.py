"""Pages to a real receiver: signed, at least once, in order, over errors, kills and restarts; dead letters are seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from alerting.delivery import BACKOFF_MAX_MS, GIVE_UP_MS, Outbox, receivers
from alerting.desk import Desk
from alerting.pagers import build
from alerting.pagers.webhook import verify
from tests.alerting_support import incident, receiver
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.model.errors import ConfigError

SECRET = "s3cret"  # noqa: S105  of the test


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    """An empty database."""
    found = SqliteState(tmp_path / "state.sqlite")
    yield found
    found.close()


def webhook(url: str) -> dict[str, str]:
    """A webhook receiver's configuration."""
    return {"type": "webhook", "name": "hook", "url": f"{url}/page", "secret": SECRET}


def outbox(state: SqliteState, clock: Clock, *configs: dict[str, str]) -> Outbox:
    """An outbox over real HTTP with full waits."""
    return Outbox(state, [build(config) for config in configs], clock, httpx.Client(), lambda: 1.0, "http://t")


def test_a_page_is_signed_and_idempotent(state: SqliteState) -> None:
    """The receiver can check signature and age; another secret or an old time fails; the key names the revision."""
    clock = Clock()
    with receiver() as server:
        Desk(state, receivers([webhook(server.url)]), "http://t").open(incident(), clock())
        done = outbox(state, clock, webhook(server.url)).run_once()
    assert (done.sent, done.failed, len(server.got)) == (1, 0, 1)
    got = server.got[0]
    assert verify(SECRET, got.headers, got.body, clock())
    assert not verify("other", got.headers, got.body, clock())
    assert not verify(SECRET, got.headers, got.body + b" ", clock())
    assert not verify(SECRET, got.headers, got.body, clock() + 600_000)
    assert got.headers["idempotency-key"] == "inc1:1:hook"
    assert json.loads(got.body)["title"] == "rebuffering: cdn=b at 5.00%, usually 0.80%"


def test_errors_are_retried_with_back_off_and_in_order(state: SqliteState) -> None:
    """Three 500s, then 200: waits double, the update does not overtake the page, each revision arrives once."""
    clock = Clock()
    with receiver(lambda number: 500 if number < 3 else 200) as server:
        desk = Desk(state, receivers([webhook(server.url)]), "http://t")
        desk.open(incident(), clock())
        box = outbox(state, clock, webhook(server.url))
        desk.change("inc1", lambda stored: msgspec.structs.replace(stored, summary="more"), clock(), "update")
        at = []
        for _ in range(40):
            before = len(server.got)
            box.run_once()
            if len(server.got) > before:
                at.append((clock.ms - 1_790_000_000_000) // 1_000)
            clock.ms += 1_000
    keys = [got.headers["idempotency-key"] for got in server.got]
    assert keys == ["inc1:1:hook"] * 4 + ["inc1:2:hook"]
    assert at[:4] == [0, 1, 3, 7]
    with state.transaction() as tx:
        assert {row.state for row in tx.deliveries()} == {"sent"}


def test_an_hour_of_errors_loses_nothing(state: SqliteState) -> None:
    """A webhook that fails for an hour gets its page afterwards; waits never pass an hour."""
    clock = Clock()
    start = clock.ms
    with receiver() as server:
        server.answer = lambda _: 503 if clock.ms - start < 3_600_000 else 200
        Desk(state, receivers([webhook(server.url)]), "http://t").open(incident(), clock())
        box = outbox(state, clock, webhook(server.url))
        while clock.ms - start < 3 * BACKOFF_MAX_MS:
            box.run_once()
            clock.ms += 60_000
    assert 8 <= len(server.got) <= 20
    with state.transaction() as tx:
        assert [row.state for row in tx.deliveries()] == ["sent"]


def test_refusals_and_a_day_of_silence_are_dead_letters(state: SqliteState) -> None:
    """Five 403s, or a day without an answer: kept as dead with the error, never sent again."""
    clock = Clock()
    with receiver(lambda _: 403) as server:
        Desk(state, receivers([webhook(server.url)]), "http://t").open(incident(), clock())
        box = outbox(state, clock, webhook(server.url))
        for _ in range(60):
            box.run_once()
            clock.ms += 2_000
        assert len(server.got) == 5
        url = server.url
    with state.transaction() as tx:
        (dead,) = tx.deliveries(state="dead")
    assert (dead.attempts, dead.error[:8]) == (5, "HTTP 403")
    Desk(state, receivers([webhook(url)]), "http://t").open(incident("inc2"), clock())
    for _ in range(30):
        box.run_once()
        clock.ms += GIVE_UP_MS // 24
    with state.transaction() as tx:
        assert {row.incident_id: row.state for row in tx.deliveries()} == {"inc1": "dead", "inc2": "dead"}
    assert "Error" in box.last_error["hook"]


def test_a_kill_between_sending_and_noting_sends_again(tmp_path: Path) -> None:
    """A sender killed while the receiver holds the answer back: after the restart the same key comes again."""
    path = tmp_path / "state.sqlite"
    clock = Clock()
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        import httpx
        from alerting.delivery import Outbox
        from alerting.pagers import build
        from tocsin.adapters.state.sqlite import SqliteState
        config = {"type": "webhook", "name": "hook", "url": sys.argv[2] + "/page", "secret": "s3cret"}
        state = SqliteState(Path(sys.argv[1]))
        box = Outbox(state, [build(config)], lambda: 1_790_000_000_000, httpx.Client(), lambda: 0.0)
        box.run_once()
    """)
    children: list[subprocess.Popen[bytes]] = []
    state = SqliteState(path)

    def kill_the_sender(number: int) -> int:
        if number == 0:
            os.kill(children[0].pid, signal.SIGKILL)
            children[0].wait()
        return 200

    with receiver(kill_the_sender) as server:
        Desk(state, receivers([webhook(server.url)]), "http://t").open(incident(), clock())
        children.append(subprocess.Popen([sys.executable, "-c", program, str(path), server.url]))
        assert children[0].wait() == -signal.SIGKILL
        with state.transaction() as tx:
            assert [row.state for row in tx.deliveries()] == ["queued"]
        outbox(state, clock, webhook(server.url)).run_once()
        outbox(state, clock, webhook(server.url)).run_once()
    assert [got.headers["idempotency-key"] for got in server.got] == ["inc1:1:hook"] * 2
    state.close()


def test_alertmanager_is_told_again_every_minute(state: SqliteState) -> None:
    """Firing alerts at once and each minute, resolved ones for five, one alert a request, and the dead man's switch."""
    clock = Clock()
    start = clock.ms
    with receiver() as server:
        config = {"type": "alertmanager", "name": "am", "url": server.url}
        desk = Desk(state, receivers([config]), "http://t")
        desk.open(incident(opened_ms=start), clock())
        box = outbox(state, clock, config)
        while clock.ms - start <= 180_000:
            box.run_once()
            clock.ms += 10_000
        told = [json.loads(got.body) for got in server.got]
        firing = [alert for (alert,) in told if alert["labels"]["alertname"] == "rebuffering"]
        alive = [alert for (alert,) in told if alert["labels"]["alertname"] == "tocsin-alive"]
        assert len(firing) == 1 + 4
        assert len(alive) == 4
        assert all(alert["endsAt"] > alert["startsAt"] for alert in firing)
        assert len({json.dumps(alert["labels"], sort_keys=True) for alert in firing}) == 1
        closed_at = clock.ms
        desk.change(
            "inc1",
            lambda stored: msgspec.structs.replace(stored, state="closed", closed_ms=closed_at, updated_ms=closed_at),
            clock(), "resolved",
        )  # fmt: skip
        server.got.clear()
        while clock.ms - closed_at <= 480_000:
            box.run_once()
            clock.ms += 10_000
        resolved = [json.loads(got.body)[0] for got in server.got]
        ends = {alert["endsAt"] for alert in resolved if alert["labels"]["alertname"] == "rebuffering"}
        assert len(ends) == 1
        count = sum(alert["labels"]["alertname"] == "rebuffering" for alert in resolved)
    assert 5 <= count <= 7
    assert all(got.path == "/api/v2/alerts" for got in server.got)


def test_a_test_page_reaches_every_receiver(state: SqliteState) -> None:
    """`page --test` answers each receiver's error, empty where it arrived."""
    with receiver() as server:
        gone = {"type": "alertmanager", "name": "am", "url": "http://127.0.0.1:9"}
        found = outbox(state, Clock(), webhook(server.url), gone).test()
    assert found["hook"] == ""
    assert "ConnectError" in found["am"]


def test_receivers_are_checked() -> None:
    """Unknown types and keys are refused with the nearest known one, missing ones are named."""
    with pytest.raises(ConfigError, match="did you mean webhook"):
        build({"type": "webhok", "name": "x", "url": "http://x"})
    with pytest.raises(ConfigError, match="did you mean secret"):
        build({**webhook("http://x"), "secrt": "y"})
    with pytest.raises(ConfigError, match="secret is missing"):
        build({"type": "webhook", "name": "x", "url": "http://x"})
