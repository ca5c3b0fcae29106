"""A query that is too big says which limit, how much it asks for, and what would fit: doing that succeeds at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import query_world as world

ROOT = Path(__file__).resolve().parents[2]
GRAPH = "/api/v1/graph"
BY_BOTH = "name,qoe.sps,:eq,:sum,(,cdn,device,),:by"
BY_DEVICE = "name,qoe.sps,:eq,:sum,(,device,),:by"
HEARTBEATS = {"q": "name,qoe.sps,:eq,:sum", "at": str((world.LAST - 2) * 60_000)}
CASES: dict[str, tuple[dict[str, int], str, dict[str, str], str]] = {
    "lines of a group": ({"lines": 3}, GRAPH, {"q": BY_BOTH}, "too many lines: 6 > 3; with (,device,),:by it has 3"),
    "lines of one key": (
        {"lines": 2}, GRAPH, {"q": BY_DEVICE}, "too many lines: 3 > 2; with the condition device,web,:lt it has 2",
    ),
    "points": ({"datapoints": 200}, GRAPH, {"q": BY_DEVICE}, "3 lines of 181 points are 543 > 200; step=3m fits"),
    "points by the hour": ({"datapoints": 18}, GRAPH, {"q": BY_DEVICE}, "step=1h fits"),
    "points of a stream": ({"datapoints": 200}, "/api/v2/fetch", {"q": BY_DEVICE}, "step=3m fits"),
    "cells": (
        {"cells": 900}, GRAPH, {"q": "name,qoe.sps,:eq,:max,(,cdn,device,),:by"}, "of cube cdn,device, at most 899",
    ),
    "raw heartbeats": (
        {"raw": 15}, GRAPH, {"q": "name,qoe.sps,:eq,:sum,(,os,),:by"}, "takes 20, at most 15 are read; s=e-121m fits",
    ),
    "keys without a cube": (
        {}, GRAPH, {"q": "name,qoe.sessions,:eq,:sum,(,os,cdn,),:by"}, "no cube has the keys cdn,os",
    ),
    "published": (
        {"published": 200}, GRAPH, {"q": "name,queue.depth,:eq,(,k,),:by"},
        "3 published series over 181 minutes are 543, at most 200",
    ),
    "an explanation": (
        {"explain": 7}, "/v1/explain", HEARTBEATS,
        "takes 10, at most 7 are read; with the condition os,ios,:eq it takes 6",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, Any]]]:
    """Each question, and the one that was advised, asked of an embedded store in a process of its own."""
    shared = {"s": "e-3h", "e": str(world.NOW_MS), "format": "json", "tz": "UTC"}
    cases = [
        (limits, path, {**(shared if path != "/v1/explain" else {}), **params})
        for limits, path, params, _ in CASES.values()
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.limits_world", str(tmp_path_factory.mktemp("limits"))],
        input=json.dumps(cases), capture_output=True, text=True, check=False, cwd=ROOT, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: [tuple(one) for one in many] for name, many in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_what_is_advised_fits(answers: dict[str, list[tuple[int, Any]]], name: str) -> None:
    """The first answer names limit and amount; what it advises is answered, with lines."""
    (status, refusal), *_, (status_then, body) = answers[name]
    assert status == 400
    assert CASES[name][3] in refusal["message"]
    assert status_then == 200, body
    assert len(answers[name]) == 2
    assert body.get("sessions_total") or body["legend"] != ["NO DATA"]
