"""Asks an embedded store for too much, follows what the answer says, and asks again.

Run as a program: `limits_world.py FOLDER` reads a JSON list of [limits, path, params] from standard input and prints
for each the list of [status, body], the last of which is the answer to what was advised.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

import query.cells
import query.explain_reads
import query.raw
from query.api import router
from query.deps import QueryDeps
from query.explain_api import Explainer
from query.source import StoreSource
from tests.e2e import query_world as world
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.asl.source import Limits

ADVICE_MAX = 3
CHANGES = {
    "s": re.compile(r"\bs=(\S+) fits"),
    "step": re.compile(r"\bstep=(\S+) fits"),
    "by": re.compile(r"with (\(,\S+,\),:by) it has"),
    "keys": re.compile(r"use fewer keys: one has (\S+)"),
    "condition": re.compile(r"with the condition (\S+,:\w+) it"),
}


def advised(params: dict[str, str], message: str) -> dict[str, str]:
    """The parameters with the first change that a message names."""
    for name, pattern in CHANGES.items():
        found = pattern.search(message)
        if found and name == "by":
            return {**params, "q": re.sub(r"\(,\S+?,\),:by", found[1], params["q"])}
        if found and name == "keys":
            return {**params, "q": re.sub(r"\(,\S+?,\),:by", f"(,{found[1]},),:by", params["q"])}
        if found and name == "condition":
            return {**params, "q": re.sub(r",:(sum|all)\b", f",{found[1]},:and,:\\1", params["q"], count=1)}
        if found:
            return {**params, name: found[1]}
    raise ValueError(f"no advice in: {message}")


def main(folder: Path, cases: list[tuple[dict[str, int], str, dict[str, str]]]) -> list[list[tuple[int, Any]]]:
    """Fill a store; each case has limits of its own."""
    store = ClickHouseStore(f"chdb://{folder / 'store'}")
    world.fill(store)
    store.command("INSERT INTO heartbeats SELECT * REPLACE (minute - INTERVAL 2 HOUR AS minute) FROM heartbeats")
    answers = []
    for limits, path, params in cases:
        query.cells.CELLS_MAX = limits.get("cells", 4_000_000)
        query.raw.ROWS_MAX = limits.get("raw", 3_000_000)
        query.explain_reads.ROWS_MAX = limits.get("explain", 1_000_000)
        source = StoreSource(store, world.CUBES, lambda: world.NOW_MS)
        source._published_series._kept_max = limits.get("published", 40_000_000)
        most = Limits(limits.get("lines", 1_024), limits.get("datapoints", 500_000))
        app = FastAPI()
        deps = QueryDeps(source, source, lambda: world.NOW_MS, limits=most)
        app.include_router(router(deps, Explainer(store, source, 900_000)))
        answers.append(_follow(TestClient(app), path, params))
    store.close()
    return answers


def _follow(client: TestClient, path: str, params: dict[str, str]) -> list[tuple[int, Any]]:
    found = []
    for _ in range(ADVICE_MAX):
        answer = client.get(path, params=params)
        status, body = (answer.status_code, answer.json()) if "fetch" not in path else _of_stream(answer.text)
        found.append((status, body))
        if status != 400:
            break
        params = advised(params, body["message"])
    return found


def _of_stream(text: str) -> tuple[int, Any]:
    """A stream's lines as the legend of a graph; an error in it as the answer that graph would give."""
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
    errors = [event for event in events if event["type"] == "error"]
    return (400, errors[0]) if errors else (200, {"legend": [e["label"] for e in events if "label" in e]})


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.load(sys.stdin))))
