"""An analyst at work: `tocsin_client`, the notebook of examples/ and `tocsin watch` against a running Tocsin."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from tests import cli_support
from tests.e2e import analyst_world
from tests.e2e.analyst_world import World, outcome, stalled_ms
from tests.ingest_support import envelope, event
from tocsin.app.dev.process import wait_until
from tocsin_client import AsyncClient, Client, TocsinError

NOTEBOOK = cli_support.ROOT / "examples" / "week_over_week.ipynb"
SEEN_WITHIN_S = 60.0
METHODS = ("graph", "metric", "sql", "tags", "incidents", "dictionary", "publish")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One running Tocsin for all; tests publish and send under names of their own."""
    with analyst_world.running(tmp_path_factory.mktemp("analysts")) as running:
        yield running


@pytest.fixture(scope="module")
def tocsin(world: World) -> Iterator[Client]:
    """A client with the token and the key."""
    with Client(world.url, world.token, publish_key=world.key) as client:
        yield client


def ratio(cdn: str, minute: int, *, is_now: bool) -> float:
    """CIRR of one CDN and minute as it was drawn."""
    stalled = sum(stalled_ms(cdn, device, minute, is_now=is_now) for device in ("tv", "web"))
    return stalled / (stalled + 2 * analyst_world.PLAYING_MS)


def test_a_metric_comes_beside_the_week_before(tocsin: Client, world: World) -> None:
    """One column a CDN and week, minute by minute, in UTC; units and tags by column."""
    found = tocsin.metric(
        "rebuffer_ratio", by=["cdn"], compare="1w", definition="cirr", start=world.end_ms - 600_000, end=world.end_ms
    )
    assert list(found.columns) == ["a", "b", "a 1w ago", "b 1w ago"]
    assert str(pd.DatetimeIndex(found.index).tz) == "UTC"
    for position, at in enumerate(found.index):
        minute = int(at.timestamp()) // 60 - 1  # a point stands at the end of its minute
        expected = [ratio(cdn, minute, is_now=is_now) for is_now in (True, False) for cdn in ("a", "b")]
        np.testing.assert_allclose(found.iloc[position].to_numpy(), expected, rtol=1e-12)
    assert len(found) == 10
    assert found.attrs["units"]["b"] == "1"
    assert found.attrs["tags"]["b 1w ago"]["cdn"] == "b"
    assert found.attrs["step_ms"] == 60_000


def test_metrics_take_conditions_and_kinds(tocsin: Client, world: World) -> None:
    """A counter of one device, named as the catalogue writes it, by two tags; times are datetimes or text."""
    end = dt.datetime.fromtimestamp(world.end_ms / 1000, dt.UTC)
    shared: dict[str, Any] = {"start": "e-1h", "end": end, "step": "10m"}
    plays = tocsin.metric("qoe.plays", where={"device": "tv", "cdn": ["a", "b"]}, by=["cdn", "device"], **shared)
    assert list(plays.columns) == ["a tv", "b tv"]
    np.testing.assert_allclose(plays.to_numpy(), 10 / 60)
    assert plays.attrs["units"] == {"a tv": "plays/s", "b tv": "plays/s"}
    assert len(tocsin.metric("av-offset-absmax", **shared).columns) == 1
    with pytest.raises(TocsinError, match=r"no metric 'rebufering'; there are .*rebuffer_ratio"):
        tocsin.metric("rebufering")


