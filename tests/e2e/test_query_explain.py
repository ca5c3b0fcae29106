"""Every number explains itself: its definition, its sums, its ledger, and the sessions that sum to it.

The log has sampled sessions, repeated and late heartbeats, time-outs that were taken back; expected sums come from the
plain oracle that counting is tested with.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.explain_world import SEED, SESSIONS
from tests.e2e.test_jobs_store import Line
from tests.jobs_world import START_MS
from tocsin.model.catalogue import METRICS, WORDS

ROOT = Path(__file__).resolve().parents[2]
AT_MS = START_MS + 8 * 60_000
WITHOUT_SESSION_SUMS = "telemetry-loss-ratio"
PAGE = 5

RATIOS = {f"{word} {name}": f":true,{name},:{word}" for word, m in WORDS.items() for name in m.definitions}
COUNTERS = {name: f"name,{name},:eq,:sum" for name, metric in METRICS.items() if metric.kind == "counter"}
NORTH = "cdn,north,:eq,:rebuffer-ratio,(,device,),:by"
LONG = {"q": ":true,:rebuffer-ratio", "step": "10m"}
ASKED: dict[str, dict[str, str]] = {
    **{name: {"q": q} for name, q in (RATIOS | COUNTERS).items()},
    **{f"page {n}": {"q": ":true,:bitrate", "limit": str(PAGE), "offset": str(n * PAGE)} for n in range(6)},
    "no line chosen": {"q": NORTH},
    "a line": {"q": NORTH, "tag": "device=device-1"},
    "no such line": {"q": NORTH, "tag": "device=fridge"},
    "a part": {"q": "name,qoe.playing_ms,:eq,:sum"},
    "a filtered line": {"q": ":true,:bitrate,:stat-max,10,:gt,:filter"},
    "an overlay": {"q": ":true,:bitrate,:dup,3m,:offset", "at": str(AT_MS + 180_000), "tag": "atlas.offset=3m"},
    "the newest": {"q": ":true,:bitrate,:dup,3m,:offset"},
    "ten minutes": {**LONG, "at": str(AT_MS)},
    "raw": {"q": "name,qoe.attempts,:eq,:sum,(,network,),:by", "tag": "network=network-0"},
    "errors only": {"q": "error,E7,:eq,name,qoe.errors,:eq,:and,:sum"},
    "now": {"q": "name,qoe.sps,:eq,:sum", "at": "now"},
    "a multiple": {"q": ":true,:rebuffer-ratio,100,:mul"},
    "a maximum": {"q": "name,qoe.av_offset.absmax,:eq,:max"},
    "published": {"q": "name,queue.depth,:eq,:sum"},
    "no tag": {"q": ":true,:bitrate", "tag": "device"},
    "no time": {"q": ":true,:bitrate", "at": "yesterday"},
    "no limit": {"q": ":true,:bitrate", "limit": "0"},
}  # fmt: skip
BITRATE = ("/v1/explain", [("at", str(AT_MS)), ("q", ":true,:bitrate"), ("limit", "1")])
LONG_AGO_S = START_MS // 1000 // 3600 * 3600 - 6 * 3600
FOLD = f"INSERT INTO hours (`cube`, minute, playing_ms, rebuffer_ms) VALUES ('all', {LONG_AGO_S}, 54000, 6000)"
HOUR_LEFT = ("/v1/explain", [("at", str(LONG_AGO_S + 600)), ("q", ":true,cirr,:rebuffer-ratio")])


COMMAND = ("explain", NORTH, "--at", str(AT_MS), "--tag", "device=device-1", "--sessions", "1")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, Any]]:
    """All questions, asked once of an embedded store in a process of its own."""
    asked: dict[str, tuple[str, list[tuple[str, str]]]] = {
        **{name: ("/v1/explain", list({"at": str(AT_MS), **params}.items())) for name, params in ASKED.items()},
        "command": ("tocsin", [("", argument) for argument in COMMAND]),
        "command as JSON": ("tocsin", [("", argument) for argument in (*COMMAND, "--json")]),
        "lose": ("store", [("", "DELETE FROM heartbeats WHERE row_kind = 'unique' AND seq % 2 = 1")]),
        "damaged": BITRATE,
        "delete": ("store", [("", "TRUNCATE TABLE heartbeats")]),
        "gone": BITRATE,
        "fold": ("store", [("", FOLD)]),
        "hour left": HOUR_LEFT,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.explain_world", str(tmp_path_factory.mktemp("explain"))],
        input=json.dumps([*asked.values()]), capture_output=True, text=True, check=False, cwd=ROOT, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(asked, map(tuple, json.loads(done.stdout.splitlines()[-1])), strict=True))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The same log, with the oracle's answer to it."""
    made = Line(tmp_path_factory.mktemp("oracle"), SEED, SESSIONS)
    made.log.close()
    return made


