"""The query stage's routes: parameters, formats, paging, streams and errors."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.api import router
from query.deps import QueryDeps
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.times import MINUTE

END = 1_795_176_000_000
Q = "name,a,:eq,(,device,),:by"
STRIP = "name,a,:eq,device,tv,:eq,:and,(,device,),:by"


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Routes over three devices and three hours; one device has gaps and an infinite value."""
    source = MemorySource()
    for i in range(180):
        for device, value in (("tv", float(i)), ("web", 2.0 * i), ("pc", float("inf") if i == 1 else 1.0)):
            if device != "pc" or i % 2:
                source.put({"name": "a", "device": device, "city": "Köln / Süd"}, END - i * MINUTE, value)
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: END)))
    return TestClient(app)


def graph(client: TestClient, **params: str) -> tuple[int, str]:
    """Status and body of a graph."""
    answer = client.get("/api/v1/graph", params={"e": str(END), "s": "e-3m", "format": "json", **params})
    return answer.status_code, answer.text


def test_values_that_are_no_numbers_are_texts(client: TestClient) -> None:
    """NaN and Infinity are quoted, so that any JSON reader takes them."""
    _, text = graph(client, q="name,a,:eq,device,pc,:eq,:and,:sum")
    assert json.loads(text)["values"] == [["NaN"], ["Infinity"], ["NaN"]]


def test_csv_quotes_legends_and_times(client: TestClient) -> None:
    """A row a point in the first time zone, six decimals."""
    _, text = graph(client, q="name,a,:eq,device,web,:eq,:and,:sum", format="csv", tz="US/Eastern")
    assert text.splitlines() == [
        '"timestamp","a"',
        "2026-11-20T06:58:00-05:00,4.000000",
        "2026-11-20T06:59:00-05:00,2.000000",
        "2026-11-20T07:00:00-05:00,0.000000",
    ]


def test_v2_has_what_a_chart_needs(client: TestClient) -> None:
    """Graph, axes and lines with colours, styles, identities and remarks."""
    q = f"{Q},:area,:stat-count,3,:gt,:filter,name,a,:eq,:sum,1,:axis"
    code, text = graph(client, q=q, format="v2.json", hints="no-image", title="$name", **{"ylabel.1": "stalls"})
    assert code == 200
    head, left, right, *lines = json.loads(text)
    assert (head["type"], head["title"], head["step"]) == ("graph-metadata", "a", MINUTE)
    assert (left["id"], left["axisColor"]) == (0, lines[0]["color"])
    assert right["ylabel"] == "stalls"
    assert [(i["type"], i["plot"]) for i in lines] == [
        ("timeseries", 0),
        ("timeseries", 0),
        ("message", 0),
        ("timeseries", 1),
    ]
    assert lines[0]["lineStyle"] == "AREA"
    assert len({line["id"] for line in lines if "id" in line}) == 3
    assert lines[2]["label"] == "... 2 of 3 lines matched filter ..."


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({}, 400, "missing required parameter 'q'"),
        ({"q": "name,a,:eq,:summ"}, 400, "did you mean ':sum'?"),
        ({"q": Q, "format": "gif"}, 404, "format 'gif'"),
        ({"q": Q, "w": "0"}, 400, "w must be"),
        ({"q": Q, "w": "many"}, 400, "w must be a whole number"),
        ({"q": Q, "step": "0"}, 400, "invalid duration"),
        ({"q": Q, "theme": "pink"}, 400, "invalid theme"),
        ({"q": Q, "palette": "reds1"}, 400, "did you mean 'reds'"),
        ({"q": Q, "scale": "lgo"}, 400, "unknown scale type"),
        ({"q": Q, "u": "x"}, 400, "axis bound u"),
        ({"q": Q, "zoom": "99"}, 400, "zoom must be"),
        ({"q": Q, "layout": "wall"}, 400, "unknown layout"),
        ({"q": Q, "tick_labels": "roman"}, 400, "acceptable values"),
        ({"q": Q, "tz": "Mars/One"}, 400, "unknown time zone"),
        ({"q": Q, "cq": "a,b"}, 400, "invalid cq"),
        ({"q": Q, "s": "e+1h"}, 400, "end time is before start time"),
    ],
)
def test_bad_requests(client: TestClient, params: dict[str, str], code: int, message: str) -> None:
    """What cannot be used is an error of the caller that says what and why."""
    found, text = graph(client, **params)
    assert found == code
    body = json.loads(text)
    assert body["type"] == "error"
    assert message in body["message"]


def test_error_carries_token_and_position(client: TestClient) -> None:
    """Editors can underline the token that is wrong."""
    _, text = graph(client, q="name,a,:eq,:nope")
    body = json.loads(text)
    assert (body["token"], body["position"]) == (":nope", 11)


