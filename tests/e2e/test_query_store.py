"""The store as a source of series: every table, each minute once, equal to sums taken from the drawn cells."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.e2e import query_world as world

ROOT = Path(__file__).resolve().parents[2]
R, P, S, K = "rebuffer_ms", "playing_ms", "seek_wait_ms", "startup_wait_ms"

GRAPHS: dict[str, dict[str, str]] = {
    "sps": {"q": "name,qoe.sps,:eq,:sum"},
    "sps by device": {"q": "name,qoe.sps,:eq,:sum,(,device,),:by"},
    "sps of one cdn": {"q": "name,qoe.sps,:eq,cdn,b,:eq,:and,:sum"},
    "sps of a pattern": {"q": "name,qoe.sps,:eq,cdn,(b|z)(?!x),:re,:and,:sum"},
    "sps of others": {"q": "name,qoe.sps,:eq,cdn,a,:eq,:not,:and,:sum"},
    "sps by the hour": {"q": "name,qoe.sps,:eq,:sum", "step": "1h"},
    "sps summed": {"q": "name,qoe.sps,:eq,:sum,:cf-sum", "step": "10m"},
    "sps peak": {"q": "name,qoe.sps,:eq,:sum,:cf-max", "step": "10m"},
    "largest cell": {"q": "name,qoe.sps,:eq,(,cdn,),:by,:max"},
    "cells": {"q": "name,qoe.sps,:eq,device,:has,:and,:count"},
    "concurrent": {"q": "name,qoe.concurrent,:eq,:sum"},
    "ratio": {"q": "cdn,b,:eq,:rebuffer-ratio,(,device,),:by"},
    "ratio cirr": {"q": ":true,cirr,:rebuffer-ratio"},
    "ratio a week before": {"q": ":true,:rebuffer-ratio,1w,:offset"},
    "start-up mean": {"q": ":true,:startup-time"},
    "start-up percentile": {"q": "name,qoe.startup,:eq,(,device,),:by,(,50,),:percentiles"},
    "largest offset": {"q": "name,qoe.av_offset.absmax,:eq,:max,(,device,),:by"},
    "raw": {"q": "name,qoe.sps,:eq,:sum,(,os,),:by"},
    "raw ratio": {"q": "os,ios,:eq,cirr,:rebuffer-ratio"},
    "raw too old": {"q": "name,qoe.sps,:eq,:sum,(,os,),:by,3w,:offset"},
    "raw sessions": {"q": "name,qoe.sessions,:eq,:sum,(,os,),:by"},
    "published": {"q": "name,queue.depth,:eq,(,k,),:by"},
    "published longer step": {"q": "name,queue.depth,:eq,(,k,),:by", "step": "5m"},
    "published text": {"q": "place,Köln / Süd,:eq,:count"},
    "on change": {"q": "name,artwork.missing,:eq,:max,(,title,),:by"},
    "nothing": {"q": "name,qoe.nope,:eq,:sum"},
}
TAGS: dict[str, tuple[str, dict[str, str]]] = {
    "keys": ("/api/v1/tags", {}),
    "devices": ("/api/v1/tags/device", {"q": "cdn,(a|z),:re"}),
    "places": ("/api/v1/tags/place", {}),
    "statistics": ("/api/v1/tags/statistic", {}),
}
AGAIN: dict[str, dict[str, str]] = {
    "published again": {"q": "name,queue.depth,:eq,(,k,),:by"},
    "published again before": {"q": "name,queue.depth,:eq,(,k,),:by", "s": "e-4h"},
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, Any]]:
    """All questions, asked once of an embedded store in a process of its own."""
    shared = {"s": "e-3h", "e": str(world.NOW_MS), "format": "json", "tz": "UTC"}
    requests = [("/api/v1/graph", {**shared, **params}) for params in GRAPHS.values()] + [*TAGS.values()]
    again = [("/api/v1/graph", {**shared, **params}) for params in AGAIN.values()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.query_world", str(tmp_path_factory.mktemp("query"))],
        input=json.dumps([requests, again]), capture_output=True, text=True, check=False, cwd=ROOT, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: (code, json.loads(text)) for name, (code, text) in zip([*GRAPHS, *TAGS, *AGAIN], found, strict=True)}


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """The cells as they were drawn."""
    return world.draw_cells()


def values(answers: Mapping[str, tuple[int, Any]], name: str) -> pd.DataFrame:
    """An answer as a frame: index minutes of the interval's start, one column a legend."""
    code, body = answers[name]
    assert code == 200, body
    step = body["step"]
    index = [(body["start"] + i * step - step) // 60_000 for i in range(len(body["values"]))]
    return pd.DataFrame(body["values"], index=index, columns=body["legend"]).replace("NaN", np.nan).astype(float)


def by_minute(cells: pd.DataFrame, part: str, *keys: str) -> pd.DataFrame:
    """Sums of a part by minute (and keys as columns)."""
    found = cells.groupby(["minute", *keys])[part].sum()
    return found.unstack([*keys]) if keys else found.to_frame(part)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The three hours that the graphs show."""
    return frame.loc[world.LAST - 180 :]


def test_minutes_come_once_from_folds_and_deltas(answers: Any, cells: pd.DataFrame) -> None:
    """Folded minutes, minutes in both tables and recent ones give the drawn sums as rates per second."""
    expected = shown(by_minute(cells, "plays")) / 60
    np.testing.assert_allclose(values(answers, "sps").to_numpy(), expected.to_numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "where"),
    [("sps of one cdn", "b"), ("sps of a pattern", "b"), ("sps of others", "b")],
)
def test_conditions_on_tags(answers: Any, cells: pd.DataFrame, name: str, where: str) -> None:
    """Equality, patterns that the store does not know, and negation take the same cells."""
    expected = shown(by_minute(cells[cells["cdn"] == where], "plays")) / 60
    np.testing.assert_allclose(values(answers, name).to_numpy(), expected.to_numpy(), rtol=1e-12)


def test_groups(answers: Any, cells: pd.DataFrame) -> None:
    """One line a device."""
    expected = shown(by_minute(cells, "plays", "device")) / 60
    found = values(answers, "sps by device")
    np.testing.assert_allclose(found[expected.columns].to_numpy(), expected.to_numpy(), rtol=1e-12)


def test_longer_steps(answers: Any, cells: pd.DataFrame) -> None:
    """An hour averages its minutes; `:cf-sum` and `:cf-max` take their sum and maximum."""
    rate = by_minute(cells, "plays")["plays"] / 60
    hours = rate.groupby(rate.index // 60 * 60).mean()
    found = values(answers, "sps by the hour").iloc[:, 0]
    np.testing.assert_allclose(found.to_numpy()[1:], hours.loc[found.index[1:]].to_numpy(), rtol=1e-12)
    tens = rate.groupby(rate.index // 10 * 10)
    for name, expected in (("sps summed", tens.sum()), ("sps peak", tens.max())):
        found = values(answers, name).iloc[:, 0]
        np.testing.assert_allclose(found.to_numpy(), expected.loc[found.index].to_numpy(), rtol=1e-12)


def test_extremes_and_counts_speak_of_cells(answers: Any, cells: pd.DataFrame) -> None:
    """`:max` over a grouping by CDN takes the larger CDN, and `:count` the cells of the cube that serves."""
    expected = shown(by_minute(cells, "plays", "cdn")).max(axis=1) / 60
    np.testing.assert_allclose(values(answers, "largest cell").iloc[:, 0].to_numpy(), expected.to_numpy(), rtol=1e-12)


def test_ratios_by_definition(answers: Any, cells: pd.DataFrame) -> None:
    """The default definition and the named one, by device and over all."""
    b = cells[cells["cdn"] == "b"]
    total = sum(by_minute(b, part, "device") for part in (R, P, S, K))
    expected = shown(by_minute(b, R, "device") / total)
    found = values(answers, "ratio")
    np.testing.assert_allclose(found[expected.columns].to_numpy(), expected.to_numpy(), rtol=1e-12)
    stalled, played = by_minute(cells, R)[R], by_minute(cells, P)[P]
    np.testing.assert_allclose(
        values(answers, "ratio cirr").iloc[:, 0].to_numpy(),
        shown((stalled / (stalled + played)).to_frame())[0],
        rtol=1e-12,
    )


def test_hours_stand_for_minutes_that_are_gone(answers: Any, cells: pd.DataFrame) -> None:
    """A week before only hours are kept: each of their minutes shows the hour's ratio."""
    hours = world.last_week(cells)
    ratio = hours[R] / (hours[R] + hours[P] + hours[S] + hours[K])
    found = values(answers, "ratio a week before").iloc[:, 0]
    expected = [ratio[(minute - world.WEEK) // 60 * 60] for minute in found.index]
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-9)


def test_viewers_at_once(answers: Any, cells: pd.DataFrame) -> None:
    """Concurrent viewers are watched time over time."""
    total = sum(by_minute(cells, part).iloc[:, 0] for part in (R, P, S, K))
    found = values(answers, "concurrent").iloc[:, 0]
    np.testing.assert_allclose(found.to_numpy(), shown((total / 60_000).to_frame())[0].to_numpy(), rtol=1e-12)


def test_distributions(answers: Any, cells: pd.DataFrame) -> None:
    """The mean start-up comes from sums, percentiles from the histograms of the cells, in seconds."""
    mean = by_minute(cells, "startup_ms")["startup_ms"] / by_minute(cells, "plays")["plays"]
    found = values(answers, "start-up mean").iloc[:, 0]
    np.testing.assert_allclose(found.to_numpy(), shown(mean.to_frame())[0].to_numpy(), rtol=1e-12)
    code, body = answers["start-up percentile"]
    assert code == 200
    assert {m["device"] for m in body["metrics"]} == {"tv", "web", "phone"}
    assert np.nanmax(values(answers, "start-up percentile").to_numpy()) < 10


def test_maxima(answers: Any, cells: pd.DataFrame) -> None:
    """A part that merges by maximum is a gauge of the largest value."""
    expected = shown(cells.groupby(["minute", "device"])["av_absmax_ms"].max().unstack())
    found = values(answers, "largest offset")
    np.testing.assert_allclose(found[expected.columns].to_numpy(), expected.to_numpy())


def test_raw_heartbeats_serve_where_no_cube_does(answers: Any) -> None:
    """Keys outside every cube are answered from raw heartbeats, weighted by the sampling, and it is said."""
    found = values(answers, "raw").loc[world.LAST - 3]
    assert found["android"] == pytest.approx(2 * 4 / 60)
    assert found["ios"] == pytest.approx(2 * 6 / 60)
    assert any("declaring the cube 'os'" in notice for notice in answers["raw"][1]["notices"])
    stalled = 100 * sum(i for i in range(10) if i % 3)
    assert values(answers, "raw ratio").loc[world.LAST - 3].iloc[0] == pytest.approx(stalled / (stalled + 60_000))


@pytest.mark.parametrize("name", ["raw too old", "raw sessions"])
def test_refusal_names_the_cube_to_declare(answers: Any, name: str) -> None:
    """What neither a cube nor raw heartbeats can answer is refused with the remedy."""
    code, body = answers[name]
    assert code == 400
    assert "declare the cube 'os'" in body["message"]


def test_incomplete_points_are_marked(answers: Any) -> None:
    """Points after the watermark are said to be incomplete, for heartbeats only."""
    body = answers["sps"][1]
    complete = (world.WATERMARK_MS - 30_000) // 60_000 * 60_000
    assert body["incompleteFrom"] == complete + 60_000
    assert any("not complete yet" in notice for notice in body["notices"])
    assert answers["published"][1]["notices"] == []


def test_published_points_merge_by_type(answers: Any) -> None:
    """Of a gauge the last point of a minute counts, rates are means over time, amounts added; text tags are free."""
    found = values(answers, "published").iloc[-6:-3]
    assert found["gauge"].tolist()[:2] == [1.0, 2.0]
    assert found["gauge"].tolist()[2] == 5.0
    assert found["rate"].tolist() == pytest.approx([59 * 2 / 60, (2 + 29 * 4) / 60, np.nan], nan_ok=True)
    assert found["sum"].tolist()[1] == 6.0
    longer = values(answers, "published longer step")
    assert longer["gauge"].dropna().tolist()[-1] == 3.5
    assert longer["rate"].dropna().tolist() == pytest.approx([59 * 2 / 60 / 5, (2 + 29 * 4) / 60 / 5])
    assert answers["published text"][1]["values"][-5] == [3.0]


def test_points_that_come_later_are_seen(answers: Any) -> None:
    """A back-filled point, a correction and a new series show although the days were read before."""
    found = values(answers, "published again")
    assert found["gauge"].dropna().tolist() == [8.0, 1.0, 2.0, 6.0]
    assert found["new"].dropna().tolist() == [3.0]
    assert values(answers, "published")["gauge"].dropna().tolist() == [1.0, 2.0, 5.0]
    assert values(answers, "published again before")["gauge"].dropna().tolist() == [8.0, 1.0, 2.0, 6.0]


def test_series_written_on_change_hold_their_value(answers: Any) -> None:
    """The last value before the range is carried into it."""
    assert set(values(answers, "on change")["t1"]) == {1.0}


def test_nothing_is_no_error(answers: Any) -> None:
    """A name that does not exist is one line without values."""
    code, body = answers["nothing"]
    assert code == 200
    assert body["metrics"] == [{"atlas.offset": "0w", "name": "NO_DATA"}]


def test_tags(answers: Any) -> None:
    """Keys and values come from cubes and published series."""
    keys = answers["keys"][1]
    assert {"cdn", "device", "title", "name", "statistic", "place", "k"} <= set(keys)
    assert answers["devices"][1] == ["phone", "tv", "web"]
    assert answers["places"][1] == ["Köln / Süd"]
    assert answers["statistics"][1] == ["count", "percentile", "totalTime"]
