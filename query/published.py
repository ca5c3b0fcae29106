"""Published series: what services, the artwork checker and the probe send, read from the table `series`.

Several points of one series in one minute merge by their type: of a gauge the last is kept, amounts are summed, rates
averaged. Series that are written on change only (`artwork.`) keep their last value until the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from query.cells import RawLines
from tocsin.adapters.store.port import Store
from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.lines import Tags
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import DAY, MINUTE

POINTS_MAX = 20_000_000
ON_CHANGE = ("artwork.",)
"""Names with these prefixes are written on change and carried forward."""
_LOOK_BACK_MS = 40 * DAY


@dataclass(frozen=True, slots=True)
class Published:
    """One published series."""

    series_id: int
    tags: Tags
    kind: str

    @property
    def on_change(self) -> bool:
        """Whether its last value holds until the next."""
        return self.tags["name"].startswith(ON_CHANGE)


def list_series(store: Store, since_ms: int, until_ms: int) -> list[Published]:
    """Every series that has a point in a range (those written on change: in the time kept before it, too)."""
    rows = store.query(
        "SELECT series_id, name, any(tags), any(type) FROM series WHERE (ts_ms > {low:Int64} OR (ts_ms > {kept:Int64}"
        " AND arrayExists(p -> startsWith(name, p), {prefixes:Array(String)}))) AND ts_ms <= {high:Int64}"
        " GROUP BY series_id, name ORDER BY name, series_id",
        {"low": since_ms, "kept": since_ms - _LOOK_BACK_MS, "high": until_ms, "prefixes": list(ON_CHANGE)},
    )
    return [Published(int(i), _all_tags(str(name), _text(tags), str(kind)), str(kind)) for i, name, tags, kind in rows]


def _all_tags(name: str, tags: dict[str, str], kind: str) -> dict[str, str]:
    """The tags of a series with its name, and with its type where that is not the default one, a rate."""
    merge = {"atlas.dstype": kind} if kind != "rate" else {}
    return {"name": name, **merge, **tags}


def _text(tags: object) -> dict[str, str]:
    pairs = tags.items() if isinstance(tags, Mapping) else dict(tags).items()  # type: ignore[call-overload]
    return {str(k): str(v) for k, v in pairs}


def read_published(store: Store, condition: Query, request: FetchRequest, now_ms: int) -> RawLines:
    """The lines of matching published series at the primary step."""
    first = request.start_ms - request.step_ms
    points = (request.end_ms - first) // MINUTE
    found = [s for s in list_series(store, first, request.end_ms) if condition.matches(s.tags)]
    if not found:
        return RawLines([], np.empty((0, points)), [], MINUTE)
    if len(found) * points > POINTS_MAX:
        fit = POINTS_MAX // points
        raise AslLimitError(
            f"{len(found)} published series over {points} minutes are too much to read; {fit} series would fit"
        )
    matrix = np.full((len(found), points), np.nan)
    index = {series.series_id: i for i, series in enumerate(found)}
    names = sorted({series.tags["name"] for series in found})
    for kind in sorted({series.kind for series in found}):
        _fill(store, kind, [s for s in found if s.kind == kind], index, matrix, first, request.end_ms)
    changing = [i for i, series in enumerate(found) if series.on_change]
    if changing:
        before = _values_before(store, names, [found[i].series_id for i in changing], first)
        _carry_forward(matrix, changing, found, before, (min(now_ms, request.end_ms) - first) // MINUTE)
    return RawLines([s.tags for s in found], matrix, [s.kind == "gauge" for s in found], MINUTE)


_MERGE = {"gauge": "argMax(v, t)", "sum": "sum(v)", "rate": "avg(v)"}


def _fill(
    store: Store,
    kind: str,
    series: Sequence[Published],
    index: Mapping[int, int],
    matrix: np.typing.NDArray[np.float64],
    first_ms: int,
    end_ms: int,
) -> None:
    """Points by series and minute; of points at one time the last that came counts."""
    names = sorted({s.tags["name"] for s in series})
    latest = "argMax(value, (log_partition, start_offset, ordinal))"
    inner = latest if kind != "sum" else "sum(value)"
    rows = store.query_columns(
        f"SELECT series_id, intDiv(t - {first_ms} - 1, {MINUTE}) AS slot, {_MERGE.get(kind, _MERGE['gauge'])} AS value"
        f" FROM (SELECT series_id, ts_ms AS t, {inner} AS v FROM series WHERE name IN {{names:Array(String)}}"
        " AND series_id IN {ids:Array(UInt64)} AND ts_ms > {low:Int64} AND ts_ms <= {high:Int64}"
        " GROUP BY series_id, t) GROUP BY series_id, slot",
        {"names": names, "ids": [s.series_id for s in series], "low": first_ms, "high": end_ms},
    )
    ids = np.asarray(rows["series_id"], dtype=np.uint64)
    unique, inverse = np.unique(ids, return_inverse=True)
    lines = np.array([index[int(u)] for u in unique], dtype=np.int64)
    if len(ids):
        matrix[lines[inverse], np.asarray(rows["slot"], dtype=np.int64)] = np.asarray(rows["value"], dtype=np.float64)


def _values_before(store: Store, names: Sequence[str], ids: Sequence[int], first_ms: int) -> dict[int, float]:
    rows = store.query(
        "SELECT series_id, argMax(value, (ts_ms, log_partition, start_offset, ordinal)) FROM series"
        " WHERE name IN {names:Array(String)} AND series_id IN {ids:Array(UInt64)} AND ts_ms <= {low:Int64}"
        " AND ts_ms > {kept:Int64} GROUP BY series_id",
        {"names": list(names), "ids": list(ids), "low": first_ms, "kept": first_ms - _LOOK_BACK_MS},
    )
    return {int(i): float(v) for i, v in rows}


def _carry_forward(
    matrix: np.typing.NDArray[np.float64],
    rows: Sequence[int],
    series: Sequence[Published],
    before: Mapping[int, float],
    until: int,
) -> None:
    for row in rows:
        known = max(0, min(until, matrix.shape[1]))
        values = matrix[row, :known]
        there = ~np.isnan(values)
        position = np.maximum.accumulate(np.where(there, np.arange(known), -1)) if known else np.array([], dtype=int)
        start = before.get(series[row].series_id, np.nan)
        matrix[row, :known] = np.where(position < 0, start, values[np.maximum(position, 0)])
