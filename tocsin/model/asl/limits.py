"""What a query that is too big is told: the limit, what it asks for, and a change with which it fits.

A remedy is found from what was asked, so that following it succeeds: a step that is long enough, a grouping that has
few enough values, a condition that takes few enough of them, a range that is short enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from tocsin.model.asl.errors import AslLimitError
from tocsin.model.asl.expr import words
from tocsin.model.asl.lines import Tags
from tocsin.model.asl.query_expr import Less
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import DAY, format_duration, round_step

STEPS_TRIED_MAX = 1_000
POINTS_AROUND = 2
"""Points of a request beyond its range by its step: the one before it, and the one that rounding may add."""


def check_limits(request: FetchRequest, lines: Sequence[Tags], primary_step_ms: int) -> None:
    """Refuse a result that is too big; `lines` are the tags of those that it would have."""
    limits = request.limits
    if len(lines) > limits.lines:
        raise AslLimitError(
            f"too many lines: {len(lines)} > {limits.lines}; {_fewer_lines(request, lines, limits.lines)}"
        )
    datapoints = len(lines) * request.points
    if datapoints > limits.datapoints:
        raise AslLimitError(
            f"too many datapoints: {len(lines)} lines of {request.points} points are {datapoints} > "
            f"{limits.datapoints}; {_fewer_points(request, lines, primary_step_ms)}"
        )


def _fewer_points(request: FetchRequest, lines: Sequence[Tags], primary_step_ms: int) -> str:
    points_max = request.limits.datapoints // len(lines)
    span_ms = request.end_ms - request.start_ms
    step_ms = request.step_ms
    for _ in range(STEPS_TRIED_MAX):
        if span_ms // step_ms + POINTS_AROUND <= points_max:
            return f"step={format_duration(step_ms)} fits, and so does w={points_max - POINTS_AROUND} for a graph"
        step_ms = round_step(primary_step_ms, step_ms + primary_step_ms if step_ms < DAY else step_ms + DAY)
    return _fewer_lines(request, lines, max(1, request.limits.datapoints // request.points))


def _fewer_lines(request: FetchRequest, lines: Sequence[Tags], lines_max: int) -> str:
    """A grouping or a condition with which at most `lines_max` lines are left."""
    if request.by is None:
        return "their sum (`:sum` instead of `:all`) is one line"
    fewer = [
        (len({tuple(tags[key] for key in keys) for tags in lines}), keys)
        for size in range(1, len(request.by))
        for keys in itertools.combinations(request.by, size)
    ]
    fitting = [(count, keys) for count, keys in fewer if count <= lines_max]
    if fitting:
        count, keys = max(fitting, key=lambda found: found[0])
        return f"with {words(keys)},:by it has {count}"
    for key in request.by:
        values = sorted(tags[key] for tags in lines)
        cut = values[lines_max]
        count = sum(value < cut for value in values)
        if count:
            return f"with the condition {Less(key, cut)} it has {count}"
    return f"without grouping it is one line; no condition on one of {', '.join(request.by)} leaves {lines_max}"


def range_that_fits(
    request: FetchRequest, amounts: Iterable[tuple[int, int]], most: int, each_ms: int, *, whole_ms: int = 1
) -> str:
    """A start with which a request fits: `amounts` are (epoch ms, how much) of stretches of `each_ms` from then on, the
    newest first. What is read begins a step before a request's first point, and at multiples of `whole_ms`."""
    total, first_ms = 0, request.end_ms
    for at_ms, amount in amounts:
        total += amount
        if total > most:
            first_ms = at_ms + each_ms
            break
    first_ms = -(-first_ms // whole_ms) * whole_ms
    length_ms = (request.end_ms - first_ms - request.step_ms) // request.step_ms * request.step_ms
    if length_ms < request.step_ms:
        return "not even its newest point fits: add a condition"
    return f"s=e-{format_duration(length_ms)} fits"
