"""Every definition of every metric is a word that gives its formula, with filters, groups and offsets."""

from __future__ import annotations

import math
import random

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.api import router
from query.deps import QueryDeps
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.times import HOUR
from tocsin.model.catalogue import METRICS, PREFIX, Combination, Definition, Metric

END = 1_795_176_000_000
CELLS = [(cdn, device) for cdn in ("a", "b") for device in ("tv", "web")]
DEFINITIONS = [(metric, name) for metric in METRICS.values() if metric.word for name in metric.definitions]


def combinations(definition: Definition) -> list[Combination]:
    """Numerator, denominator, and the mean's numerator where there is one."""
    return [definition.numerator, definition.denominator, definition.mean]


PARTS = sorted({part for metric, name in DEFINITIONS for c in combinations(metric.definitions[name]) for part in c})


@pytest.fixture(scope="module")
def amounts() -> dict[tuple[str, str, str], float]:
    """An amount for each part, CDN and device; sums of squares are large, as those of real offsets are."""
    rng = random.Random(5)
    return {
        (part, *cell): rng.uniform(1.0, 100.0) * (1e6 if "sumsq" in part else 1.0) for part in PARTS for cell in CELLS
    }


@pytest.fixture(scope="module")
def client(amounts: dict[tuple[str, str, str], float]) -> TestClient:
    """Each part as its series: an hour ago as drawn, now the double of every other part."""
    source = MemorySource()
    for (part, cdn, device), amount in amounts.items():
        tags = {"name": PREFIX + part, "cdn": cdn, "device": device}
        source.put(tags, END - HOUR, amount)
        source.put(tags, END, amount * (1 + PARTS.index(part) % 2))
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: END)))
    return TestClient(app)


def expected(definition: Definition, sums: dict[str, float]) -> float:
    """A definition from the sums of its parts, written out once more."""
    above, below, mean = (sum(f * sums[part] for part, f in c.items()) for c in combinations(definition))
    if definition.form == "sd":
        return definition.scale * math.sqrt(above / below - (mean / below) ** 2)
    return definition.scale * above / below


@pytest.mark.parametrize(("metric", "name"), DEFINITIONS, ids=[f"{m.name}-{name}" for m, name in DEFINITIONS])
def test_definition_is_its_formula(
    client: TestClient, amounts: dict[tuple[str, str, str], float], metric: Metric, name: str
) -> None:
    """By device of one CDN, now and an hour before; the first definition needs no name."""
    definition = metric.definitions[name]
    word = f"cdn,b,:eq,{name},:{metric.word},(,device,),:by"
    q = f"{word},{word},1h,:offset"
    if name == next(iter(metric.definitions)):
        q += f",cdn,b,:eq,:{metric.word},(,device,),:by"
    answer = client.get("/api/v1/graph", params={"q": q, "s": "e-1m", "e": str(END), "format": "json"})
    assert answer.status_code == 200, answer.text
    found = dict(zip(map(tuple_of, answer.json()["metrics"]), answer.json()["values"][0], strict=True))
    for device in ("tv", "web"):
        before = {part: amounts[part, "b", device] for part in PARTS}
        now = {part: amount * (1 + PARTS.index(part) % 2) for part, amount in before.items()}
        assert found[device, "0w"] == pytest.approx(expected(definition, now), rel=1e-9)
        assert found[device, "1h"] == pytest.approx(expected(definition, before), rel=1e-9)


def tuple_of(tags: dict[str, str]) -> tuple[str, str]:
    """What tells the lines of an answer apart."""
    return tags["device"], tags["atlas.offset"]
