"""Heat maps and what a request changes of a graph: cells, shades, ticks, axes, colours, errors as pictures."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.api import router
from query.deps import QueryDeps
from query.value_ticks import value_ticks
from query.vision import VISIONS, vision
from tocsin.model.asl.buckets import bucket_range
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.times import MINUTE

END = 1_795_176_000_000
PNG = b"\x89PNG"
BY_NODE = "name,load,:eq,(,node,),:by"


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Four nodes with the values 1, 1, 2 and 10, and one distribution: 6 in a bucket, 3 in the next."""
    source = MemorySource()
    for back in range(5):
        for node, value in enumerate((1.0, 1.0, 2.0, 10.0)):
            source.put({"name": "load", "node": f"n{node}"}, END - back * MINUTE, value)
        for bucket, value in (("D0008", 6.0), ("D0009", 3.0)):
            source.put({"name": "size", "percentile": bucket}, END - back * MINUTE, value)
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: END)))
    return TestClient(app)


def ask(client: TestClient, **params: str) -> list[dict[str, Any]]:
    """The items of a `v2.json` answer."""
    shared = {"s": "e-3m", "e": str(END), "format": "v2.json", "hints": "no-image"}
    answer = client.get("/api/v1/graph", params={**shared, **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def only(items: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The item of a kind."""
    (item,) = [item for item in items if item["type"] == kind]
    return item


def test_cells_count_lines_between_ticks(client: TestClient) -> None:
    """A line counts in the stretch between two ticks that its value lies in; a value on a tick in the upper one."""
    heat = only(ask(client, q=f"{BY_NODE},:heatmap"), "heatmap")
    assert heat["plot"] == 0
    assert [tick["max"] for tick in heat["yTicks"]] == pytest.approx([1 + i / 2 for i in range(19)])
    assert heat["yTicks"][0]["min"] == 1.0
    assert len(heat["data"]["values"]) == 3
    row = heat["data"]["values"][0]
    assert {i: count for i, count in enumerate(row) if count} == {1: 2.0, 3: 1.0, 19: 1.0}


def test_a_distribution_is_spread_over_the_cells_of_its_buckets(client: TestClient) -> None:
    """The values of percentile buckets are shared out by overlap, so that nothing is lost."""
    heat = only(ask(client, q="name,size,:eq,(,percentile,),:by,:heatmap"), "heatmap")
    low, high = bucket_range("D0008"), bucket_range("D0009")
    assert low is not None
    assert high is not None
    assert low[1] == high[0]
    assert sum(heat["data"]["values"][0]) == pytest.approx(9.0)
    edges = [low[0], *(tick["max"] for tick in heat["yTicks"]), high[1]]
    below = sum(c for c, upper in zip(heat["data"]["values"][0], edges[1:], strict=True) if upper <= low[1])
    assert below == pytest.approx(6.0)


def test_shades_follow_the_palette_and_the_bounds(client: TestClient) -> None:
    """One shade a colour of the palette, from the least count to the most or as bounded; the line's own by default."""
    heat = only(ask(client, q=f"{BY_NODE},:heatmap", heatmap_palette="(,f00,0f0,)", heatmap_u="5"), "heatmap")
    shades = [(tick["color"], tick["min"], tick["max"]) for tick in heat["colorTicks"]]
    assert shades == [("ffff0000", 1.0, 3.0), ("ff00ff00", 3.0, 5.0)]
    assert heat["upper"] == "5.0"
    faded = only(ask(client, q=f"{BY_NODE},:heatmap,f00,:color"), "heatmap")["colorTicks"]
    assert [tick["color"][:2] for tick in faded] == ["33", "66", "99", "cc", "ff"]


@pytest.mark.parametrize(
    ("low", "high", "scale", "ticks"),
    [
        (0.0, 4.0, "linear", {0: "0.0", 5: "1.0", 20: "4.0"}),
        (0.0, 30_000.0, "linear", {0: "0.0k", 5: "10.0k", 15: "30.0k"}),
        (1.0, 20.0, "log-linear", {0: "1.0", 1: "2.0", 9: "10.0", 10: "20.0"}),
        (0.0, 1e6, "log", {0: "0.0", 1: "10.0", 6: "1.0M"}),
        (-2.0, 2.0, "log-linear", {0: "-1.0"}),
    ],
)
def test_ticks_are_round(low: float, high: float, scale: str, ticks: dict[int, str]) -> None:
    """Round steps of the scale, within the range, with labels of one unit."""
    found = value_ticks(low, high, 5, scale)
    assert [value for value, _ in found] == sorted(value for value, _ in found)
    assert all(low <= value <= high for value, _ in found)
    assert {i: found[i][1] for i in ticks} == ticks


def test_vision_changes_colours_only(client: TestClient) -> None:
    """Red as somebody without red cones sees it; legend and values stay."""
    q = f"{BY_NODE},f00,:color"
    plain, seen = (
        [item for item in ask(client, q=q, vision=name) if item["type"] == "timeseries"]
        for name in ("normal", "protanopia")
    )
    assert {item["color"] for item in plain} == {"ffff0000"}
    assert {item["color"] for item in seen} == {"ff908e00"}
    assert [item["data"] for item in plain] == [item["data"] for item in seen]


@pytest.mark.parametrize("name", VISIONS)
def test_grey_stays_grey(name: str) -> None:
    """No kind of vision colours what has no colour; opacity is kept."""
    shade = vision(name)("80999999")
    parts = [int(shade[i : i + 2], 16) for i in (2, 4, 6)]
    assert shade[:2] == "80"
    assert all(abs(part - 0x99) <= 1 for part in parts)


def test_an_axis_a_line(client: TestClient) -> None:
    """Each line gets an axis with its own settings and colour; too many lines, or axes given, are said."""
    items = ask(client, q=BY_NODE, axis_per_line="1", **{"ylabel.2": "third"})
    axes = [item for item in items if item["type"] == "plot-metadata"]
    lines = [item for item in items if item["type"] == "timeseries"]
    assert [item["plot"] for item in lines] == [0, 1, 2, 3]
    assert [axis["axisColor"] for axis in axes] == [line["color"] for line in lines]
    assert axes[2]["ylabel"] == "third"
    many = ask(client, q=f"{BY_NODE},{BY_NODE}", axis_per_line="1")
    assert only(many, "graph-metadata")["warnings"] == ["Too many Y-axes, 8 > 5, axis per line disabled."]
    several = ask(client, q=f"{BY_NODE},{BY_NODE},1,:axis", axis_per_line="1")
    assert only(several, "graph-metadata")["warnings"] == ["axisPerLine cannot be used with explicit multi axis"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"vision": "x-ray"}, "unknown vision 'x-ray'"),
        ({"l": "5", "u": "5"}, "lower bound must be less than upper bound"),
        ({"heatmap_scale": "cubic"}, "unknown scale type 'cubic'"),
        ({"heatmap_l": "few"}, "axis bound heatmap_l must be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(client: TestClient, params: dict[str, str], said: str) -> None:
    """The answer says which parameter and what it may be."""
    answer = client.get("/api/v1/graph", params={"q": BY_NODE, "e": str(END), "format": "json", **params})
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_browsers_get_an_error_as_a_picture(client: TestClient) -> None:
    """Where a browser wants an image, the message is one; anybody else gets it as JSON with status 400."""
    params = {"q": "name,:nope", "e": str(END), "w": "400", "h": "120"}
    seen = client.get("/api/v1/graph", params=params, headers={"user-agent": "Mozilla/5.0"})
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/png")
    assert seen.content.startswith(PNG)
    assert int.from_bytes(seen.content[16:20]) == 400
    assert int.from_bytes(seen.content[20:24]) == 120
    for agent, form in (("curl/8", "png"), ("Mozilla/5.0", "json")):
        plain = client.get("/api/v1/graph", params={**params, "format": form}, headers={"user-agent": agent})
        assert plain.status_code == 400
        assert "nope" in plain.json()["message"]


def test_the_image_of_v2_json_is_the_chart(client: TestClient) -> None:
    """Without the hint `no-image` the picture comes first, with the same settings."""
    params = {"q": f"{BY_NODE},:heatmap", "s": "e-3m", "e": str(END)}
    first = client.get("/api/v1/graph", params={**params, "format": "v2.json"}).json()[0]
    picture = base64.b64decode(first["data"].removeprefix("data:image/png;base64,"))
    assert picture == client.get("/api/v1/graph", params=params).content
