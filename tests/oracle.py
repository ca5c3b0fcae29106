"""What counting must come to, from the heartbeats as sent, in plain Python and pandas: shares no code with the jobs.

Input is the log as a list of `Sent`: append time and heartbeat (a flat dict of numbers, `outcome` by name, `error` and
tag values by key), in log order. Every measure, moment and distribution is written out again here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MINUTE_MS = 60_000
TAGS = (
    "title", "kind", "stream", "mode", "format", "cdn", "player", "player_version", "app", "device", "os", "network",
    "region", "isp",
)  # fmt: skip
CUBES: dict[str, tuple[str, ...]] = {
    "all": (), "title,cdn": ("title", "cdn"), "region,isp": ("region", "isp"), "device,app": ("device", "app"),
    "cdn,device": ("cdn", "device"), "cdn,region": ("cdn", "region"), "stream": ("stream",),
    "error,player": ("error", "player"),
}  # fmt: skip
PLAIN_SUMS = (
    "av_n", "av_sum_ms", "av_sumsq_ms2", "req_n", "req_err_n", "req_ms_sum", "req_kb", "latency_n", "latency_sum_ms",
    "media_ms", "bits_kb", "upshift_count", "downshift_count", "frames_dropped", "frames_total", "freeze_ms",
    "playing_ms", "rebuffer_ms", "seek_wait_ms", "paused_ms", "ad_ms", "rebuffer_count", "seek_count",
    "startup_wait_ms",
)  # fmt: skip
WATCHING = ("playing_ms", "rebuffer_ms", "seek_wait_ms", "startup_wait_ms")
RATIOS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "av": ("av_sum_ms", ("av_n",), 1),
    "request": ("req_err_n", ("req_n",), 1),
    "bitrate": ("bits_kb", ("media_ms",), 100),
    "dropped": ("frames_dropped", ("frames_total",), 1),
    "freeze": ("freeze_ms", ("playing_ms",), 1),
    "rebuffer": ("rebuffer_ms", WATCHING, 1),
}
Cell = tuple[str, int, tuple[str, ...]]
"""Cube name, minute (epoch minutes), values of the cube's keys."""


class Sent(NamedTuple):
    """One heartbeat as it stands in the log."""

    append_ms: int
    heartbeat: Mapping[str, Any]


class Rules(NamedTuple):
    """The settings of counting, milliseconds."""

    bucket_ms: int = 5_000
    lateness_ms: int = 900_000
    future_ms: int = 60_000
    timeout_ms: int = 120_000

    @property
    def horizon_ms(self) -> int:
        return self.lateness_ms + MINUTE_MS + self.future_ms


class Answer(NamedTuple):
    """`cells`: every cell's measures that are not 0 (distributions as dicts); `ledger`: counts; `endings`: (session,
    minute, +1 timed out or -1 came back) in order."""

    cells: dict[Cell, dict[str, Any]]
    ledger: dict[str, int]
    endings: list[tuple[str, int, int]]


def answer(sent: Sequence[Sent], ticks_ms: Iterable[int] = (), rules: Rules | None = None) -> Answer:
    """Everything the store must hold after the log `sent` and ticks appended at `ticks_ms`."""
    rules = rules or Rules()
    frame = _frame(sent, rules)
    timely = frame[frame["kind"] == "in time"].drop_duplicates(["session_id", "seq", "sent_minute"]).copy()
    timely["expected"] = _expected(timely, rules)
    astray = frame[frame["kind"] != "in time"].drop_duplicates(["session_id", "seq", "sent_minute"])
    endings = _endings(timely, frame, ticks_ms, rules)
    ledger = {
        "received": len(frame), "duplicates": len(frame) - len(timely) - len(astray),
        "unique": len(timely) + len(astray), "aggregated": len(timely),
        "late": int((astray["kind"] == "late").sum()), "future": int((astray["kind"] == "future").sum()),
    }  # fmt: skip
    events = _events(timely, endings)
    units = _units(timely)
    cells: dict[Cell, dict[str, Any]] = {}
    for cube, keys in CUBES.items():
        _sum_cube(cube, keys, events, units, cells)
    return Answer(cells, ledger, [(str(e["session_id"]), int(e["minute"]), int(e["sign"])) for e in endings])


