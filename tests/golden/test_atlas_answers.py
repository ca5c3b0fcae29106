"""Answers that Netflix Atlas 1.9 gave to a recorded data set, asked again of our routes over the same points."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.api import router
from query.deps import QueryDeps
from tocsin.model.asl.memory import MemorySource

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "atlas"
CASES = sorted((GOLDEN / "cases").glob("*.json"))
NOW_MS = 1_795_176_600_000

pytestmark = pytest.mark.skipif(not CASES, reason="the recorded answers are not beside this checkout")


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Our routes over the recorded points."""
    data = json.loads((GOLDEN / "input.json").read_text())
    source = MemorySource()
    source.put_many(({**data["tags"], **m["tags"]}, m["timestamp"], m["value"]) for m in data["metrics"])
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: NOW_MS)))
    return TestClient(app)


def parse(path: str, params: Mapping[str, str], text: str) -> Any:
    """An answer as the recording has it: events as a list, tables as text, anything else as JSON."""
    if path == "/api/v2/fetch":
        events = [line.strip() for line in text.split("\n") if line.strip()]
        return [json.loads(e.removeprefix("data:")) if e.startswith("data:") else e for e in events]
    if params.get("format") in ("csv", "txt"):
        return text
    body = json.loads(text)
    if isinstance(body, list):
        return [item for item in body if not (isinstance(item, dict) and item.get("type") == "graph-image")]
    return body


def same(a: Any, b: Any) -> bool:
    """Equal, numbers to 1e-9."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    if numbers and not isinstance(a, bool) and not isinstance(b, bool):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    return bool(a == b)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_answer_is_that_of_atlas(client: TestClient, case: Path) -> None:
    """Every recorded question gets the recorded status and, where it is no error, the recorded answer."""
    recorded = json.loads(case.read_text())
    answer = client.get(recorded["path"], params=recorded["params"])
    assert answer.status_code == recorded["status"], answer.text
    if answer.status_code < 400:
        assert same(recorded["response"], parse(recorded["path"], recorded["params"], answer.text))
        assert answer.headers["content-type"].partition(";")[0] == recorded["content_type"].partition(";")[0]
        assert answer.headers.get("x-atlas-next-offset") == recorded["next_offset"]