def test_sql_comes_as_a_frame(tocsin: Client, world: World) -> None:
    """Exact integers, UTC times and maps; values of Python, numpy and pandas are bound."""
    found = tocsin.sql(
        "SELECT cdn, outcome, count() AS n, toDateTime(min(intDiv(start_ms, 1000)), 'UTC') AS first, map(cdn, n) AS m"
        " FROM sessions WHERE cdn IN {cdns:Array(String)} AND start_ms < toUnixTimestamp({end:DateTime('UTC')}) * 1000"
        " AND startup_ms >= {least:Int64} GROUP BY cdn, outcome ORDER BY cdn, outcome",
        cdns=np.array(["a", "b"]), end=pd.Timestamp(world.end_ms, unit="ms", tz="Asia/Tokyo"), least=np.int64(0),
    )  # fmt: skip
    counts = {(cdn, outcome(n)): 0 for n in range(analyst_world.SESSIONS) for cdn in "ab"[n % 2]}
    for number in range(analyst_world.SESSIONS):
        counts["ab"[number % 2], outcome(number)] += 1
    assert dict(zip(zip(found["cdn"], found["outcome"], strict=True), found["n"], strict=True)) == counts
    assert str(found["first"].dt.tz) == "UTC"
    assert found["m"].tolist() == [{row.cdn: row.n} for row in found.itertuples()]


def test_points_are_published_and_come_back(tocsin: Client) -> None:
    """From mappings and from a frame, with any text in a tag; all values of a tag come, page by page."""
    values = [f"lane {number:04d}" for number in range(1_200)]
    frame = pd.DataFrame({"name": "analysts.depth", "value": np.arange(1_200.0), "lane": values})
    frame.index = pd.DatetimeIndex([pd.Timestamp.now("UTC").floor("s")] * 1_200)
    assert tocsin.publish(frame) == 1_200
    assert tocsin.publish([{"name": "analysts.text", "value": 7, "place": "Köln, (Süd) /*"}]) == 1
    wait_until(lambda: len(tocsin.tags("lane")) == 1_200, "all values are listed", SEEN_WITHIN_S)
    assert tocsin.tags("lane") == values
    assert "lane" in tocsin.tags()
    text = r"name,analysts.text,:eq,place,K\u00f6ln\u002c\u0020\u0028S\u00fcd\u0029\u0020\u002f\u002a,:eq,:and,:max"
    shown = tocsin.graph(text, start="e-5m", end=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2))
    assert np.nanmax(shown.to_numpy()) == 7.0
    assert shown.attrs["units"] == {str(shown.columns[0]): ""}


def test_what_is_refused_is_said(tocsin: Client, world: World) -> None:
    """A bad query, points that are too old, a caller without a token or key, a server that is away."""
    with pytest.raises(TocsinError, match="no table 'secrets'") as refused:
        tocsin.sql("SELECT * FROM secrets")
    assert (refused.value.status, refused.value.message[:19]) == (400, "checking the query:")
    with pytest.raises(TocsinError, match="summ"):
        tocsin.graph("name,qoe.sps,:eq,:summ")
    with pytest.raises(TocsinError, match=r"1 of 2 points refused: .*too old"):
        tocsin.publish([{"name": "analysts.old", "value": 1, "timestamp": 1}, {"name": "analysts.old", "value": 1}])
    with pytest.raises(TocsinError, match="this one has name, valu"):
        tocsin.publish([{"name": "analysts.old", "valu": 1}])
    for client in (Client(world.url), Client(world.url, "nobody")):
        for call in (client.tags, lambda: client.publish([{"name": "a.b", "value": 1}])):  # noqa: B023  called at once
            with pytest.raises(TocsinError) as unknown:
                call()
            assert unknown.value.status == 401
    with pytest.raises(TocsinError, match="is Tocsin running there") as away:
        Client(cli_support.NOBODY).tags()
    assert away.value.status == 0


