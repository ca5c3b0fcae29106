"""A small world of cells for the tests of the store's source: drawn once, written as jobs and folds would leave it.

Run as a program it fills a new embedded store and answers requests: `query_world.py FOLDER` reads two JSON lists of
[path, params] from standard input, those to ask at once and those to ask again after more points have come, and prints
the list of [status, body].
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.api import router
from query.deps import QueryDeps
from query.source import StoreSource
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.model.cubes import Cube
from tocsin.model.heartbeat import BATCH_COLUMNS

NOW_MS = 1_795_176_600_000
LAST = NOW_MS // 60_000
MINUTES = 240
FIRST = LAST - MINUTES
FOLDED_UNTIL = LAST - 60
IN_DELTAS_FROM = LAST - 120
WEEK = 7 * 1440
CUBES = (Cube(()), Cube(("cdn", "device")), Cube(("title", "cdn")))
PARTS = ("playing_ms", "rebuffer_ms", "seek_wait_ms", "startup_wait_ms", "plays", "startup_ms", "n")
WATERMARK_MS = NOW_MS - 60_000
_SERIES_SCHEMA = pa.schema(
    [("log_partition", pa.uint16()), ("start_offset", pa.int64()), ("append_day", pa.date32()),
     ("ordinal", pa.int64()), ("name", pa.string()), ("series_id", pa.uint64()),
     ("tags", pa.map_(pa.string(), pa.string())), ("type", pa.string()), ("ts_ms", pa.int64()),
     ("value", pa.float64())]
)  # fmt: skip


def draw_cells(seed: int = 7) -> pd.DataFrame:
    """Cells by minute, cdn and device, with sums, a maximum and a histogram of two buckets."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [range(FIRST, LAST), ["a", "b"], ["tv", "web", "phone"]], names=["minute", "cdn", "device"]
    )
    frame = pd.DataFrame({part: rng.integers(1, 2_000, len(index)) for part in PARTS}, index=index).reset_index()
    frame["av_absmax_ms"] = rng.integers(0, 500, len(frame))
    frame["low"], frame["high"] = rng.integers(0, 9, len(frame)), rng.integers(0, 9, len(frame))
    return frame


def late_cells() -> pd.DataFrame:
    """What heartbeats that come late add to two minutes that are not folded yet."""
    late = draw_cells(seed=8)
    return late[late["minute"].isin([IN_DELTAS_FROM + 70, LAST - 2])]


