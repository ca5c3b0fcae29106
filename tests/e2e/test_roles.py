"""The commands that docker-compose.yml runs, each in a process of its own: they start, meet, and end when told.

Heartbeats go in at `tocsin ingest`, are counted by `tocsin jobs` off a real Kafka broker into a real ClickHouse server,
and are read by graph at `tocsin query`, which passes alerting's routes on to `tocsin alerting`. A look asked for there
is taken by `tocsin probe`, which shares alerting's data folder, as the compose file has it. Every caller has a
token, from one database that the roles share, and the roles know each other by the service's own.
"""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from player_sim.clips import Gap, StreamSpec, make_stream, serve_folder
from tests import cli_support
from tests.ingest_support import envelope, event
from tocsin.adapters.state.keys import KeyRows
from tocsin.app.dev import process as proc
from tocsin.app.dev.clickhouse import ClickHouseServer
from tocsin.app.dev.kafka import KafkaServer
from tocsin.app.probes import remote_verdicts
from tocsin.app.tokens import make_token
from tocsin.model.errors import InputError, UnavailableError

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(400)]
ROLES = ("ingest", "jobs", "query", "alerting", "probe")
PARTITIONS = 2
SESSIONS = 5
KEY = "player-key"
SERVICE_TOKEN = "between-the-roles-" + "x" * 32
READY_S = 120.0
END_S = 20.0


