"""Aggregation and consolidation of raw lines into the answer to a data expression.

Consolidation comes with the aggregation, not after it: the average of a sum divides the sum over lines and primary
points by the number of primary points (for a rate) or by those at which any line has a value (for a gauge).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from tocsin.model.asl.limits import check_limits
from tocsin.model.asl.lines import Floats, Head, Lines, Tags, empty
from tocsin.model.asl.query_expr import exact_keys
from tocsin.model.asl.source import FetchRequest

_ROWS_AT_ONCE = 32
"""Lines that are worked on together, but for a larger group: a week of so many takes 2.6 MB."""


def group_key(keys: Sequence[str], tags: Tags) -> str | None:
    """`(device=tv country=br)`, or None when a key is missing."""
    parts = []
    for key in keys:
        value = tags.get(key)
        if value is None:
            return None
        parts.append(f"{key}={value}")
    return "(" + " ".join(parts) + ")"


def aggregate(
    request: FetchRequest,
    tags: Sequence[Tags],
    raw: Floats,
    primary_step_ms: int,
    is_gauge: Sequence[bool] | None = None,
) -> Lines:
    """Answer a request from all matching raw lines; `is_gauge` as the tag `atlas.dstype` says where not given.

    `raw` is (lines, points * multiple) at the primary step; its first column is `start_ms - step_ms + primary`.
    """
    multiple = request.step_ms // primary_step_ms
    if len(tags) == 0:
        return empty(request.points)
    gauge_of = [_is_gauge(t) for t in tags] if is_gauge is None else is_gauge
    if request.aggregate == "all":
        values = _consolidate_each(raw, "sum", multiple)
        kept = [i for i in range(len(tags)) if not np.isnan(values[i]).all()]
        check_limits(request, [tags[i] for i in kept], primary_step_ms)
        heads = [Head(dict(tags[i]), None, gauge_of[i]) for i in kept]
        order = sorted(range(len(kept)), key=lambda j: heads[j].text)
        return Lines(tuple(heads[j] for j in order), values[[kept[j] for j in order]])
    keys, firsts, rows, starts = _groups(request, tags)
    check_limits(request, [tags[i] for i in firsts], primary_step_ms)
    if not firsts:
        return empty(request.points)
    gauges = np.array([gauge_of[i] for i in firsts])
    parts = []
    for first, last, low, high in _batches(starts, len(rows)):
        own_starts = [start - low for start in starts[first:last]]
        parts.append(_aggregate_groups(request, raw[rows[low:high]], own_starts, gauges[first:last], multiple))
    values = np.concatenate(parts)
    kept_keys = exact_keys(request.query) | frozenset(request.by or ())
    heads_out, kept_rows = [], []
    for i, first in enumerate(firsts):
        if not np.isnan(values[i]).all():
            kept_tags = {k: v for k, v in tags[first].items() if k in kept_keys}
            heads_out.append(Head(kept_tags, keys[i], bool(gauges[i])))
            kept_rows.append(i)
    return Lines(tuple(heads_out), values[kept_rows])


def _is_gauge(tags: Tags) -> bool:
    return tags.get("atlas.dstype") == "gauge"


def _groups(request: FetchRequest, tags: Sequence[Tags]) -> tuple[list[str | None], list[int], list[int], list[int]]:
    """Group labels, the first line of each group, all lines ordered by group, and where each group starts."""
    if request.by is None:
        return [None], [0], list(range(len(tags))), [0]
    groups: dict[str, list[int]] = {}
    for i, line_tags in enumerate(tags):
        key = group_key(request.by, line_tags)
        if key is not None:
            groups.setdefault(key, []).append(i)
    ordered = sorted(groups)
    rows: list[int] = []
    starts: list[int] = []
    for key in ordered:
        starts.append(len(rows))
        rows.extend(groups[key])
    return [*ordered], [groups[key][0] for key in ordered], rows, starts


def _batches(starts: Sequence[int], rows: int) -> Iterator[tuple[int, int, int, int]]:
    """Groups [first, last) with their rows [low, high), some at a time: what is worked on then stays in the caches."""
    first = 0
    ends = [*starts[1:], rows]
    for last, end in enumerate(ends, 1):
        if end - starts[first] >= _ROWS_AT_ONCE or last == len(ends):
            yield first, last, starts[first], end
            first = last


def _aggregate_groups(
    request: FetchRequest, raw: Floats, starts: Sequence[int], gauges: np.typing.NDArray[np.bool_], multiple: int
) -> Floats:
    there = ~np.isnan(raw)
    values = np.where(there, 1.0, np.nan) if request.aggregate == "count" else raw
    averaged = request.cf == "avg" and multiple > 1
    if averaged and request.aggregate in ("sum", "count"):
        sums = np.add.reduceat(np.where(there, values, 0.0), starts, axis=0)
        any_line = np.logical_or.reduceat(there, starts, axis=0)
        slots = any_line.reshape(len(starts), -1, multiple).sum(axis=2)
        total = sums.reshape(len(starts), -1, multiple).sum(axis=2)
        return _divide(total, slots, gauges, multiple)
    each = _consolidate_each(values, "sum" if averaged else request.cf, multiple)
    combined = _combine(each, starts, request.aggregate)
    if not averaged:
        return combined
    any_line = np.logical_or.reduceat(there, starts, axis=0)
    return _divide(combined, any_line.reshape(len(starts), -1, multiple).sum(axis=2), gauges, multiple)


def _divide(
    total: Floats, slots: np.typing.NDArray[np.int_], gauges: np.typing.NDArray[np.bool_], multiple: int
) -> Floats:
    with np.errstate(all="ignore"):
        result = total / np.where(gauges[:, None], slots, multiple)
    return np.where(slots == 0, np.nan, result)


def _consolidate_each(values: Floats, cf: str, multiple: int) -> Floats:
    if multiple == 1:
        return values
    windows = values.reshape(len(values), -1, multiple)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        if cf == "min":
            return np.asarray(np.nanmin(windows, axis=2))
        if cf == "max":
            return np.asarray(np.nanmax(windows, axis=2))
    there = ~np.isnan(windows)
    total = np.where(there, windows, 0.0).sum(axis=2)
    result = total / multiple if cf == "avg" else total
    return np.where(there.any(axis=2), result, np.nan)


def _combine(values: Floats, starts: Sequence[int], how: str) -> Floats:
    if how == "min":
        return np.asarray(np.fmin.reduceat(values, starts, axis=0))
    if how == "max":
        return np.asarray(np.fmax.reduceat(values, starts, axis=0))
    there = ~np.isnan(values)
    total = np.add.reduceat(np.where(there, values, 0.0), starts, axis=0)
    return np.where(np.logical_or.reduceat(there, starts, axis=0), total, np.nan)
