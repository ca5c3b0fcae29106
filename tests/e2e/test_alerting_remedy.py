"""Remediation: dry by default, approved, limited, at most once, its outcome and effect on the incident."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from alerting.actions import build
from alerting.desk import Desk
from alerting.remedy import EFFECT_AFTER_MS, ActionRunner
from tests.alerting_support import EVIDENCE, incident, receiver
from tocsin.adapters.state.port import ActionRow
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.model.errors import ConfigError, InputError

NOW = 1_790_000_000_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    """An empty database."""
    found = SqliteState(tmp_path / "state.sqlite")
    yield found
    found.close()


def config(url: str, **fields: Any) -> dict[str, Any]:
    """The action that drains a CDN."""
    return {"name": "drain", "url": f"{url}/cdn/{{cdn}}/weight", "body": {"weight": 0, "cdn": "{cdn}"}, **fields}


def parts(state: SqliteState, settings: dict[str, Any], times: list[int]) -> tuple[Desk, ActionRunner]:
    """A desk and a runner whose clock reads the last of `times`."""
    desk = Desk(state, (), "http://t", frozenset({"drain"}))
    return desk, ActionRunner(desk, [build(settings)], lambda: times[-1], httpx.Client())


def test_dry_run_is_the_default(state: SqliteState) -> None:
    """Nothing is called; the incident says what would have been."""
    with receiver() as server:
        desk, runner = parts(state, config(server.url), [NOW])
        desk.open(incident(), NOW, "drain")
        assert runner.run_once()
        assert server.got == []
        (run,) = desk.incident("inc1").actions
    assert run["dry_run"] is True
    assert run["would_call"]["url"].endswith("/cdn/b/weight")


def test_a_real_run_waits_for_approval_and_is_measured(state: SqliteState) -> None:
    """Approved, it calls once with the incident and its key; two minutes later its effect is on the incident."""
    times = [NOW]
    with receiver() as server:
        desk, runner = parts(state, config(server.url, dry_run=False), times)
        desk.open(incident(cohorts=[{"counterfactual": 0.008, "affected": 5, "share": 0.1, "lift": 6.0,
                                     "cohort": {"cdn": "b"}, "counterfactual_text": ""}]), NOW, "drain")  # fmt: skip
        assert runner.run_once() == []
        assert server.got == []
        (waiting,) = desk.incident("inc1").actions
        assert waiting["state"] == "waiting"
        runner.approve(waiting["id"], "ada")
        assert runner.run_once() == [waiting["id"]]
        assert runner.run_once() == []
        assert len(server.got) == 1
        body = json.loads(server.got[0].body)
        assert (server.got[0].path, body["weight"], body["cdn"]) == ("/cdn/b/weight", 0, "b")
        assert body["incident"]["incident"] == "inc1"
        assert server.got[0].headers["idempotency-key"] == waiting["id"]
        better = msgspec.structs.replace(EVIDENCE, value=0.009)
        desk.change("inc1", lambda stored: msgspec.structs.replace(stored, latest=better), NOW, None)
        times.append(NOW + EFFECT_AFTER_MS)
        runner.run_once()
    (run,) = desk.incident("inc1").actions
    assert (run["status"], run["state"]) == (200, "done")
    assert (run["before"]["cohort"], run["after"]["cohort"], run["after"]["others"]) == (0.05, 0.009, 0.008)


def test_a_failure_and_the_rate_limit_are_written(state: SqliteState) -> None:
    """A 500 is failed and not repeated; the third run within an hour is refused."""
    with receiver(lambda _: 500) as server:
        desk, runner = parts(state, config(server.url, dry_run=False, approval=False), [NOW])
        for number in range(3):
            desk.open(incident(f"inc{number}"), NOW, "drain")
            runner.run_once()
        assert len(server.got) == 2
    states = [desk.incident(f"inc{number}").actions[0]["state"] for number in range(3)]
    assert states == ["failed", "failed", "refused"]
    assert "rate limit" in desk.incident("inc2").actions[0]["error"]


def test_a_cohort_without_the_tag_is_refused(state: SqliteState) -> None:
    """An action that needs the CDN is not sent for an incident that names none."""
    with receiver() as server:
        desk, runner = parts(state, config(server.url, dry_run=False, approval=False), [NOW])
        desk.open(incident(cohort={"device": "tv"}), NOW, "drain")
        runner.run_once()
        assert server.got == []
    assert "needs the tag cdn" in desk.incident("inc1").actions[0]["error"]


def test_a_run_that_died_is_not_repeated(state: SqliteState) -> None:
    """Found under way after a restart: failed, outcome unknown."""
    desk, runner = parts(state, config("http://127.0.0.1:9", dry_run=False, approval=False), [NOW])
    desk.open(incident(), NOW, "drain")
    with state.transaction() as tx:
        (row,) = tx.actions(state="queued")
        tx.put_action(replace(row, state="running"))
    assert runner.recover() == 1
    assert runner.run_once() == []
    assert "outcome unknown" in desk.incident("inc1").actions[0]["error"]


def test_actions_are_checked(state: SqliteState) -> None:
    """Unknown keys are refused with the nearest known one; unknown runs and actions too."""
    with pytest.raises(ConfigError, match="did you mean dry_run"):
        build(config("http://x", dryrun=False))
    desk, runner = parts(state, config("http://x"), [NOW])
    with pytest.raises(InputError, match="none waits"):
        runner.approve("nope", "ada")
    desk.open(incident(), NOW)
    with pytest.raises(InputError, match="known: drain"):
        desk.queue_action("inc1", "purge", NOW, "ada")
    assert isinstance(ActionRow("a", "b", "c", "queued", 0).doc, dict)
