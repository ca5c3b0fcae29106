"""What the store must answer, worked out in pandas from what was sent, by other means than the jobs use.

Nothing here imports the jobs or the catalogue: measures, moments and buckets are written out again. An entry of
queries.yaml names a frame of `frames`, `where` (column: value) and `by` (columns; minutes are epoch seconds) if wanted,
and its `values`, each one of:

* `count`, `weight` (Σ sample_k), `sum X`, `weighted X` (Σ X × sample_k), `max X`, `distinct X`;
* `rate S X`: weighted sum per S seconds; `ratio F A+B / C+D`: F × weighted sums;
* `percentile P X`: of the weighted values X >= 0 ms, in seconds, linear within its bucket;
* `buckets X`: percentile bucket -> Σ sample_k of the values X >= 0, as sorted pairs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

MINUTE_MS = 60_000
NS_PER_MS = 1_000_000
OUTCOMES = ("", "completed", "quit", "failed", "start_failed", "exit_before_start", "timeout")
IDENTITY = [
    "title", "kind", "stream", "mode", "format", "cdn", "player", "player_version", "app", "device", "os", "network",
    "region", "isp",
]  # fmt: skip


def frames(rows: pd.DataFrame, sent: list[np.ndarray[Any, np.dtype[np.int64]]]) -> dict[str, pd.DataFrame]:
    """The frames that queries aggregate.

    sent: each heartbeat as often as it was sent. counted: once each, those in time. late: once each, the others.
    units: session-minutes of one tag set. sessions: playbacks of the counted heartbeats.
    """
    derived = _derive(rows)
    every = derived.iloc[np.concatenate(sent)]
    unique = every.drop_duplicates(["session_id", "seq", "minute"])
    counted = unique[unique["fate"] == "aggregated"]
    uncounted = unique[unique["fate"] != "aggregated"]
    ledger = {
        "received": len(every),
        "duplicates": len(every) - len(unique),
        "unique": len(unique),
        "aggregated": len(counted),
        "late": int((unique["fate"] == "late").sum()),
        "future": int((unique["fate"] == "future").sum()),
        "quarantined": 0,
    }
    return {
        "ledger": pd.DataFrame([ledger]),
        "sent": every,
        "unique": unique,
        "counted": counted,
        "late": uncounted,
        "units": _units(counted),
        "sessions": _sessions(counted),
    }


def _derive(rows: pd.DataFrame) -> pd.DataFrame:
    got = rows.copy()
    outcome = got["outcome"].map(lambda code: OUTCOMES[code])
    got["minute"] = got["ts_ms"] // MINUTE_MS * 60
    got["hour"] = got["ts_ms"] // (60 * MINUTE_MS) * 3600
    got["heartbeats"] = 1
    got["attempts"] = (got["seq"] == 0).astype(int)
    got["plays"] = (got["startup_ms"] >= 0).astype(int)
    got["startup_taken_ms"] = got["startup_ms"].clip(lower=0)
    got["ended"] = (outcome != "").astype(int)
    for name in ("completed", "failed", "start_failed"):
        got[name] = (outcome == name).astype(int)
    got["quits"] = (outcome == "quit").astype(int)
    waited = got["startup_wait_ms"] >= 1_000
    got["exits_before_start"] = ((outcome == "exit_before_start") & waited & (got["error_fatal"] == 0)).astype(int)
    got["errors"] = got["error_count"]
    got["lag_ms"] = (got["received_ms"] - got["ts_ms"]).clip(lower=0)
    got["outcome_name"] = outcome
    got["no_error"] = ""
    return got


def _units(counted: pd.DataFrame) -> pd.DataFrame:
    raw = ["playing_ms", "rebuffer_ms", "seek_wait_ms", "startup_wait_ms", "bits_kb", "media_ms", "req_err_n", "req_n"]
    units = counted.groupby(["session_id", "minute", *IDENTITY], as_index=False)[raw].sum()
    units["n"] = 1
    units["no_error"] = ""
    watched = units["playing_ms"] + units["rebuffer_ms"] + units["seek_wait_ms"] + units["startup_wait_ms"]
    ratios = {
        "rebuffer": (units["rebuffer_ms"], watched),
        "bitrate": (units["bits_kb"] // 100, units["media_ms"] // 100),
        "request": (units["req_err_n"], units["req_n"]),
    }
    for name, (x, y) in ratios.items():
        units[f"{name}_k"] = (x > 0).astype(int)
        units[f"{name}_sx"], units[f"{name}_sy"] = x, y
        units[f"{name}_sxx"], units[f"{name}_syy"], units[f"{name}_sxy"] = x * x, y * y, x * y
    return units


def _sessions(counted: pd.DataFrame) -> pd.DataFrame:
    groups = counted.sort_values("seq").groupby("session_id")
    sums = groups[["heartbeats", "playing_ms", "rebuffer_ms", "rebuffer_count", "bits_kb", "error_count"]].sum()
    sums["outcome"] = groups["outcome_name"].max()
    sums["startup_ms"] = groups["startup_ms"].max()
    return sums.reset_index()


def answer(entry: Mapping[str, Any], all_frames: Mapping[str, pd.DataFrame]) -> list[tuple[Any, ...]]:
    """The rows that the entry's SQL must return: keys first, then the values in their order."""
    frame = all_frames[entry["frame"]]
    for column, value in entry.get("where", {}).items():
        frame = frame[frame[column] == value]
    by = list(entry.get("by", ()))
    if not by:
        return [tuple(_value(wanted, frame) for wanted in entry["values"])]
    groups = frame.groupby(by, sort=True)
    rows = [(*key, *(_value(wanted, group) for wanted in entry["values"])) for key, group in groups]
    # A line of the stack language has no point where there is no value.
    return [row for row in rows if not math.isnan(row[-1])] if "expr" in entry else rows


