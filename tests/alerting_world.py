"""A small streaming service for the tests of alerting: sessions, their session-minutes, and the store's rows of them.

One call of `step` is ten seconds of everybody. The same code draws the weeks of history (rows of `minutes`) and the
live part (`deltas` with a ledger row a bucket, and raw `heartbeats`), so that both have one distribution. Sessions
differ in how often they stall, and the whole fleet's rate wobbles: what a Poisson test would page for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streaming_jobs.steps import arrow
from tocsin.model.catalogue import MOMENTS
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.percentiles import bucket_of_ms
from tocsin.model.tables import (
    ADDITIVE_COLUMNS,
    DELTAS,
    HEARTBEATS,
    HISTOGRAM_COLUMNS,
    LEDGER_COLUMNS,
    MAX_COLUMNS,
    MINUTES,
)
from tocsin.model.tags import TAG_KEYS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEP_MS = 10_000
CHURN = 1 / 60
VALUES: Mapping[str, tuple[str, ...]] = {
    "title": tuple(f"t{i:02d}" for i in range(14)),
    "stream": tuple(f"s{i:02d}" for i in range(14)),
    "cdn": ("a", "b", "c"),
    "device": ("tv", "phone", "web", "tablet"),
    "os": ("tizen", "ios", "chrome", "android"),
    "region": ("de", "us", "jp", "br"),
    "isp": ("as1", "as2", "as3"),
    "app": ("1.0", "1.1"),
    "player": ("hls.js", "shaka"),
}


@dataclass(frozen=True)
class Fault:
    """What is wrong with a cohort: factors and additions to what its sessions do in ten seconds."""

    cohort: Mapping[str, str]
    stall: float = 1.0
    freeze: float = 0.0
    start_failed: float = 0.0
    av_shift_ms: float = 0.0
    bitrate: float = 1.0
    gone: bool = False


@dataclass
class World:
    """A seeded audience of `sessions` viewers at once."""

    seed: int
    sessions: int = 2_500
    stall_p: float = 0.004
    wobble_sd: float = 0.1
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        n = self.sessions
        self.tags: dict[str, Ints] = {key: np.zeros(n, np.int64) for key in VALUES}
        self.ids: Ints = np.zeros(n, np.int64)
        self.seq: Ints = np.zeros(n, np.int64)
        self.lemon: Floats = np.ones(n)
        self.started = 0
        self.wobble = 0.0
        self.minute = -1
        self.sums: dict[str, tuple[Floats, Floats]] = {}
        self.faults: list[Fault] = []
        self._arrive(np.arange(n))
        self.seq[:] = 1

    def _arrive(self, rows: Ints) -> None:
        n, rng = len(rows), self.rng
        for key in ("cdn", "region", "isp", "app", "player"):
            size = len(VALUES[key])
            self.tags[key][rows] = rng.choice(size, n, p=np.arange(size, 0, -1) / np.arange(size, 0, -1).sum())
        device = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
        self.tags["device"][rows] = device
        self.tags["os"][rows] = device
        zipf = 1 / np.arange(1, len(VALUES["title"]) + 1)
        title = rng.choice(len(zipf), n, p=zipf / zipf.sum())
        self.tags["title"][rows], self.tags["stream"][rows] = title, title
        self.ids[rows] = np.arange(self.started, self.started + n)
        self.started += n
        self.seq[rows] = 0
        self.lemon[rows] = rng.gamma(1.0, 1.0, n)

    def inside(self, cohort: Mapping[str, str]) -> npt.NDArray[np.bool_]:
        """Which sessions belong to a cohort."""
        rows = np.ones(self.sessions, np.bool_)
        for key, value in cohort.items():
            rows &= self.tags[key] == VALUES[key].index(value)
        return rows

    def step(self, ts_ms: int) -> dict[str, Ints]:
        """Ten seconds that end before `ts_ms`: the heartbeats' number columns, one row a session, and churn."""
        n, rng = self.sessions, self.rng
        leaving = np.flatnonzero(rng.random(n) < CHURN)
        self._arrive(leaving)
        if ts_ms // 60_000 != self.minute:
            self.minute = ts_ms // 60_000
            self.wobble = 0.8 * self.wobble + self.wobble_sd * 0.6 * rng.normal()
            self.sums = {name: (np.zeros(n), np.zeros(n)) for name in MOMENTS}
        for x, y in self.sums.values():
            x[leaving] = y[leaving] = 0  # another session sits there now
        for fault in self.faults:  # viewers leave what is gone
            if fault.gone:
                leavers = np.flatnonzero(self.inside(fault.cohort))
                self.tags["cdn"][leavers] = (self.tags["cdn"][leavers] + 1) % 3
        out: dict[str, Ints] = {name: np.zeros(n, np.int64) for name in (*BATCH_COLUMNS, "expected")}
        stall_p = self.stall_p * self.lemon * np.exp(self.wobble)
        freeze_p, failed_p = np.full(n, 0.0003), np.full(n, 0.01)
        bitrate = np.array([6000.0, 2500.0, 4000.0, 3000.0])[self.tags["device"]]
        av = rng.normal(-10, 8, n)
        for fault in self.faults:
            rows = self.inside(fault.cohort)
            stall_p[rows] *= fault.stall
            freeze_p[rows] += fault.freeze
            failed_p[rows] += fault.start_failed
            av[rows] += fault.av_shift_ms
            bitrate[rows] *= fault.bitrate
        stalled = rng.random(n) < np.minimum(stall_p, 0.9)
        out["interval_ms"][:] = STEP_MS
        out["rebuffer_ms"] = np.where(stalled, np.minimum(rng.exponential(2500, n), 9_900), 0).astype(np.int64)
        out["rebuffer_count"] = stalled.astype(np.int64)
        starting = self.seq == 0
        out["startup_wait_ms"] = np.where(starting, np.minimum(rng.lognormal(7.0, 0.6, n), 9_000), 0).astype(np.int64)
        out["rebuffer_ms"][starting] = 0
        failed = starting & (rng.random(n) < failed_p)
        out["startup_ms"] = np.where(starting & ~failed, out["startup_wait_ms"], -1)
        out["outcome"] = np.where(failed, 4, 0)
        out["playing_ms"] = STEP_MS - out["rebuffer_ms"] - out["startup_wait_ms"]
        out["playing_ms"][failed] = 0
        frozen = (rng.random(n) < freeze_p) & ~failed
        out["freeze_ms"] = np.where(frozen, np.minimum(rng.exponential(2000, n), out["playing_ms"]), 0).astype(np.int64)
        out["media_ms"] = out["playing_ms"]
        out["bits_kb"] = (bitrate * rng.lognormal(0, 0.3, n) * out["playing_ms"] / 1000).astype(np.int64)
        out["frames_total"] = out["playing_ms"] // 40
        out["frames_dropped"] = np.minimum(rng.poisson(0.5, n) * (rng.random(n) < 0.3), out["frames_total"])
        out["av_n"] = np.where(failed, 0, 5)
        out["av_sum_ms"] = np.where(failed, 0, np.round(av * 5)).astype(np.int64)
        out["av_sumsq_ms2"] = np.where(failed, 0, np.round(av * av * 5)).astype(np.int64)
        out["req_n"] = np.full(n, 3)
        out["req_err_n"] = rng.binomial(3, 0.004, n)
        out["sample_k"][:] = 1
        out["seq"] = self.seq.copy()
        out["ts_ms"][:] = ts_ms - 1
        out["received_ms"] = out["ts_ms"] + rng.integers(20, 400, n)
        out["expected"] = 1 + (rng.random(n) < 0.004).astype(np.int64)
        self.seq += 1
        return out

    def measures(self, out: Mapping[str, Ints]) -> dict[str, Ints]:
        """Additive measures that each session's heartbeat adds to its session-minute, moments as signed deltas."""
        n = self.sessions
        found: dict[str, Ints] = {name: out[name] for name in ADDITIVE_COLUMNS if name in out}
        first = self.sums["rebuffer"][1] == 0
        found |= {
            "heartbeats": np.ones(n, np.int64), "attempts": (out["seq"] == 0).astype(np.int64),
            "plays": (out["startup_ms"] >= 0).astype(np.int64), "ended": (out["outcome"] > 0).astype(np.int64),
            "start_failed": (out["outcome"] == 4).astype(np.int64), "errors": out["error_count"],
            "startup_ms": np.maximum(out["startup_ms"], 0), "lag_ms": out["received_ms"] - out["ts_ms"],
            "n": first.astype(np.int64),
        }  # fmt: skip
        for name, moments in MOMENTS.items():
            x0, y0 = self.sums[name]
            x1 = x0 + out[moments.x] / 1
            y1 = y0 + sum(out[part] for part in moments.y)
            self.sums[name] = (x1, y1)
            ux, uy = (x // moments.x_unit for x in (x0, x1)), (y // moments.y_unit for y in (y0, y1))
            (a0, a1), (b0, b1) = ux, uy
            values = ((a1 > 0) * 1.0 - (a0 > 0), a1 - a0, b1 - b0, a1**2 - a0**2, b1**2 - b0**2, a1 * b1 - a0 * b0)
            found |= {column: value.astype(np.int64) for column, value in zip(moments.columns, values, strict=True)}
        return found


class Cells:
    """Sums of measures by cube cell, filled step by step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: list[dict[str, Any]] = []
        self._sums: dict[str, npt.NDArray[np.int64]] = {}
        self._hist: dict[str, dict[int, dict[int, int]]] = {}

    def add(self, out: Mapping[str, Ints]) -> None:
        """Add one step of everybody."""
        world = self.world
        measures = {name: values for name, values in world.measures(out).items() if name in ADDITIVE_COLUMNS}
        at = np.array([ADDITIVE_COLUMNS.index(name) for name in measures])
        matrix = np.stack(list(measures.values()), axis=1)
        started = np.flatnonzero(out["startup_ms"] >= 0)
        buckets = bucket_of_ms(out["startup_ms"][started])
        for cube in DEFAULT_CUBES:
            sizes = [len(VALUES.get(key, ("",))) for key in cube.keys]
            cell = np.zeros(world.sessions, np.int64)
            for key, size in zip(cube.keys, sizes, strict=True):
                cell = cell * size + world.tags.get(key, np.zeros(world.sessions, np.int64))
            total = int(np.prod(sizes)) if sizes else 1
            sums = self._sums.setdefault(cube.name, np.zeros((total, len(ADDITIVE_COLUMNS)), np.int64))
            order = np.argsort(cell, kind="stable")
            edges = np.flatnonzero(np.diff(cell[order], prepend=-1))
            sums[np.ix_(cell[order][edges], at)] += np.add.reduceat(matrix[order], edges, axis=0)
            hist = self._hist.setdefault(cube.name, {})
            for c, b in zip(cell[started].tolist(), buckets.tolist(), strict=True):
                entry = hist.setdefault(c, {})
                entry[b] = entry.get(b, 0) + 1

    def table(self, minute: int, ledger: tuple[int, int, int] | None = None) -> pa.Table:
        """Rows of `minutes`, or of `deltas` where `ledger` = (start offset, end offset, append ms)."""
        columns: dict[str, list[Any]] = {"cube": [], **{key: [] for key in TAG_KEYS}}
        sums, hists = [], []
        for cube in DEFAULT_CUBES:
            table = self._sums[cube.name]
            sizes = [len(VALUES.get(key, ("",))) for key in cube.keys]
            for cell in np.flatnonzero(np.any(table != 0, axis=1)).tolist():
                values, rest = {}, cell
                for key, size in zip(reversed(cube.keys), reversed(sizes), strict=True):
                    rest, index = divmod(rest, size)
                    values[key] = VALUES.get(key, ("",))[index]
                columns["cube"].append(cube.name)
                for key in TAG_KEYS:
                    columns[key].append(values.get(key, ""))
                sums.append(table[cell])
                hists.append(self._hist[cube.name].get(cell, {}))
        if ledger:
            columns["cube"].append("ledger")
            for key in TAG_KEYS:
                columns[key].append("")
            sums.append(np.zeros(len(ADDITIVE_COLUMNS), np.int64))
            hists.append({})
        n = len(hists)
        matrix = np.array(sums, np.int64)
        data: dict[str, Any] = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        data["minute"] = arrow.datetimes(np.full(n, minute * 60))
        data |= {name: pa.array(matrix[:, i]) for i, name in enumerate(ADDITIVE_COLUMNS)}
        data |= {name: pa.array(np.zeros(n, np.int64)) for name in MAX_COLUMNS}
        kind = pa.map_(pa.uint16(), pa.int64())
        for name in HISTOGRAM_COLUMNS:
            maps = [sorted(h.items()) if name == "startup_hist" else [] for h in hists]
            data[name] = pa.array(maps, kind)
        if not ledger:
            return pa.table({name: data[name] for name in MINUTES.column_names})
        start, end, append_ms = ledger
        data |= {
            "log_partition": pa.array(np.zeros(n, np.uint16)), "start_offset": pa.array(np.full(n, start, np.int64)),
            "end_offset": pa.array(np.full(n, end, np.int64)), "append_ms": pa.array(np.full(n, append_ms, np.int64)),
            "append_day": arrow.append_day(append_ms, n),
        }  # fmt: skip
        data |= {f"ledger_{name}": pa.array(np.zeros(n, np.int64)) for name in LEDGER_COLUMNS}
        return pa.table({name: data[name] for name in DELTAS.column_names})


def raw_table(world: World, out: Mapping[str, Ints], start: int, append_ms: int) -> pa.Table:
    """Rows of `heartbeats` of one step."""
    n = world.sessions
    data: dict[str, Any] = {name: pa.array(np.asarray(out[name], np.int64)) for name in BATCH_COLUMNS}
    for key in TAG_KEYS:
        codes = world.tags.get(key, np.zeros(n, np.int64))
        data[key] = pa.array(np.array(VALUES.get(key, ("",)), object)[codes], pa.string())
    data |= {
        "log_partition": pa.array(np.zeros(n, np.uint16)), "start_offset": pa.array(np.full(n, start, np.int64)),
        "append_ms": pa.array(np.full(n, append_ms, np.int64)), "append_day": arrow.append_day(append_ms, n),
        "row_kind": pa.array(["unique"] * n), "minute": arrow.datetimes(out["ts_ms"] // 60_000 * 60),
        "session_id": pa.array([f"session-{i:07d}" for i in world.ids.tolist()]), "sdk": pa.array(["test"] * n),
        "error_message": pa.array([""] * n),
    }  # fmt: skip
    return pa.table({name: data[name] for name in HEARTBEATS.column_names})


def fill_history(world: World, insert: Callable[[str, pa.Table], None], now_minute: int, weeks: int = 4) -> None:
    """The twin hours of past weeks into `minutes`: from 70 minutes before to 45 after."""
    for week in range(weeks, 0, -1):
        tables = []
        for minute in range(now_minute - week * 10_080 - 66, now_minute - week * 10_080 + 44):
            cells = Cells(world)
            for step in range(6):
                cells.add(world.step(minute * 60_000 + (step + 1) * STEP_MS - 1))
            tables.append(cells.table(minute))
        insert("minutes", pa.concat_tables(tables))


@dataclass
class Live:
    """The live line: each `advance` is ten seconds of everybody, one bucket."""

    world: World
    insert: Callable[[str, pa.Table], None]
    now_ms: int
    offset: int = 0

    def advance(self) -> int:
        """Ten seconds pass; their bucket is stored; answers the new time."""
        self.now_ms += STEP_MS
        out = self.world.step(self.now_ms)
        cells = Cells(self.world)
        cells.add(out)
        self.insert("heartbeats", raw_table(self.world, out, self.offset, self.now_ms))
        minute = int(out["ts_ms"][0]) // 60_000
        self.insert("deltas", cells.table(minute, (self.offset, self.offset + 1, self.now_ms)))
        self.offset += 1
        return self.now_ms
