"""The live ring and its running sums against sums over all rows, whatever the order of arrival."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.arrays import History, LiveArrays, Rows, base_sums, signal_history
from alerting.signals import signal_of
from alerting.slices import SliceIndex, contradicts, nested
from tocsin.model.cubes import DEFAULT_CUBES

ROW = st.tuples(st.integers(0, 90), st.integers(0, 5), st.integers(-50, 1_000))


def rows_of(found: list[tuple[int, int, int]]) -> Rows:
    """Rows (minute, slice, value) of one column."""
    table = np.array(found, np.int64).reshape(-1, 3)
    return Rows(1_000 + table[:, 0], table[:, 1], table[:, 2][None, :].astype(float))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.lists(ROW, max_size=8)), min_size=1, max_size=25))
def test_running_sums_equal_sums_over_all_rows(steps: list[tuple[int, list[tuple[int, int, int]]]]) -> None:
    """After any interleaving of minutes and rows, each window holds exactly the rows of its minutes."""
    live = LiveArrays(["x"], (1, 5, 15, 60))
    kept: list[tuple[int, int, int]] = []
    for minute, rows in steps:
        if 1_000 + minute > live.end:
            live.roll(1_000 + minute)
        live.add(rows_of(rows))
        kept += [row for row in rows if live.end - live.minutes < 1_000 + row[0] <= live.end]
    live.grow(6)
    for window in live.windows:
        want = np.zeros(6)
        for minute, number, value in kept:
            if 1_000 + minute >= live.end - window:
                want[number] += value
        assert live.combine({"x": 1.0}, window).tolist() == want.tolist()


def test_rows_out_of_reach_are_counted_and_left_out() -> None:
    """Too old, ahead of the open minute, or of no slice: not added, counted."""
    live = LiveArrays(["x"], (5,))
    live.roll(1_080)
    live.add(rows_of([(0, 1, 5), (81, 1, 5), (80, -1, 5), (80, 1, 7)]))
    assert live.late_rows == 3
    assert live.combine({"x": 2.0}, 5).tolist() == [0.0, 14.0]


def test_series_and_closed_windows_end_where_they_say() -> None:
    """Minutes come oldest first; a closed window leaves the open minute out."""
    live = LiveArrays(["x"], (5,))
    live.roll(1_010)
    live.add(rows_of([(minute, 0, minute) for minute in range(11)]))
    assert live.series({"x": 1.0}, 1_010, 3).tolist() == [[8.0, 9.0, 10.0]]
    assert live.closed({"x": 1.0}, 1_009, 2).tolist() == [17.0]


def test_minutes_without_telemetry_are_unknown() -> None:
    """A window with a minute in which nobody was heard is not known; one without plays but with viewers is."""
    live = LiveArrays(["heartbeats", "plays"], (5,))
    live.roll(1_010)
    heard = [minute for minute in range(1_000, 1_011) if minute != 1_004]
    live.add(Rows(np.array(heard), np.zeros(10, np.int64), np.stack([np.full(10, 50.0), np.zeros(10)])))
    assert live.heard(1_009, 5)
    assert not live.heard(1_009, 6)


def history(x: list[float]) -> History:
    """Four weeks of plays and failures of one slice, constant over 91 minutes each; week w has x[w] of 100 a minute."""
    values = [np.stack([np.full((91, 1), v, np.float32), np.full((91, 1), 100, np.float32)]) for v in x]
    first = [100_000 - week * 10_080 - 62 for week in range(1, 5)]
    return History(["failed", "ended"], first, values, np.ones((4, 1), np.bool_))


def test_baselines_sum_the_middle_weeks_around_the_window() -> None:
    """W = 5: six minutes and one more on either side of two weeks; a week that was disturbed is left out."""
    signal = signal_of("qoe.failure.ratio")
    sums, weeks = base_sums(history([1, 2, 3, 50]), signal, 100_000, 5, ZoneInfo("UTC"))
    assert (weeks[0], sums.x[0], sums.y[0]) == (2, 8 * 5.0, 8 * 200.0)
    disturbed = history([1, 2, 3, 50])
    disturbed.usable[3] = False
    sums, weeks = base_sums(disturbed, signal, 100_000, 5, ZoneInfo("UTC"))
    assert (weeks[0], sums.x[0]) == (1, 8 * 2.0)


def test_long_run_and_noise_come_from_the_same_history() -> None:
    """The slice's rate over all that is loaded; no history answers priors for no slice."""
    past = signal_history(history([1, 2, 3, 4]), signal_of("qoe.failure.ratio"), (1, 5))
    assert past.long_run.x[0] / past.long_run.y[0] == pytest.approx(0.025)
    assert past.noise[5].d >= 1.0
    assert len(signal_history(History.none(["failed"]), signal_of("qoe.failure.ratio"), (1,)).long_run.x) == 0


def test_slices_know_their_parents_and_their_cube() -> None:
    """A pair's parent is its first key's slice, whose parent is the root; the limit drops and counts."""
    index = SliceIndex([("cdn", "device"), ("stream",)], DEFAULT_CUBES, slices_max=4)
    pair = index.family(("cdn", "device"))
    assert pair is not None
    number = index.intern(pair, ("b", "tv"))
    parent = index.find({"cdn": "b"})
    assert parent is not None
    assert index.parents()[number] == parent
    assert index.parents()[parent] == 0
    assert index.tags(number) == {"cdn": "b", "device": "tv"}
    assert index.dimensions().tolist() == [0, 1, 2]
    index.intern(pair, ("a", "tv"))
    assert index.intern(pair, ("c", "tv")) == -1
    assert index.dropped >= 1


def test_cohorts_contradict_or_nest() -> None:
    """Two values of one key exclude each other; more tags of the same values lie inside fewer."""
    assert contradicts({"cdn": "a"}, {"cdn": "b", "device": "tv"})
    assert not contradicts({"cdn": "a"}, {"device": "tv"})
    assert nested({"cdn": "a", "device": "tv"}, {"cdn": "a"})
    assert not nested({"cdn": "a"}, {"device": "tv"})
