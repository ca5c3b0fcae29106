"""The rules of published types, against their definition: what holds at each second, added up second by second."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.merging import merge

STEP_S = 60
Rows = list[tuple[int, int, float]]
"""(series, second, value)"""

_rows: st.SearchStrategy[Rows] = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 600), st.sampled_from([0.0, 1.0, 2.5, 7.0, 100.0])), max_size=40
)


def merged(kind: str, rows: Rows) -> dict[tuple[int, int], float]:
    """What `merge` says, by (series, slot)."""
    ordered = sorted(rows, key=lambda row: row[:2])
    ids, seconds, values = (np.array(column) for column in zip(*ordered, strict=True)) if rows else ([], [], [])
    cells = merge(
        kind, np.asarray(ids, np.uint64), np.asarray(seconds, np.int64) * 1_000, np.asarray(values, np.float64)
    )
    keys = list(zip(cells.ids.tolist(), cells.slots.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, cells.values.tolist(), strict=True))


def held(rows: Rows, holds: Callable[[int, int | None, float, float], tuple[int, float] | None]) -> dict[
    tuple[int, int], float
]:  # fmt: skip
    """Mean over each step of what `holds(second, second before, value, value before)` says: from when, and what."""
    found: dict[tuple[int, int], float] = {}
    for series in {row[0] for row in rows}:
        last = {second: value for one, second, value in rows if one == series}
        previous: int | None = None
        for second in sorted(last):
            told = holds(second, previous, last[second], last[previous] if previous is not None else 0.0)
            for at in range(told[0] + 1, second + 1) if told else ():
                slot = (at - 1) // STEP_S
                found[series, slot] = found.get((series, slot), 0.0) + (told[1] if told else 0.0) / STEP_S
            previous = second
    return found


@given(_rows)
def test_a_rate_is_weighted_by_the_time_it_holds(rows: Rows) -> None:
    """A point holds since the one before it, no longer than a step."""
    want = held(rows, lambda at, before, value, _: (max(at - STEP_S, before if before is not None else -STEP_S), value))
    assert merged("rate", rows) == pytest.approx(want)


@given(_rows)
def test_a_counter_is_the_rate_of_its_rises(rows: Rows) -> None:
    """No reading within two steps before: no rise is known; a fall is a restart."""

    def rise(at: int, before: int | None, value: float, was: float) -> tuple[int, float] | None:
        if before is None or at - before > 2 * STEP_S:
            return None
        return before, max(value - was, 0.0) / (at - before)

    assert merged("counter", rows) == pytest.approx(held(rows, rise))


@given(_rows)
def test_a_gauge_is_its_last_point_and_a_sum_all_of_them(rows: Rows) -> None:
    """In time, and at one time in the order given."""
    last: dict[tuple[int, int], float] = {}
    total: dict[tuple[int, int], float] = {}
    for series, second, value in sorted(rows, key=lambda row: row[1]):
        key = series, (second - 1) // STEP_S
        last[key] = value
        total[key] = total.get(key, 0.0) + value
    assert merged("gauge", rows) == last
    assert merged("sum", rows) == pytest.approx(total)


@given(_rows, st.sampled_from(["gauge", "rate", "counter"]), st.integers())
def test_points_that_come_twice_count_once(rows: Rows, kind: str, seed: int) -> None:
    """A request sent again changes nothing but sums, whatever came between."""
    once = {row[:2]: row for row in rows}
    again = list(once.values()) + random.Random(seed).sample(list(once.values()), len(once))
    assert merged(kind, again) == merged(kind, list(once.values()))


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=9))
def test_a_rate_once_a_minute_is_taken_as_it_is(values: list[float]) -> None:
    """To the last bit: this is what is read without merging."""
    rows = [(1, STEP_S * (at + 1), value) for at, value in enumerate(values)]
    assert list(merged("rate", rows).values()) == values
