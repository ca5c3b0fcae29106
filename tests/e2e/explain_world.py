"""A counted log to explain: late, repeated, sampled and silent sessions, through the runner and the folder.

Run as a program it counts the log into a new embedded store, answers requests and prints them: `explain_world.py
FOLDER` reads a JSON list of [path, params] from standard input and prints the list of [status, body]. A path that is
`tocsin` is the command with the values of `params` as its arguments, of which [exit status, output] is printed; one
that is `store` takes statements for the store.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from query.api import router
from query.deps import QueryDeps
from query.explain_api import Explainer
from query.source import StoreSource
from streaming_jobs.fold import Folder
from tests.cli_support import run, serving
from tests.e2e.test_jobs_store import PARTITIONS, Line
from tests.jobs_runner import open_store, run_until
from tests.jobs_world import SETTINGS
from tocsin.adapters.store.port import Store
from tocsin.model.cubes import DEFAULT_CUBES

SEED, SESSIONS = 7, 30


def main(folder: Path, requests: Sequence[tuple[str, list[tuple[str, str]]]]) -> list[tuple[int, Any]]:
    """Count, fold what is final, and answer."""
    line = Line(folder, SEED, SESSIONS)
    store = open_store(folder)
    run_until(line.runner(store), line.ends)
    Folder(store, PARTITIONS, SETTINGS)()
    source = StoreSource(store, DEFAULT_CUBES, lambda: line.now_ms)
    app = FastAPI()
    deps = QueryDeps(source, source, lambda: line.now_ms)
    app.include_router(router(deps, Explainer(store, source, SETTINGS.lateness_ms)))
    with serving(app) as url:
        answers = [_answer(store, url, path, params, folder) for path, params in requests]
    store.close()
    line.log.close()
    return answers


def _answer(store: Store, url: str, path: str, params: list[tuple[str, str]], folder: Path) -> tuple[int, Any]:
    if path == "store":
        for _, statement in params:
            store.command(statement)
        return 0, None
    if path == "tocsin":
        done = run(*(value for _, value in params), "--server", url, cwd=folder)
        return done.returncode, done.stdout + done.stderr
    answer = httpx.get(url + path, params=httpx.QueryParams([(k, v) for k, v in params]))
    return answer.status_code, answer.json()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.load(sys.stdin))))