def test_tags_come_page_by_page(client: TestClient) -> None:
    """A full page names the offset of the next; the last page has none."""
    first = client.get("/api/v1/tags/device", params={"limit": "2"})
    assert (first.json(), first.headers["x-atlas-next-offset"]) == (["pc", "tv"], "tv")
    second = client.get("/api/v1/tags/device", params={"limit": "2", "offset": "tv"})
    assert second.json() == ["web"]
    assert "x-atlas-next-offset" not in second.headers


def test_tags_by_query_and_as_text(client: TestClient) -> None:
    """A query narrows values; text and counts are there on request; any text may be a value."""
    assert client.get("/api/v1/tags").json() == ["city", "device", "name"]
    assert client.get("/api/v1/tags/city", params={"q": "device,tv,:eq"}).json() == ["Köln / Süd"]
    verbose = client.get("/api/v1/tags/device", params={"verbose": "1", "format": "txt"}).text
    assert verbose.splitlines() == ["device\tpc\t1", "device\ttv\t1", "device\tweb\t1"]


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "x"}, {"q": "a,b"}, {"q": "name,a,:eq,:sum"}])
def test_bad_tag_requests(client: TestClient, params: dict[str, str]) -> None:
    """A limit that is no positive number and a query that is none are refused."""
    assert client.get("/api/v1/tags/device", params=params).status_code == 400


def events(client: TestClient, **params: str) -> list[dict[str, object]]:
    """The events of a fetch."""
    text = client.get("/api/v2/fetch", params={"e": str(END), **params}).text
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


def test_fetch_streams_chunks_of_an_hour(client: TestClient) -> None:
    """A range over an hour's edge comes in pieces; words that look back see the whole range."""
    found = events(client, q="name,a,:eq,device,tv,:eq,:and,:sum,:integral", s="e-90m", step="1m")
    assert [e["type"] for e in found] == ["info", "timeseries", "timeseries", "close"]
    first, second = found[1], found[2]
    assert first["end"] == second["start"]
    values = [*first["data"]["values"], *second["data"]["values"]]  # type: ignore[index]
    assert len(values) == 90
    assert values == sorted(values)


def test_fetch_reports_errors_in_the_stream(client: TestClient) -> None:
    """An expression that cannot be evaluated ends the stream with its error; one that cannot be read is a 400."""
    found = events(client, q="name,a,:eq,(,device,),:by,e,s,:time-span,:mul", s="e-5m")
    assert [e["type"] for e in found][-2:] == ["error", "close"]
    assert client.get("/api/v2/fetch", params={"q": ":nope"}).status_code == 400


@pytest.mark.parametrize(
    ("path", "params", "expected"),
    [
        ("normalize", {"q": "cdn,b,:eq,name,a,:eq,:and,$x,:legend"}, ["name,a,:eq,cdn,b,:eq,:and,:sum,$(x),:legend"]),
        ("queries", {"q": "name,a,:eq,:avg,name,b,:eq,:max"}, ["name,a,:eq", "name,b,:eq"]),
        (
            "strip",
            {"q": f"{STRIP},:stat-max,5,:gt,:filter,f00,:color", "k": "device", "r": "style"},
            ["name,a,:eq,:sum,(,device,),:by,:stat-max,5.0,:const,:gt,:filter"],
        ),
        (
            "rewrite",
            {"q": "name,a,:eq,:sum,(,0h,1w,),:offset"},
            ["Query0,name,a,:eq,:sum,:set,Query0,:get,Query0,:get,1w,:offset"],
        ),
    ],
)
def test_forms_of_an_expression(client: TestClient, path: str, params: dict[str, str], expected: list[str]) -> None:
    """Canonical form, queries, stripped form, and the newer spelling of offsets."""
    assert client.get(f"/api/v1/expr/{path}", params=params).json() == expected


def test_completion_offers_words_that_fit(client: TestClient) -> None:
    """After a query the aggregates and ratio words fit, arithmetic on two lines does not."""
    names = {w["name"] for w in client.get("/api/v1/expr/complete", params={"q": "name,a,:eq"}).json()}
    assert {"sum", "avg", "rebuffer-ratio"} <= names
    assert not {"div", "dup", "topk"} & names


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"q": "a,b", "vocab": "std"}, 200),
        ({"q": "a,b", "vocab": "query"}, 400),
        ({"q": "a", "vocab": "no"}, 404),
        ({}, 400),
    ],
)
def test_debug_knows_vocabularies(client: TestClient, params: dict[str, str], code: int) -> None:
    """What must be on the stack at the end depends on the vocabulary."""
    assert client.get("/api/v1/expr/debug", params=params).status_code == code