@pytest.fixture(scope="module")
def cell(line: Line) -> dict[str, Any]:
    """The oracle's sums of the minute, over all heartbeats."""
    return line.cells["all", AT_MS // 60_000 - 1, ()]


def found(answers: Mapping[str, tuple[int, Any]], name: str) -> dict[str, Any]:
    """An explanation."""
    code, body = answers[name]
    assert code == 200, body
    return dict(body)


def refused(answers: Mapping[str, tuple[int, Any]], name: str) -> str:
    """Why a question was refused."""
    code, body = answers[name]
    assert code == 400, body
    return str(body["message"])


@pytest.mark.parametrize("name", [*RATIOS, *COUNTERS])
def test_sessions_sum_to_the_number(answers: Any, cell: dict[str, Any], name: str) -> None:
    """Of every ratio, in each definition, and every counter: the sums are the oracle's and the sessions' own."""
    body = found(answers, name)
    assert {part["name"]: part["sum"] for part in body["parts"]} == pytest.approx(
        {part["name"]: cell.get(part["name"], 0) for part in body["parts"]}
    )
    if WITHOUT_SESSION_SUMS in name:
        assert (body["agrees"], body["value_of_sessions"]) == (None, None)
        assert "expected is no sum" in body["differences"][0]
        return
    assert body["agrees"] is True
    assert body["differences"] == []
    assert body["value_of_sessions"] == pytest.approx(body["value"], rel=1e-9)
    assert {part["name"]: part["sum_of_sessions"] for part in body["parts"]} == pytest.approx(
        {part["name"]: part["sum"] for part in body["parts"]}
    )


def test_most_numbers_of_the_minute_are_not_zero(answers: Any) -> None:
    """An agreement of zeros would show nothing."""
    shown = [found(answers, name)["value"] for name in (*RATIOS, *COUNTERS)]
    assert sum(bool(value) for value in shown) > len(shown) * 3 / 4


def test_pages_list_every_session_once(answers: Any) -> None:
    """Largest first, each with its part; together they are the sum; the last page has no next one."""
    pages = [found(answers, f"page {n}") for n in range(6)]
    rows = [row for page in pages for row in page["sessions"]]
    assert len(pages[0]["sessions"]) == PAGE
    assert len(rows) == len({row["session_id"] for row in rows}) == pages[0]["sessions_total"] > PAGE
    assert [page["next_offset"] for page in pages if page["sessions"]][-1] is None
    assert [row["adds"] for row in rows] == sorted((row["adds"] for row in rows), reverse=True)
    assert sum(row["adds"] for row in rows) == pytest.approx(pages[0]["parts"][0]["sum"])
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert rows[0]["value"] == pytest.approx(1000 * rows[0]["parts"]["bits_kb"] / rows[0]["parts"]["media_ms"])
    assert rows[0]["tags"]["title"].startswith("title-")


def test_sampled_sessions_count_with_their_weight(answers: Any, line: Line) -> None:
    """One in four sends: what it sends counts four times."""
    sampled = {one.heartbeat["session_id"] for one in line.sent if one.heartbeat["sample_k"] == 4}
    rows = [row for n in range(6) for row in found(answers, f"page {n}")["sessions"] if row["session_id"] in sampled]
    assert rows
    assert all(row["parts"]["media_ms"] == 4 * 9_000 * row["heartbeats"] for row in rows)


def test_definition(answers: Any) -> None:
    """The words, the formula with its source, and which other definitions there are."""
    shown = found(answers, "rebuffer-ratio cta")["definition"]
    assert shown["metric"] == "qoe.rebuffer.ratio"
    assert shown["formula"] == "(rebuffer_ms) / (playing_ms + rebuffer_ms + seek_wait_ms + startup_wait_ms)"
    assert shown["other_definitions"] == {"cirr": "(rebuffer_ms) / (playing_ms + rebuffer_ms)"}
    assert "CTA-2066" in shown["source"]
    assert found(answers, "qoe.concurrent")["definition"]["formula"].startswith("0.001 × (playing_ms + ")
    assert found(answers, "a part")["definition"]["unit"] == "ms/s"


def test_ledger_and_completeness(answers: Any) -> None:
    """The buckets of the minute balance without gap; repeated and late heartbeats are told apart."""
    body = found(answers, "bitrate media")
    ledger, fates = body["ledger"], body["heartbeats"]
    assert (ledger["balanced"], ledger["gaps"], ledger["overlaps"]) == (True, 0, 0)
    assert ledger["totals"]["received"] == ledger["totals"]["unique"] + ledger["totals"]["duplicates"]
    assert ledger["totals"]["duplicates"] > 0
    assert fates["counted"] > fates["counted_late"] > 0
    assert fates["too_late"] > 0
    assert fates["too_early"] > 0
    assert body["completeness"]["complete"]
    assert body["completeness"]["final"]
    newest = found(answers, "now")["completeness"]
    assert not newest["complete"]
    assert "not complete" in newest["text"]


def test_which_table_answered(answers: Any) -> None:
    """The cube and the table, or raw heartbeats where no cube has the key."""
    assert found(answers, "bitrate media")["source"] == {"cube": "all", "tables": ["minutes"]}
    assert found(answers, "a line")["source"]["cube"] == "cdn,device"
    assert found(answers, "raw")["source"] == {"cube": None, "tables": ["heartbeats"]}
    assert found(answers, "raw")["agrees"] is True


def test_a_line_is_chosen_by_its_tags(answers: Any) -> None:
    """Where there are several; what they differ by is said."""
    assert "device=device-0; device=device-1" in refused(answers, "no line chosen")
    assert "device=fridge" in refused(answers, "no such line")
    line = found(answers, "a line")
    assert line["tags"]["device"] == "device-1"
    assert line["agrees"] is True
    assert {row["tags"]["cdn"] for row in line["sessions"]} == {"north"}


def test_offsets(answers: Any) -> None:
    """A line of earlier is explained by the earlier minutes; without a choice the present line is."""
    now, before = found(answers, "bitrate media"), found(answers, "an overlay")
    assert (before["at_ms"] - before["to_ms"], before["to_ms"]) == (180_000, now["to_ms"])
    assert before["value"] == now["value"]
    assert before["agrees"] is True
    assert found(answers, "the newest")["to_ms"] == AT_MS


def test_longer_steps_and_filters(answers: Any) -> None:
    """Ten minutes are summed; a filter leaves a line what it is; errors are a condition like others."""
    longer = found(answers, "ten minutes")
    assert (longer["to_ms"] - longer["from_ms"], longer["agrees"]) == (600_000, True)
    assert found(answers, "a filtered line")["value"] == found(answers, "bitrate media")["value"]
    assert found(answers, "errors only")["agrees"] is True


def test_sums_that_are_not_those_of_the_heartbeats(answers: Any) -> None:
    """Where heartbeats of final minutes are missing, the sums do not agree, and both numbers are there."""
    body = found(answers, "damaged")
    assert body["agrees"] is False
    assert body["value_of_sessions"] != body["value"] == found(answers, "bitrate media")["value"]
    assert "tocsin doctor --ledger" in body["differences"][0]


def test_hours_that_are_left(answers: Any) -> None:
    """A minute of which only its hour is left shows the hour's mean, and says so."""
    body = found(answers, "hour left")
    assert (body["agrees"], body["value"]) == (None, pytest.approx(0.1))
    assert body["source"]["tables"] == ["hours"]
    assert "the hour's mean" in body["differences"][-1]


def test_gone_heartbeats(answers: Any) -> None:
    """Where raw heartbeats are gone, it says so and what is left."""
    body = found(answers, "gone")
    assert (body["agrees"], body["sessions_total"], body["value_of_sessions"]) == (None, 0, None)
    assert "no raw heartbeats" in body["differences"][0]
    assert "sums in minutes" in body["differences"][0]
    assert "playbacks" in body["differences"][0]
    assert body["value"] == found(answers, "bitrate media")["value"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("a multiple", "neither a ratio"), ("a maximum", "neither a ratio"), ("published", "neither a ratio"),
     ("no tag", "KEY=VALUE"), ("no time", "yesterday"), ("no limit", "limit")],
)  # fmt: skip
def test_what_cannot_be_explained(answers: Any, name: str, said: str) -> None:
    """Refused with what is wrong and what can be asked instead."""
    assert said in refused(answers, name)


def test_command(answers: Any) -> None:
    """`tocsin explain` prints what a person wants to know, or everything as JSON."""
    status, text = answers["command"]
    assert status == 0, text
    for said in ("share of the watching time that is stalled", "the sessions sum to it", "cube cdn,device", "balanced"):
        assert said in text
    assert f"1 of {found(answers, 'a line')['sessions_total']} sessions; --offset 1 has more" in text
    status, text = answers["command as JSON"]
    assert status == 0, text
    assert json.loads(text)["value"] == found(answers, "a line")["value"]
