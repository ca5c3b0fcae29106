"""Stack-language answers over heartbeat metrics equal pandas over the drawn cells, for questions drawn at random.

Every question is asked twice, the second time after heartbeats have come late and more minutes are folded: what is kept
of complete hours must not hide them.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.e2e import query_world as world

ROOT = Path(__file__).resolve().parents[2]
SEED = 20_261_124
QUESTIONS = 80
VALUES = {"cdn": ["a", "b"], "device": ["phone", "tv", "web"]}
WATCHED = ["rebuffer_ms", "playing_ms", "seek_wait_ms", "startup_wait_ms"]
METRICS: dict[str, tuple[list[str], list[str] | None]] = {
    "name,qoe.sps,:eq,{},:and,:sum": (["plays"], None),
    "name,qoe.plays,:eq,{},:and,:sum": (["plays"], None),
    "{},:rebuffer-ratio": (["rebuffer_ms"], WATCHED),
    "{},cirr,:rebuffer-ratio": (["rebuffer_ms"], ["rebuffer_ms", "playing_ms"]),
}
"""Expression over a condition: the parts that are summed, and those of the denominator (None: the seconds)."""


@dataclass(frozen=True)
class Question:
    """A question and what decides its answer."""

    expr: str
    step_min: int
    offset_min: int
    by: tuple[str, ...]
    cells: dict[str, list[str]]
    metric: str

    @property
    def params(self) -> dict[str, str]:
        """The request."""
        return {
            "q": self.expr, "s": "e-2h", "e": str(world.NOW_MS), "step": f"{self.step_min}m", "format": "json",
            "tz": "UTC",
        }  # fmt: skip


def _condition(rng: random.Random, key: str) -> tuple[str, list[str]]:
    """A condition on one key, and the values that it takes."""
    values = VALUES[key]
    one = rng.choice(values)
    some = rng.sample(values, rng.randint(1, len(values)))
    others = [value for value in values if value != one]
    return rng.choice(
        [
            (f"{key},{one},:eq", [one]),
            (f"{key},(,{','.join(some)},),:in", some),
            (f"{key},^({'|'.join(some)})$,:re", some),
            (f"{key},{one},:eq,:not", others),
            (f"{key},:has", values),
            (f"{key},{one},:gt", [value for value in values if value > one]),
        ]
    )


def _draw(rng: random.Random) -> Question:
    keys = rng.sample(sorted(VALUES), rng.randint(0, 2))
    conditions = {key: _condition(rng, key) for key in keys}
    where = ":true"
    for text, _ in conditions.values():
        where = f"{where},{text},:and"
    by = tuple(rng.sample(sorted(VALUES), rng.randint(0, 2)))
    offset_min = rng.choice([0, 0, 60, 120])
    metric = rng.choice(sorted(METRICS))
    expr = metric.format(where) + (f",(,{','.join(by)},),:by" if by else "")
    expr += f",{offset_min}m,:offset" if offset_min else ""
    taken = {key: values for key, (_, values) in conditions.items()}
    return Question(expr, rng.choice([1, 2, 5, 10, 30, 60]), offset_min, by, taken, metric)


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    """Questions of a fixed seed."""
    rng = random.Random(SEED)
    return [_draw(rng) for _ in range(QUESTIONS)]


@pytest.fixture(scope="module")
def answers(asked: list[Question], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, Any]]:
    """The answers to all questions, and then to all again, from an embedded store in a process of its own."""
    requests = [("/api/v1/graph", question.params) for question in asked]
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.query_world", str(tmp_path_factory.mktemp("cells"))],
        input=json.dumps([requests, requests]), capture_output=True, text=True, check=False, cwd=ROOT, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [(code, json.loads(text)) for code, text in json.loads(done.stdout.splitlines()[-1])]


def _expected(question: Question, cells: pd.DataFrame) -> pd.DataFrame:
    """Values by start of the interval (minute of the epoch) and group; intervals that lie in the data as a whole."""
    for key, values in question.cells.items():
        cells = cells[cells[key].isin(values)]
    start = (cells["minute"] + question.offset_min) // question.step_min * question.step_min
    sums = cells.assign(start=start).groupby(["start", *question.by])[[*world.PARTS]].sum()
    above, below = METRICS[question.metric]
    seconds = question.step_min * 60
    values = sums[above].sum(axis=1) / (seconds if below is None else sums[below].sum(axis=1))
    frame = values.unstack([*question.by]) if question.by else values.to_frame("all")
    shift = question.offset_min
    whole = (frame.index >= world.FIRST + shift) & (frame.index + question.step_min <= world.LAST + shift)
    return frame[whole]


def _found(question: Question, body: Any) -> pd.DataFrame:
    index = [(body["start"] + (i - 1) * body["step"]) // 60_000 for i in range(len(body["values"]))]
    assert body["step"] == question.step_min * 60_000
    columns: list[Any] = ["all"] * len(body["metrics"])
    if question.by:
        columns = [tuple(tags[key] for key in question.by) for tags in body["metrics"]]
        columns = [column if len(question.by) > 1 else column[0] for column in columns]
    frame = pd.DataFrame(body["values"], index=index).replace("NaN", np.nan).astype(float)
    frame.columns = pd.MultiIndex.from_tuples(columns) if question.by and len(question.by) > 1 else pd.Index(columns)
    return frame


def _check(question: Question, answer: tuple[int, Any], cells: pd.DataFrame) -> int:
    code, body = answer
    assert code == 200, (question.expr, body)
    expected = _expected(question, cells)
    if not len(expected):
        assert [tags["name"] for tags in body["metrics"]] == ([] if question.by else ["NO_DATA"]), question.expr
        return 0
    found = _found(question, body)
    shared = found.index.intersection(expected.index)
    assert set(found.columns) == set(expected.columns), question.expr
    got, want = found.loc[shared, expected.columns], expected.loc[shared]
    np.testing.assert_allclose(got.to_numpy(), want.to_numpy(), rtol=1e-9, err_msg=question.expr)
    return got.size


def test_answers_equal_pandas(asked: list[Question], answers: list[tuple[int, Any]]) -> None:
    """Filters, groupings, steps and offsets, each drawn anew."""
    cells = world.draw_cells()
    assert sum(_check(*pair, cells) for pair in zip(asked, answers[:QUESTIONS], strict=True)) > 10 * QUESTIONS


def test_late_heartbeats_and_new_folds_are_seen(asked: list[Question], answers: list[tuple[int, Any]]) -> None:
    """Asked again, the same questions have what has come since."""
    cells = pd.concat([world.draw_cells(), world.late_cells()])
    assert sum(_check(*pair, cells) for pair in zip(asked, answers[QUESTIONS:], strict=True)) > 10 * QUESTIONS