def _frame(sent: Sequence[Sent], rules: Rules) -> pd.DataFrame:
    frame = pd.DataFrame([{**one.heartbeat, "append_ms": one.append_ms} for one in sent])
    frame["event_ms"] = frame["ts_ms"] + frame["shift_ms"]
    frame["minute"] = frame["event_ms"] // MINUTE_MS
    frame["sent_minute"] = frame["ts_ms"] // MINUTE_MS
    frame["open_from"] = (frame["append_ms"] - rules.lateness_ms) // MINUTE_MS
    late = frame["event_ms"] < frame["append_ms"] - rules.lateness_ms
    future = frame["event_ms"] > frame["append_ms"] + rules.future_ms
    frame["kind"] = np.where(late, "late", np.where(future, "future", "in time"))
    return frame


def _expected(timely: pd.DataFrame, rules: Rules) -> list[int]:
    rises: list[int] = []
    seen: dict[str, list[tuple[int, int]]] = {}
    columns = [timely[name] for name in ("session_id", "seq", "minute", "open_from")]
    for session, seq, minute, open_from in zip(*columns, strict=True):
        known = [old for old, of in seen.setdefault(session, []) if of >= open_from]
        if known:
            rises.append(max(0, seq - max(known)))
        else:
            rises.append(seq + 1 if seq < 64 else 1)
        seen[session].append((seq, minute))
    return rises


def _endings(timely: pd.DataFrame, frame: pd.DataFrame, ticks_ms: Iterable[int], rules: Rules) -> list[dict[str, Any]]:
    """Sessions that time out and come back, bucket by bucket."""
    heartbeats = {at: rows.to_dict("records") for at, rows in timely.groupby("append_ms")}
    times = sorted({*frame["append_ms"].tolist(), *ticks_ms})
    found: list[dict[str, Any]] = []
    alive: dict[str, dict[str, Any]] = {}
    previous_end = -(10**18)
    for index, at in enumerate(times):
        for heartbeat in heartbeats.get(at, []):
            _active(heartbeat, at, alive, previous_end - rules.horizon_ms, found)
        if index + 1 < len(times) and times[index + 1] // rules.bucket_ms == at // rules.bucket_ms:
            continue
        for session, one in sorted(alive.items()):
            if one["out"] is None and one["ended"] is None and one["at"] + rules.timeout_ms <= at:
                one["out"] = (one["at"] + rules.timeout_ms) // MINUTE_MS
                found.append({**one["tags"], "session_id": session, "minute": one["out"], "sign": 1})
        previous_end = at
    return found


def _active(
    heartbeat: dict[str, Any], at: int, alive: dict[str, dict[str, Any]], remembered: int, found: list[dict[str, Any]]
) -> None:
    session, seq = heartbeat["session_id"], heartbeat["seq"]
    one = alive.get(session)
    if one is not None and one["at"] < remembered:
        one = None
    if one is not None and one["ended"] is not None and seq < one["ended"]:
        return
    if one is not None and one["out"] is not None and one["out"] >= heartbeat["open_from"]:
        found.append({**one["tags"], "session_id": session, "minute": one["out"], "sign": -1})
    tags = {key: heartbeat[key] for key in (*TAGS, "sample_k")}
    alive[session] = {"at": at, "ended": seq if heartbeat["outcome"] else None, "out": None, "tags": tags}


