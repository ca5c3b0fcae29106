"""Any values in any style, scale and size can be drawn: no request that is well formed fails."""

from __future__ import annotations

import math

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from query.api import router
from query.deps import QueryDeps
from query.params import LAYOUTS, SCALES, TICK_LABELS
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.times import MINUTE

END = 1_795_176_000_000
POINTS = 30
VALUES = {
    "negative": lambda i: -10.0 - i,
    "mixed": lambda i: float(i % 7 - 3),
    "zero": lambda _i: 0.0,
    "huge": lambda i: 1e250 * (1 + i % 3),
    "tiny": lambda i: 1e-15 * (i % 5),
    "infinite": lambda i: math.inf if i % 5 == 0 else float(i),
    "wide": lambda i: 10.0 ** (i % 12),
    "lone": lambda i: 3.0 if i == 3 else math.nan,
}
STYLES = ("line", "area", "stack", "heatmap", "vspan")


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Series of each kind of values, which are buckets of a distribution, too."""
    source = MemorySource()
    for name, value in VALUES.items():
        for back in range(POINTS):
            for k in range(3):
                tags = {"name": name, "k": str(k), "percentile": f"T{0x40 + k:04X}"}
                source.put(tags, END - back * MINUTE, value(back) * (1 + k))
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: END)))
    return TestClient(app)


LOOKS = st.fixed_dictionaries(
    {
        "scale": st.sampled_from(sorted(SCALES)),
        "heatmap_scale": st.sampled_from(sorted(SCALES)),
        "tick_labels": st.sampled_from(TICK_LABELS),
        "layout": st.sampled_from(sorted(LAYOUTS)),
        "w": st.sampled_from(["1", "30", "300"]),
        "h": st.sampled_from(["1", "40", "200"]),
        "only_graph": st.sampled_from(["0", "1"]),
        "axis_per_line": st.sampled_from(["0", "1"]),
        "l": st.sampled_from(["auto-style", "auto-data", "-5", "3"]),
        "u": st.sampled_from(["auto-style", "auto-data", "4", "1e9"]),
    }
)


@given(
    names=st.tuples(*[st.sampled_from(sorted(VALUES))] * 2),
    by=st.sampled_from(["k", "percentile"]),
    style=st.sampled_from(STYLES),
    look=LOOKS,
)
@settings(max_examples=80, deadline=None)
def test_it_is_drawn(client: TestClient, names: tuple[str, str], by: str, style: str, look: dict[str, str]) -> None:
    """Two axes, one in a style, the other as a line."""
    q = f"name,{names[0]},:eq,(,{by},),:by,{style},:ls,name,{names[1]},:eq,:sum,1,:axis"
    params = {"q": q, "s": f"e-{POINTS}m", "e": str(END), "band": "minmax", **look}
    answer = client.get("/api/v1/graph", params=params)
    assert answer.status_code == 200, (params, answer.text)
    assert answer.content.startswith(b"\x89PNG")
