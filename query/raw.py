"""Heartbeat metrics read from raw heartbeats, where no cube has all keys that a query names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from query.cells import Cells, RawLines, group_keys, per_second, pushes_down
from query.conditions import Bound
from query.families import SeriesFamily
from tocsin.adapters.store.port import Store
from tocsin.model.asl.buckets import bucket_tag
from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.limits import range_that_fits
from tocsin.model.asl.query_expr import Query, all_keys
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import MINUTE
from tocsin.model.catalogue import HISTOGRAMS, MEASURES
from tocsin.model.heartbeat import BATCH_COLUMNS
from tocsin.model.percentiles import bucket_of_ms
from tocsin.model.tags import TAG_KEYS

ROWS_MAX = 3_000_000
_TIMED_OUT = frozenset({"ended", "timeouts"})
"""What a session's time-out adds one to; it is no heartbeat, so it adds nothing else."""


def servable(family: SeriesFamily) -> bool:
    """Whether raw heartbeats can give the parts of a family: moments of session-minutes they cannot."""
    return all(map(derivable, family.parts))


def derivable(part: str) -> bool:
    """Whether a part is a sum over raw heartbeats."""
    return part in MEASURES and (not isinstance(of := MEASURES[part].of, str) or of in BATCH_COLUMNS)


def read_raw(store: Store, family: SeriesFamily, condition: Query, request: FetchRequest) -> RawLines:
    """The lines of one family over the grid of a request."""
    step = request.step_ms if pushes_down(request, family) else MINUTE
    first = request.start_ms - request.step_ms
    keys = group_keys(request, family, _looked_at(condition, request))
    bound = Bound({key: key for key in TAG_KEYS})
    where = (
        f"minute >= toDateTime({first // 1000}, 'UTC') AND minute < toDateTime({request.end_ms // 1000}, 'UTC')"
        f" AND row_kind IN ('unique', 'timeout', 'resumed') AND {bound.sql(condition)}"
    )
    minutes = store.query(
        f"SELECT toUnixTimestamp(minute) AS at_s, count() FROM heartbeats WHERE {where}"
        " GROUP BY at_s ORDER BY at_s DESC",
        bound.parameters,
    )
    count = sum(int(n) for _, n in minutes)
    if count > ROWS_MAX:
        remedy = range_that_fits(request, [(int(at_s) * 1000, int(n)) for at_s, n in minutes], ROWS_MAX, MINUTE)
        cube = ",".join(_looked_at(condition, request)) or "all"
        raise AslLimitError(
            f"too many raw heartbeats: '{request.query}' takes {count}, at most {ROWS_MAX} are read; {remedy}, and any "
            f"range would with the cube '{cube}' declared"
        )
    numbers = ", ".join(name for name in BATCH_COLUMNS)
    found = store.query_columns(
        f"SELECT intDiv(toUnixTimestamp(minute) - {first // 1000}, {step // 1000}) AS slot, row_kind"
        f"{''.join(f', {key}' for key in keys)}, {numbers} FROM heartbeats WHERE {where}",
        bound.parameters,
    )
    return _aggregate(family, keys, found, (request.end_ms - first) // step, step, request)


def _looked_at(condition: Query, request: FetchRequest) -> tuple[str, ...]:
    wanted = all_keys(condition) | frozenset(request.by or ())
    return tuple(key for key in TAG_KEYS if key in wanted)


def _aggregate(
    family: SeriesFamily,
    keys: Sequence[str],
    found: Mapping[str, Sequence[Any]],
    points: int,
    step: int,
    request: FetchRequest,
) -> RawLines:
    slots = np.asarray(found["slot"], dtype=np.int64)
    kinds = np.asarray(found["row_kind"], dtype=np.str_)
    numbers = {name: np.asarray(found[name], dtype=np.int64) for name in BATCH_COLUMNS}
    weight = np.where(kinds == "resumed", -1, 1) * numbers["sample_k"]
    labels: list[Sequence[Any]] = [found[key] for key in keys]
    factor = per_second(family, request, step)
    if not family.histogram:
        cells = Cells(keys, labels, slots, points, step)
        return cells.summed(family, _amounts(family, numbers, kinds, weight) * factor)
    milliseconds = HISTOGRAMS[family.histogram].values(numbers)
    taken = (milliseconds >= 0) & (kinds == "unique")
    labels = [np.asarray(label, dtype=object)[taken].tolist() for label in labels]
    labels.append([bucket_tag("T", int(b)) for b in bucket_of_ms(milliseconds[taken])])
    cells = Cells((*keys, "percentile"), labels, slots[taken], points, step)
    return cells.summed(family, weight[taken] * factor)


def _amounts(
    family: SeriesFamily,
    numbers: Mapping[str, npt.NDArray[np.int64]],
    kinds: npt.NDArray[np.str_],
    weight: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    weights = np.ones_like(weight) if family.is_max else weight
    total = np.zeros(len(kinds), dtype=np.float64)
    for part in family.parts:
        total += part_amounts(part, numbers, kinds, weights)
    return total


def part_amounts(
    part: str,
    numbers: Mapping[str, npt.NDArray[np.int64]],
    kinds: npt.NDArray[np.str_],
    weight: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """What each raw row adds to a part, in the part's unit: shape (rows,)."""
    ended = 1.0 if part in _TIMED_OUT else 0.0
    return np.where(kinds == "unique", MEASURES[part].values(numbers).astype(np.float64), ended) * weight