@dataclass
class Roles:
    """Five processes and where they listen; each has the environment that the compose file gives its service."""

    folder: Path
    environment: dict[str, str]
    headers: dict[str, str]
    ports: dict[str, int] = field(default_factory=lambda: {role: proc.free_port() for role in ROLES})
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def url(self, role: str) -> str:
        """Base URL of a role."""
        return f"http://127.0.0.1:{self.ports[role]}"

    def log(self, role: str) -> Path:
        """What it printed."""
        return self.folder / f"{role}.log"

    def start(self, role: str) -> None:
        """Run `tocsin ROLE`."""
        data = self.folder / ("alerting" if role == "probe" else role)
        data.mkdir(exist_ok=True)
        own = {"TOCSIN_DATA": str(data), "TOCSIN_PORT": str(self.ports[role])}
        with self.log(role).open("wb") as out:
            self.processes[role] = subprocess.Popen(
                cli_support.command(role), stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=data,
                env=cli_support.environment(self.environment | own),
            )  # fmt: skip

    def answer(self, role: str, path: str, params: dict[str, str] | None = None) -> httpx.Response | None:
        """Of GET; None while nobody answers."""
        assert self.processes[role].poll() is None, f"{role} ended: {proc.tail(self.log(role), 40)}"
        try:
            return httpx.get(self.url(role) + path, params=params, headers=self.headers, timeout=30)
        except httpx.HTTPError:
            return None

    def is_ready(self, role: str) -> bool:
        """Whether /readyz says so."""
        answer = self.answer(role, "/readyz")
        return answer is not None and answer.status_code == httpx.codes.OK

    def report(self) -> str:
        """What each said last, for a failure."""
        return "\n".join(f"{role}: {proc.tail(self.log(role), 12)}" for role in ROLES)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Origin of a stream with a hole in its picture, and the registry that names it."""
    folder = tmp_path_factory.mktemp("roles-media")
    make_stream(folder, StreamSpec("holed", seed=5, seconds=12, defects=(Gap(4.0, 4.0),)))
    with serve_folder(folder) as origin:
        registry = folder / "streams.csv"
        registry.write_text(f"stream,cdn,url,mode\nholed,cdn-a,{origin}/holed/master.m3u8,vod\n")
        yield origin, registry


@pytest.fixture(scope="module")
def roles(
    kafka_server: KafkaServer,
    clickhouse_server: ClickHouseServer,
    media: tuple[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Roles]:
    """All five, ready, over a topic and a database of their own."""
    name = f"roles_{uuid.uuid4().hex[:6]}"
    base, _, _ = clickhouse_server.status().dsn.rpartition("/")
    origin, registry = media
    folder = tmp_path_factory.mktemp("roles")
    made = Roles(
        folder,
        {
            "TOCSIN_KEYS_DB": str(folder / "keys.db"),
            "TOCSIN_SERVICE_TOKEN": SERVICE_TOKEN,
            "TOCSIN_LOG": f"kafka://{kafka_server.status().bootstrap}/{name}",
            "TOCSIN_STORE": f"{base}/{name}",
            "TOCSIN_PARTITIONS": str(PARTITIONS),
            "TOCSIN_STREAMS": str(registry),
            "TOCSIN_PROBE_ORIGINS": f'["{origin}"]',
            "TOCSIN_PROBE_SHARE": "0",
            "TOCSIN_WRITE_KEYS": f'["{KEY}"]',
        },
        _caller(folder / "keys.db"),
    )
    made.environment["TOCSIN_ALERTING_URL"] = made.url("alerting")
    created = httpx.post(base, params={"query": f"CREATE DATABASE {name}"}, timeout=30)
    assert created.is_success, created.text
    try:
        for role in ROLES:
            made.start(role)
        for role in ROLES:
            proc.wait_until(partial(made.is_ready, role), f"{role} to be ready", READY_S, made.report)
        yield made
    finally:
        for process in made.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def _caller(file: Path) -> dict[str, str]:
    """The header of somebody on call."""
    now_ms = time.time_ns() // 1_000_000
    token, row = make_token("ann", ["query:read", "alerts:read", "alerts:write", "probe:run"], 1, now_ms)
    rows = KeyRows(file)
    rows.add_token(row)
    rows.close()
    return {"Authorization": f"Bearer {token}"}


def _send(roles: Roles) -> None:
    """One heartbeat of ten seconds of playing a session, over the gateway."""
    now_ms = time.time_ns() // 1_000_000
    events = [event(session_id=f"session-{n:04}", ts_ms=now_ms - 1_000, startup_ms=500) for n in range(SESSIONS)]
    body = envelope(*events, sent_ts_ms=now_ms)
    answer = httpx.post(f"{roles.url('ingest')}/v1/heartbeats", params={"key": KEY}, json=body, timeout=30)
    assert answer.status_code == httpx.codes.OK, answer.text


def _plays(roles: Roles) -> float:
    """Plays of the last minutes, as the query role draws them (a minute's point is plays a second)."""
    asked = {"q": "name,qoe.plays,:eq,:sum", "s": "e-10m", "e": "now+2m", "format": "json"}
    answer = roles.answer("query", "/api/v1/graph", {**asked, "step": "1m"})
    assert answer is not None
    assert answer.status_code == httpx.codes.OK, answer.text
    return sum(float(value) for (value,) in answer.json()["values"] if value != "NaN") * 60


def test_a_heartbeat_is_counted_across_the_roles(roles: Roles) -> None:
    """What the gateway acknowledged is seen by graph, and the ledger that the query role shows is balanced."""
    _send(roles)
    proc.wait_until(lambda: _plays(roles) > 0, "the plays in a graph", 60, roles.report, poll_s=0.5)
    assert _plays(roles) == pytest.approx(SESSIONS)
    ledger = roles.answer("query", "/v1/ledger")
    assert ledger is not None
    assert ledger.json()["balanced"], ledger.text


def test_the_query_role_passes_alertings_routes_on(roles: Roles) -> None:
    """Rules and incidents are answered at the page's own address."""
    rules = roles.answer("query", "/v1/rules")
    assert rules is not None
    assert "rebuffering" in rules.text
    page = roles.answer("query", "/")
    assert page is not None
    assert page.headers["content-type"].startswith("text/html")


def test_a_look_queued_at_alerting_is_taken_by_the_probe(roles: Roles) -> None:
    """The two share the queue and the verdicts: what is asked for at the page's address is decoded elsewhere."""
    url = f"{roles.url('query')}/v1/probes"
    asked = httpx.post(url, json={"stream": "holed"}, headers=roles.headers, timeout=30)
    assert asked.status_code == httpx.codes.ACCEPTED, asked.text
    path = f"/v1/probes/{asked.json()['id']}"

    def verdict() -> dict[str, Any]:
        answer = roles.answer("query", path)
        assert answer is not None
        found: dict[str, Any] = answer.json().get("verdict") or {}
        return found

    proc.wait_until(lambda: bool(verdict()), "the verdict", 60, roles.report, poll_s=0.5)
    assert verdict()["verdict"] == "confirmed"
    assert [defect["detector"] for defect in verdict()["defects"]] == ["gaps"]
    picture = roles.answer("query", f"{path}/frame.png")
    assert picture is not None
    assert picture.content.startswith(b"\x89PNG")


def test_no_role_answers_a_stranger(roles: Roles) -> None:
    """Directly or through another role; the write key of players is no token."""
    for role, path in (("query", "/v1/status"), ("query", "/v1/incidents"), ("alerting", "/v1/incidents")):
        for headers in ({}, {"Authorization": f"Bearer {KEY}"}):
            assert httpx.get(roles.url(role) + path, headers=headers, timeout=30).status_code == 401
        answer = roles.answer(role, path)
        assert answer is not None
        assert answer.status_code == httpx.codes.OK


def test_the_probe_attaches_verdicts_by_the_services_token(roles: Roles) -> None:
    """With it the incident is looked for; with another token it is refused, to be tried again."""
    with pytest.raises(InputError, match="no such incident"):
        remote_verdicts(roles.url("alerting"), SERVICE_TOKEN)("nobodys", {"verdict": "confirmed"})
    with pytest.raises(UnavailableError, match="401"):
        remote_verdicts(roles.url("alerting"), "")("nobodys", {"verdict": "confirmed"})


@pytest.mark.parametrize(
    ("role", "figure"),
    [
        ("ingest", "tocsin_ingest_log_up"),
        ("jobs", "tocsin_jobs_partitions 2.0"),
        ("query", "tocsin_core_store_up 1.0"),
        ("alerting", "tocsin_alerting_incidents_open"),
        ("probe", "tocsin_probe_looks_waiting"),
    ],
)
def test_each_role_is_scraped(roles: Roles, role: str, figure: str) -> None:
    """Prometheus finds /metrics at every role, with the figures of its part."""

    def shown() -> bool:
        answer = roles.answer(role, "/metrics")
        return answer is not None and answer.is_success and figure in answer.text

    proc.wait_until(shown, f"{figure} of {role}", 30, roles.report)


@pytest.mark.parametrize("role", ROLES)
def test_sigterm_ends_a_role_with_status_0(roles: Roles, role: str) -> None:
    """It ends within seconds and by itself, with a client still following a stream; then it starts again."""
    follow = {"q": "name,qoe.plays,:eq,:sum", "s": "e-10m", "follow": "1"}
    process = roles.processes[role]
    try:
        with httpx.stream(
            "GET", f"{roles.url('query')}/api/v2/fetch", params=follow, headers=roles.headers, timeout=30
        ) as stream:
            assert stream.status_code == httpx.codes.OK
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == 0, proc.tail(roles.log(role), 40)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        roles.start(role)
        proc.wait_until(lambda: roles.is_ready(role), f"{role} to be ready again", READY_S, roles.report)
