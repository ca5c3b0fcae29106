"""Published series: what services, the artwork checker and the probe send, read from the table `series`.

Several points of one series in one minute merge by their type (`query.merging`). Series that are written on change
only (`artwork.`) keep their last value until the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from query.merging import REACH_SLOTS, Cells, merge
from tocsin.adapters.store.columns import plain
from tocsin.adapters.store.port import Store
from tocsin.model.asl.lines import Floats, Tags
from tocsin.model.asl.times import DAY, MINUTE

ON_CHANGE = ("artwork.",)
"""Names with these prefixes are written on change and carried forward."""
LOOK_BACK_MS = 40 * DAY
DAY_SLOTS = DAY // MINUTE
_SLOT = f"intDiv(ts_ms - 1, {MINUTE})"
WEIGHED = f"type = 'counter' OR (type = 'rate' AND ts_ms % {MINUTE} != 0)"
"""Rows that tell on other slots than their own, at most `REACH_SLOTS` away."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published series: its identity in the store, tags with the name, and how its points merge."""

    series_id: int
    tags: Tags
    kind: str

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.tags["name"]

    @property
    def on_change(self) -> bool:
        """Whether its last value holds until the next."""
        return self.name.startswith(ON_CHANGE)


def list_series(store: Store, where: str = "1", parameters: Mapping[str, object] | None = None) -> list[Published]:
    """Every series that has a row for which the condition holds."""
    rows = store.query(
        f"SELECT series_id, name, tags, type FROM series WHERE {where} LIMIT 1 BY name, series_id",
        dict(parameters or {}),
    )
    return [Published(int(i), _all_tags(str(name), _text(tags), str(kind)), str(kind)) for i, name, tags, kind in rows]


def _all_tags(name: str, tags: dict[str, str], kind: str) -> dict[str, str]:
    """The tags of a series with its name, and with its type where that is not the default one, a rate."""
    merge = {"atlas.dstype": kind} if kind != "rate" else {}
    return {"name": name, **merge, **tags}


def _text(tags: object) -> dict[str, str]:
    pairs = tags.items() if isinstance(tags, Mapping) else dict(tags).items()  # type: ignore[call-overload]
    return {str(k): str(v) for k, v in pairs}


@dataclass
class Day:
    """One name over one day: `values[i]` is the series `ids[i]`, ids ascending; `stale` slots must be read again."""

    ids: npt.NDArray[np.uint64]
    values: Floats
    stale: set[int] = field(default_factory=set)


def read_day(store: Store, name: str, day: int) -> Day:
    """A day (of the epoch) of one name, laid out by the store; slots that need `query.merging` are stale."""
    first = day * DAY_SLOTS
    inside = "FROM series WHERE name = {name:String} AND ts_ms > {low:Int64} AND ts_ms <= {high:Int64}"
    bound = {"name": name, "low": first * MINUTE, "high": (first + DAY_SLOTS) * MINUTE}
    found = store.query_arrow(
        f"SELECT series_id, avgResample(0, {DAY_SLOTS}, 1)(value, {_SLOT} % {DAY_SLOTS}) AS day {inside}"
        " GROUP BY series_id ORDER BY series_id",
        bound,
    )
    ids, values = np.empty(found.num_rows, np.uint64), np.empty((found.num_rows, DAY_SLOTS))
    row = 0
    for batch in found.to_batches():
        rows = slice(row, row + batch.num_rows)
        ids[rows], values[rows] = plain(batch["series_id"]), plain(batch["day"].flatten()).reshape(-1, DAY_SLOTS)
        row += batch.num_rows
    points = store.query(
        f"SELECT {_SLOT} - {first} AS slot, count(), countIf({WEIGHED}) {inside} GROUP BY slot",
        bound | {"high": (first + DAY_SLOTS + REACH_SLOTS) * MINUTE},
    )
    single = (~np.isnan(values)).sum(axis=0)
    stale = {slot for slot, count, _ in points if slot < DAY_SLOTS and count > single[slot]}
    stale |= {near for slot, _, weighed in points if weighed for near in reach(slot) if 0 <= near < DAY_SLOTS}
    return Day(ids, values, {first + slot for slot in stale})


def reach(slot: int) -> range:
    """The slots that a row of `WEIGHED` may tell on."""
    return range(slot - REACH_SLOTS, slot + REACH_SLOTS + 1)


def read_merged(store: Store, name: str, kind: str, first_slot: int, last_slot: int) -> Cells:
    """Values of the series of one name and type, by slot."""
    rows = store.query_columns(
        "SELECT series_id, ts_ms, value FROM series WHERE name = {name:String} AND type = {kind:String}"
        " AND ts_ms > {low:Int64} AND ts_ms <= {high:Int64}"
        " ORDER BY series_id, ts_ms, log_partition, start_offset, ordinal",
        {
            "name": name, "kind": kind,
            "low": (first_slot - REACH_SLOTS) * MINUTE, "high": (last_slot + 1 + REACH_SLOTS) * MINUTE,
        },
    )  # fmt: skip
    ids = np.asarray(rows["series_id"], dtype=np.uint64)
    merged = merge(kind, ids, np.asarray(rows["ts_ms"], dtype=np.int64), np.asarray(rows["value"], dtype=np.float64))
    inside = (merged.slots >= first_slot) & (merged.slots <= last_slot)
    return Cells(merged.ids[inside], merged.slots[inside], merged.values[inside])


def values_before(store: Store, names: Sequence[str], ids: Sequence[int], first_ms: int) -> dict[int, float]:
    """The last value of some series up to a time, as far back as values are carried."""
    rows = store.query(
        "SELECT series_id, argMax(value, (ts_ms, log_partition, start_offset, ordinal)) FROM series"
        " WHERE name IN {names:Array(String)} AND series_id IN {ids:Array(UInt64)} AND ts_ms <= {low:Int64}"
        " AND ts_ms > {kept:Int64} GROUP BY series_id",
        {"names": list(names), "ids": list(ids), "low": first_ms, "kept": first_ms - LOOK_BACK_MS},
    )
    return {int(i): float(v) for i, v in rows}


def carry_forward(matrix: Floats, starts: Mapping[int, float], until: int) -> None:
    """Fill gaps of some rows with the value before, up to a column; `starts` gives by row what held before."""
    known = max(0, min(until, matrix.shape[1]))
    for row, start in starts.items():
        values = matrix[row, :known]
        there = ~np.isnan(values)
        position = np.maximum.accumulate(np.where(there, np.arange(known), -1)) if known else np.empty(0, np.int64)
        matrix[row, :known] = np.where(position < 0, start, values[np.maximum(position, 0)])