def last_week(cells: pd.DataFrame) -> pd.DataFrame:
    """Hours of the week before, for the cube without keys: of those no minute is kept."""
    total = cells.groupby("minute")[[*PARTS]].sum()
    total["hour"] = (total.index // 60) * 60 - WEEK
    return total.groupby("hour").sum() * 3


def _cube(cells: pd.DataFrame, keys: Sequence[str], name: str) -> pd.DataFrame:
    how = {**dict.fromkeys(PARTS, "sum"), "av_absmax_ms": "max", "low": "sum", "high": "sum"}
    found = cells.groupby(["minute", *keys]).agg(how).reset_index()
    return found.assign(cube=name)


def _table(frame: pd.DataFrame, extra: Mapping[str, Any]) -> pa.Table:
    columns: dict[str, Any] = {
        "cube": pa.array(frame["cube"].tolist()),
        "minute": pa.array(
            [dt.datetime.fromtimestamp(int(m) * 60, dt.UTC) for m in frame["minute"]], pa.timestamp("s", "UTC")
        ),
    }
    for key in ("cdn", "device"):
        if key in frame:
            columns[key] = pa.array(frame[key].tolist())
    for part in (*PARTS, "av_absmax_ms"):
        if part in frame:
            columns[part] = pa.array(frame[part].astype("int64").tolist())
    if "low" in frame:
        maps = [[(90, int(low)), (120, int(high))] for low, high in zip(frame["low"], frame["high"], strict=True)]
        columns["startup_hist"] = pa.array(maps, pa.map_(pa.uint16(), pa.int64()))
    for name, value in extra.items():
        columns[name] = pa.array([value] * len(frame))
    return pa.table(columns)


def fill(store: ClickHouseStore) -> None:
    """Fold the older minutes (some twice, one cut short), leave the newer in deltas (an hour of them in both), and put
    hours of the week before."""
    cells = draw_cells()
    frames = [_cube(cells, keys, name) for keys, name in (((), "all"), (("cdn", "device"), "cdn,device"))]
    day = dt.datetime.fromtimestamp(NOW_MS // 1000, dt.UTC).date()
    bucket = {
        "log_partition": 0, "start_offset": 0, "end_offset": 10, "append_ms": WATERMARK_MS, "append_day": day,
    }  # fmt: skip
    deltas = []
    for frame in frames:
        store.insert("minutes", _table(frame[frame["minute"] < FOLDED_UNTIL], {}))
        store.insert("minutes", _table(frame[frame["minute"] < FOLDED_UNTIL].head(50), {}))
        cut_short = frame[frame["minute"] == FOLDED_UNTIL].assign(plays=1)
        store.insert("minutes", _table(cut_short, {}))
        deltas.append(frame[frame["minute"] >= IN_DELTAS_FROM])
    store.command(f"INSERT INTO folds VALUES ('minutes', {(FOLDED_UNTIL - 1) * 60}, 1)")
    ledger = pd.DataFrame({"cube": ["ledger"], "minute": [LAST - 1]})
    for frame in (*deltas, ledger):
        store.insert("deltas", _table(frame, bucket))
    hours = last_week(cells).reset_index().rename(columns={"hour": "minute"}).assign(cube="all")
    store.insert("hours", _table(hours, {}))
    _fill_raw(store, bucket)
    _fill_published(store, day)


def _fill_raw(store: ClickHouseStore, bucket: Mapping[str, Any]) -> None:
    minute = dt.datetime.fromtimestamp((LAST - 3) * 60, dt.UTC)
    rows = [
        {
            **dict.fromkeys(BATCH_COLUMNS, 0), **{k: v for k, v in bucket.items() if k != "end_offset"},
            "row_kind": "unique", "minute": minute, "session_id": f"session-{i}", "os": "ios" if i % 3 else "android",
            "cdn": "a", "startup_ms": 100 * i, "sample_k": 2, "playing_ms": 10_000, "rebuffer_ms": 100 * i,
        }
        for i in range(10)
    ]  # fmt: skip
    store.insert("heartbeats", pa.Table.from_pylist(rows))


def _fill_published(store: ClickHouseStore, day: dt.date) -> None:
    gauge = [(0, 1.0), (30_000, 2.0), (61_000, 5.0)]
    rates = [(1_000, 2.0), (30_000, 4.0)]
    sums = [(1_000, 2.0), (30_000, 4.0)]
    base = NOW_MS - 300_000
    points = [
        ("queue.depth", kind, i, at, value)
        for i, (kind, values) in enumerate((("gauge", gauge), ("rate", rates), ("sum", sums)))
        for at, value in values
    ]
    rows = [
        {
            "log_partition": 0, "start_offset": 0, "append_day": day, "ordinal": n, "name": name, "series_id": i + 1,
            "tags": [("k", kind), ("place", "Köln / Süd")], "type": kind, "ts_ms": base + at, "value": value,
        }
        for n, (name, kind, i, at, value) in enumerate(points)
    ]  # fmt: skip
    rows.append(
        {**rows[0], "name": "artwork.missing", "series_id": 99, "tags": [("title", "t1")], "type": "gauge",
         "ts_ms": NOW_MS - 90_000_000, "value": 1.0}
    )  # fmt: skip
    store.insert("series", pa.Table.from_pylist(rows, _SERIES_SCHEMA))


def grow(store: ClickHouseStore) -> None:
    """What comes later: heartbeats that are late, half an hour more of folds, and points."""
    day = dt.datetime.fromtimestamp(NOW_MS // 1000, dt.UTC).date()
    bucket = {
        "log_partition": 0, "start_offset": 11, "end_offset": 20, "append_ms": WATERMARK_MS, "append_day": day,
    }  # fmt: skip
    until = FOLDED_UNTIL + 30
    for keys, name in (((), "all"), (("cdn", "device"), "cdn,device")):
        store.insert("deltas", _table(_cube(late_cells(), keys, name), bucket))
        cells = pd.concat([draw_cells(), late_cells()])
        due = cells[(cells["minute"] >= FOLDED_UNTIL) & (cells["minute"] < until)]
        store.insert("minutes", _table(_cube(due, keys, name), {}))
    store.command(f"INSERT INTO folds VALUES ('minutes', {(until - 1) * 60}, 1)")
    _grow_published(store)


def _grow_published(store: ClickHouseStore) -> None:
    """Later points of the same log: one of a minute long past, a correction, a series that was not there."""
    base, day = NOW_MS - 300_000, dt.datetime.fromtimestamp(NOW_MS // 1000, dt.UTC).date()
    late = [("gauge", 1, base - 7_200_000, 8.0), ("gauge", 1, base + 61_000, 6.0), ("new", 7, base, 3.0)]
    rows = [
        {
            "log_partition": 0, "start_offset": 50, "append_day": day, "ordinal": n,
            "name": "queue.depth", "series_id": series, "tags": [("k", k), ("place", "Köln / Süd")], "type": "gauge",
            "ts_ms": time_ms, "value": value,
        }
        for n, (k, series, time_ms, value) in enumerate(late)
    ]  # fmt: skip
    store.insert("series", pa.Table.from_pylist(rows, _SERIES_SCHEMA))


def main(
    folder: Path, requests: Sequence[tuple[str, Mapping[str, str]]], again: Sequence[tuple[str, Mapping[str, str]]]
) -> list[tuple[int, str]]:
    """Fill a new store and answer requests; then let more points come and answer the others."""
    store = ClickHouseStore(f"chdb://{folder / 'store'}")
    fill(store)
    clock = [NOW_MS]
    source = StoreSource(store, CUBES, lambda: clock[0])
    app = FastAPI()
    app.include_router(router(QueryDeps(source, source, lambda: NOW_MS)))
    client = TestClient(app)
    answers = [client.get(path, params=dict(params)) for path, params in requests]
    grow(store)
    clock[0] += 5_000
    answers += [client.get(path, params=dict(params)) for path, params in again]
    store.close()
    return [(answer.status_code, answer.text) for answer in answers]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *json.load(sys.stdin))))