def _value(wanted: str, group: pd.DataFrame) -> Any:
    kind, _, rest = wanted.partition(" ")
    if kind == "rate":
        seconds, name = rest.split()
        return _weighted(group, name) / float(seconds)
    if kind == "ratio":
        factor, _, formula = rest.partition(" ")
        over, under = (sum(_weighted(group, name) for name in side.strip().split("+")) for side in formula.split("/"))
        return float(factor) * over / under if under else float("nan")
    if kind == "percentile":
        share, name = rest.split()
        return _percentile(int(share), _buckets(group, name))
    simple: dict[str, Callable[[], Any]] = {
        "count": lambda: len(group),
        "weight": lambda: int(group["sample_k"].sum()),
        "sum": lambda: int(group[rest].sum()),
        "weighted": lambda: _weighted(group, rest),
        "max": lambda: int(group[rest].max()),
        "distinct": lambda: int(group[rest].nunique()),
        "buckets": lambda: _buckets(group, rest),
    }
    return simple[kind]()


def _weighted(group: pd.DataFrame, name: str) -> int:
    return int((group[name] * group["sample_k"]).sum())


def _buckets(group: pd.DataFrame, column: str) -> list[tuple[int, int]]:
    counts: dict[int, int] = {}
    for value_ms, weight in zip(group[column].tolist(), group["sample_k"].tolist(), strict=True):
        if value_ms >= 0:
            bucket = bisect_right(_BOUNDS, value_ms * NS_PER_MS)
            counts[bucket] = counts.get(bucket, 0) + weight
    return sorted(counts.items())


def _percentile(percent: int, buckets: list[tuple[int, int]]) -> float:
    """Seconds below which a share of the counts lies, counting a bucket's values as spread evenly over it."""
    wanted_100 = percent * sum(count for _, count in buckets)
    below = 0
    for bucket, count in buckets:
        if 100 * (below + count) >= wanted_100:
            low = _BOUNDS[bucket - 1] if bucket else 0
            return (low + (wanted_100 / 100 - below) / count * (_BOUNDS[bucket] - low)) / 1e9
        below += count
    return float("nan")


def _percentile_bounds() -> list[int]:
    """Spectator's PercentileBuckets as its documentation gives them: each power of four cut in steps of a third."""
    bounds = [1, 2, 3]
    power = 4
    while power < 4**31:
        step = power // 3
        bounds += list(range(power, 4 * power - step, step))
        power *= 4
    return [*bounds, 2**63 - 1]


_BOUNDS = _percentile_bounds()