def test_the_twin_answers_the_same(tocsin: Client, world: World) -> None:
    """Every method, with the same parameters and text; several questions at once."""
    for name in METHODS:
        one, other = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.signature(one) == inspect.signature(other)
        assert one.__doc__ == other.__doc__
    query, graph = "SELECT number FROM numbers(3)", "name,qoe.plays,:eq,:sum"

    async def both() -> tuple[pd.DataFrame, pd.DataFrame, list[str], pd.DataFrame]:
        async with AsyncClient(world.url, world.token) as client:
            return await asyncio.gather(
                client.sql(query), client.graph(graph, end=world.end_ms), client.tags("cdn"), client.incidents()
            )

    rows, lines, cdns, incidents = asyncio.run(both())
    pd.testing.assert_frame_equal(rows, tocsin.sql(query))
    pd.testing.assert_frame_equal(lines, tocsin.graph(graph, end=world.end_ms))
    assert (cdns, len(incidents)) == (tocsin.tags("cdn"), len(tocsin.incidents(state="all", since=0)))


def test_the_readme_runs(world: World) -> None:
    """Its lines as they stand, but for the address."""
    text = (cli_support.ROOT / "sdk" / "python-client" / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    given = '"http://127.0.0.1:8080", token="…"'
    assert given in code
    exec(code.replace(given, f"{world.url!r}, token={world.token!r}, publish_key={world.key!r}"), {})  # noqa: S102


def test_the_notebook_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept without outputs, and each of its cells does what its text says."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    monkeypatch.setenv("TOCSIN_URL", world.url)
    monkeypatch.setenv("TOCSIN_TOKEN", world.token)
    done = NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    said = "\n".join(
        output.get("text") or output["data"]["text/plain"]
        for cell in done.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "b stalls 2.9 times as much as a week ago" in said


def test_a_playback_is_watched_to_its_end(world: World, tmp_path: Path) -> None:
    """Heartbeats show as they come, each once, as lines or JSON; with the last the command ends."""
    session = "watched-0001"
    watching = [
        subprocess.Popen(
            cli_support.command("watch", session, "--server", world.url, "--every", "0.2", *form),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env=cli_support.environment(world.environment),
        )
        for form in ([], ["--json"])
    ]  # fmt: skip
    assert all("no heartbeat of watched-0001 yet" in (one.stderr or [""]).__next__() for one in watching)  # type: ignore[union-attr]
    _send(world, event(0, session, rebuffer_ms=800, playing_ms=9_200, reason="start"))
    first = [one.stdout.readline() for one in watching if one.stdout]
    assert "9.2 s playing, 0.8 s stalled" in first[0]
    assert json.loads(first[1])["rebuffer_ms"] == 800
    _send(world, event(1, session), event(2, session, state="ended", reason="ended", outcome="completed"))
    rest = [one.communicate(timeout=SEEN_WITHIN_S)[0].splitlines() for one in watching]
    assert [one.returncode for one in watching] == [0, 0]
    assert [json.loads(line)["seq"] for line in rest[1]] == [1, 2]
    assert len(rest[0]) == 2
    assert "ended: completed" in rest[0][1]


def test_ctrl_c_ends_watching(world: World, tmp_path: Path) -> None:
    """Quietly, as that is how one stops looking."""
    watching = subprocess.Popen(
        cli_support.command("watch", "nobody-0001", "--server", world.url, "--every", "0.2"),
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=cli_support.environment(world.environment),
    )  # fmt: skip
    assert watching.stderr is not None
    watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    assert watching.communicate(timeout=30)[1] == ""
    assert watching.returncode == 0


def test_what_is_left_of_an_old_playback_is_said(world: World, tmp_path: Path) -> None:
    """Its heartbeats are gone, its totals are not: there is nothing to wait for."""
    done = cli_support.run(
        "watch", "playback-001", "--server", world.url, cwd=tmp_path, extra=world.environment
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "playback-001 ended: failed; its heartbeats are not kept\n"


def _send(world: World, *events: dict[str, Any]) -> None:
    """Heartbeats of this moment, acknowledged."""
    now_ms = time.time_ns() // 1_000_000
    body = envelope(*({**one, "ts_ms": now_ms - 1_000} for one in events), sent_ts_ms=now_ms)
    answer = httpx.post(f"{world.url}/v1/heartbeats?key={world.key}", json=body)
    assert answer.json()["accepted"] == len(events), answer.text