def _events(timely: pd.DataFrame, endings: list[dict[str, Any]]) -> pd.DataFrame:
    """Weighted sums, one row a heartbeat or ending."""
    events = timely[[*TAGS, "error", "minute", "av_absmax_ms", "sample_k"]].copy()
    k = timely["sample_k"]
    for name in (*PLAIN_SUMS, "expected"):
        events[name] = timely[name] * k
    outcome = timely["outcome"]
    fatal = timely["error_fatal"] == 1
    flags = {
        "heartbeats": timely["seq"] >= 0, "attempts": timely["seq"] == 0, "plays": timely["startup_ms"] >= 0,
        "ended": outcome != "", "completed": outcome == "completed", "quits": outcome == "quit",
        "failed": outcome == "failed", "start_failed": outcome == "start_failed", "timeouts": outcome == "timeout",
        "exits_before_start": (outcome == "exit_before_start") & (timely["startup_wait_ms"] >= 1_000) & ~fatal,
    }  # fmt: skip
    for name, flag in flags.items():
        events[name] = flag.astype("int64") * k
    events["errors"] = timely["error_count"] * k
    events["startup_ms"] = timely["startup_ms"].clip(lower=0) * k
    events["startup_bucket"] = [_bucket(ms) for ms in timely["startup_ms"]]
    lag = (timely["received_ms"] - timely["event_ms"]).clip(lower=0)
    events["lag_ms"] = lag * k
    events["lag_bucket"] = [_bucket(ms) for ms in lag]
    ended = pd.DataFrame(endings)
    if not len(ended):
        return events
    ended["ended"] = ended["timeouts"] = ended["sign"] * ended["sample_k"]
    ended["error"] = ""
    both = pd.concat([events, ended.drop(columns=["sign", "session_id"])], ignore_index=True)
    both[["startup_bucket", "lag_bucket"]] = both[["startup_bucket", "lag_bucket"]].fillna(-1)
    return both.fillna(0)


def _units(timely: pd.DataFrame) -> pd.DataFrame:
    """One row a session-minute of one tag set, with its moments."""
    needed = sorted({column for x, ys, _ in RATIOS.values() for column in (x, *ys)})
    units = timely.groupby(["session_id", "minute", *TAGS], as_index=False)[needed].sum()
    units["n"] = 1
    for name, (x_of, y_of, unit) in RATIOS.items():
        x = units[x_of] // unit
        y = units[list(y_of)].sum(axis=1) // unit
        units[f"{name}_k"] = (x > 0).astype("int64")
        units[f"{name}_sx"], units[f"{name}_sy"] = x, y
        units[f"{name}_sxx"], units[f"{name}_syy"], units[f"{name}_sxy"] = x * x, y * y, x * y
    units["error"] = ""
    return units


_SUMS = (
    *PLAIN_SUMS, "expected", "heartbeats", "attempts", "plays", "ended", "completed", "quits", "failed", "start_failed",
    "timeouts", "exits_before_start", "errors", "startup_ms", "lag_ms",
)  # fmt: skip
_MOMENTS = ("n", *(f"{name}_{part}" for name in RATIOS for part in ("k", "sx", "sy", "sxx", "syy", "sxy")))


def _sum_cube(
    cube: str, keys: tuple[str, ...], events: pd.DataFrame, units: pd.DataFrame, cells: dict[Cell, dict[str, Any]]
) -> None:
    by = ["minute", *keys]
    for rows, names in ((events, _SUMS), (units, _MOMENTS)):
        for key, values in rows.groupby(by)[list(names)].sum().to_dict("index").items():
            _keep(cells, cube, key, {name: int(value) for name, value in values.items()})
    for key, largest in events.groupby(by)["av_absmax_ms"].max().items():
        _keep(cells, cube, key, {"av_absmax_ms": int(largest)})
    for name in ("startup", "lag"):
        observed = events[events[f"{name}_bucket"] >= 0]
        for key, count in observed.groupby([*by, f"{name}_bucket"])["sample_k"].sum().items():
            counts = cells[_cell(cube, key[:-1])].setdefault(f"{name}_hist", {})
            counts[int(key[-1])] = int(count)


def _cell(cube: str, key: Any) -> Cell:
    minute, *values = key if isinstance(key, tuple) else (key,)
    return cube, int(minute), tuple(str(value) for value in values)


def _keep(cells: dict[Cell, dict[str, Any]], cube: str, key: Any, values: dict[str, int]) -> None:
    kept = {name: value for name, value in values.items() if value}
    if kept:
        cells.setdefault(_cell(cube, key), {}).update(kept)


def _bucket(ms: int) -> int:
    return bisect_right(_BOUNDS, ms * 1_000_000) if ms >= 0 else -1


def _bounds() -> list[int]:
    """Spectator's PercentileBuckets: 1, 2, 3, then each power of four in steps of a third of it."""
    bounds, power = [1, 2, 3], 4
    while power < 4**31:
        bounds += list(range(power, 4 * power - power // 3, power // 3))
        power *= 4
    return [*bounds, 2**63 - 1]


_BOUNDS = _bounds()
