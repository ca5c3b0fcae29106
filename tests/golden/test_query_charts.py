"""Charts compared with blessed pictures, within a tolerance; `TOCSIN_BLESS=1` writes them anew, to be looked at."""

from __future__ import annotations

import io
import os
from pathlib import Path

import matplotlib.image as mpimg
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.api import router
from query.chart import DPI
from query.deps import QueryDeps
from tocsin.model.asl.lines import Lines
from tocsin.model.asl.memory import MemorySource
from tocsin.model.asl.source import Fetched, FetchRequest
from tocsin.model.asl.times import DAY, MINUTE

CHARTS = Path(__file__).with_name("charts")
END = 1_795_176_000_000
MEAN_DIFFERENCE_MAX = 2.0
"""Of 255, over all pixels and colours: fonts are hinted a little differently between machines."""
BLESS = os.environ.get("TOCSIN_BLESS") == "1"

S = "name,stalls,:eq"
BY_DEVICE = f"{S},(,device,),:by"
CASES: dict[str, dict[str, str]] = {
    "overlay_band": {"q": f"{S},:sum,:dup,1d,:offset", "band": "0.25", "title": "Stalls a second over the day before"},
    "overlay_weeks": {"q": f"{S},:sum,:dup,1d,:offset,{S},:sum,2d,:offset", "band": "minmax"},
    "overlay_dark": {"q": f"{S},:sum,:dup,1d,:offset", "band": "0.25", "title": "Stalls", "theme": "dark"},
    "alert_spans": {"q": f"{S},:sum,{S},:sum,60,:gt,:vspan,f00,:color,above 60,:legend"},
    "alert_signal": {"q": f"{S},:sum,:dup,60,:gt,:vspan,40,:alpha,triggered,:legend,60,:const,threshold,:legend"},
    "two_axes": {"q": f"{S},:sum,name,viewers,:eq,:sum,1,:axis", "ylabel.0": "stalls/s", "ylabel.1": "viewers"},
    "three_axes_dark": {
        "q": f"{S},:sum,name,viewers,:eq,:sum,1,:axis,name,gaps,:eq,:sum,2,:axis", "theme": "dark",
        "ylabel.0": "stalls/s", "ylabel.1": "viewers", "ylabel.2": "gaps", "scale.2": "log",
    },
    "axis_per_line": {"q": BY_DEVICE, "axis_per_line": "1"},
    "stack_light": {"q": f"{BY_DEVICE},:stack"},
    "stack_dark": {"q": f"{BY_DEVICE},:stack", "theme": "dark"},
    "area_log": {"q": f"{BY_DEVICE},:area,60,:alpha", "scale": "log"},
    "line_styles": {
        "q": f"{BY_DEVICE},3,:lw,$(device) at most $(atlas.max),:legend,{S},:sum,:area,30,:alpha,all $device,:legend",
    },
    "sorted_colour_blind": {"q": f"{BY_DEVICE},max,:sort,desc,:order", "palette": "okabe-ito"},
    "colour_blind_dark": {"q": BY_DEVICE, "palette": "okabe-ito", "theme": "dark"},
    "seen_by_deuteranopes": {"q": BY_DEVICE, "vision": "deuteranopia"},
    "heatmap": {"q": f"{S},(,device,node,),:by,:heatmap"},
    "heatmap_dark_log": {
        "q": f"{S},(,device,node,),:by,:heatmap", "theme": "dark", "scale": "log-linear", "heatmap_scale": "log",
        "heatmap_palette": "blues", "heatmap_label": "nodes",
    },
    "distribution": {"q": "name,startup,:eq,(,percentile,),:by,:heatmap,name,startup,:eq,(,90,),:percentiles"},
    "twice_as_large": {"q": f"{S},:sum", "zoom": "2", "w": "350", "h": "150"},
    "overlay_twice": {"q": f"{S},:sum,:dup,1d,:offset", "band": "0.25", "zoom": "2"},
    "several_zones": {"q": f"{S},:sum", "tz": "UTC,Asia/Tokyo,US/Pacific", "s": "e-2d"},
    "many_lines": {"q": f"{S},(,device,node,),:by", "s": "e-2d"},
    "narrow": {"q": f"{BY_DEVICE},$(device) has a legend that is too long for so narrow a chart,:legend", "w": "300"},
    "gaps_incomplete": {"q": "name,gaps,:eq,:sum", "no_legend_stats": "1"},
    "incomplete_dark": {"q": "name,gaps,:eq,:sum", "theme": "dark"},
    "bounds_durations": {"q": f"{S},:sum", "l": "0", "u": "120", "tick_labels": "duration"},
    "no_data": {"q": "name,nothing,:eq,:sum"},
    "only_graph": {"q": f"{S},:sum", "only_graph": "1"},
}  # fmt: skip


class _Incomplete(MemorySource):
    """Says that the last ten minutes of one series are not complete."""

    def fetch(self, request: FetchRequest) -> Fetched:
        """As in memory, with the remark."""
        lines: Lines = super().fetch(request).lines
        if "gaps" not in str(request.query):
            return Fetched(lines)
        return Fetched(lines, ("points from 11:51 on are not complete yet",), END - 9 * MINUTE)


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Three days of waves by device and node, with a burst of stalls in the last half hour."""
    source = _Incomplete()
    for back in range(3 * DAY // MINUTE):
        time_ms = END - back * MINUTE
        if back % 1440 > 240:
            continue
        wave = 10 + 4 * np.sin(time_ms / (40 * MINUTE))
        for i, device in enumerate(("phone", "tv", "web")):
            for node in range(4):
                burst = 8.0 if device == "tv" and back < 30 else 0.0
                tags = {"name": "stalls", "device": device, "node": f"n{node}"}
                source.put(tags, time_ms, float(wave / 4 + i + node / 4 + burst))
        for bucket in range(0x78, 0x82):
            source.put(
                {"name": "startup", "percentile": f"T{bucket:04X}"}, time_ms, max(0.0, wave - abs(bucket - 0x7D))
            )
        source.put({"name": "viewers"}, time_ms, 6_000 + 50 * float(wave))
        if back % 40 > 8 or back % 40 == 4:
            source.put({"name": "gaps"}, time_ms, float(wave))
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: END)))
    return TestClient(app)


def pixels(png: bytes) -> np.ndarray:
    """A picture as numbers from 0 to 255."""
    return np.asarray(mpimg.imread(io.BytesIO(png), format="png"))[..., :3] * 255.0


def request(name: str) -> list[tuple[str, str]]:
    """The parameters of a case; several zones are as many parameters."""
    params = {"s": "e-3h", "e": str(END), "tz": "UTC", **CASES[name]}
    return [(key, part) for key, text in params.items() for part in (text.split(",") if key == "tz" else [text])]


@pytest.mark.parametrize("name", CASES)
def test_chart_looks_as_blessed(client: TestClient, name: str) -> None:
    """The picture has the blessed one's size and differs little from it."""
    answer = client.get("/api/v1/graph", params=request(name))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    path = CHARTS / f"{name}.png"
    if BLESS:
        path.write_bytes(answer.content)
    drawn, blessed = pixels(answer.content), pixels(path.read_bytes())
    assert drawn.shape == blessed.shape
    assert np.abs(drawn - blessed).mean() < MEAN_DIFFERENCE_MAX


def test_a_wrong_picture_is_seen(client: TestClient) -> None:
    """The tolerance is small enough to tell two charts apart."""
    a, b = (pixels((CHARTS / f"{name}.png").read_bytes()) for name in ("overlay_weeks", "alert_spans"))
    rows = min(len(a), len(b))
    assert np.abs(a[:rows] - b[:rows]).mean() > MEAN_DIFFERENCE_MAX


def test_size_is_as_asked(client: TestClient) -> None:
    """The plot has the asked size with title and legend beside it; `layout=image` fits all of it in."""
    params = {"s": "e-3h", "e": str(END), "q": f"{S},:sum", "w": "500", "h": "200"}
    plain = pixels(client.get("/api/v1/graph", params=params).content)
    fitted = pixels(client.get("/api/v1/graph", params={**params, "layout": "image"}).content)
    assert plain.shape[1] == fitted.shape[1] == 500
    assert plain.shape[0] > 200
    assert fitted.shape[0] == 200
    assert DPI == 100


@pytest.mark.parametrize("band", ["0", "2", "wide"])
def test_bad_bands_are_refused(client: TestClient, band: str) -> None:
    """A band is a share or minmax."""
    answer = client.get("/api/v1/graph", params={"s": "e-3h", "e": str(END), "q": f"{S},:sum", "band": band})
    assert answer.status_code == 400
    assert "band must be" in answer.json()["message"]
