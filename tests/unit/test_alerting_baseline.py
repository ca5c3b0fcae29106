"""The baseline: twin minutes by the clock on the wall, and the middle weeks."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from alerting import baseline
from alerting.budget import Budget
from alerting.rules.evidence import Sums

WEEK_MINUTES = 10_080


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_twins_keep_the_wall_clock_over_clock_changes(zone: str) -> None:
    """20:15 on a Sunday is compared with 20:15 of the Sundays before, also across both clock changes."""
    tz = ZoneInfo(zone)
    for month, day in ((4, 12), (11, 8), (3, 15), (11, 15)):
        now = datetime(2026, month, day, 20, 15, tzinfo=tz)
        minute = int(now.timestamp()) // 60
        for weeks in range(1, 5):
            twin = datetime.fromtimestamp(baseline.twin_minute(minute, weeks, tz) * 60, UTC).astimezone(tz)
            assert (twin.hour, twin.minute, twin.weekday()) == (20, 15, now.weekday())


def test_twins_in_utc_are_whole_weeks() -> None:
    """Without clock changes a twin is 10,080 minutes back."""
    assert baseline.twin_minute(29_000_000, 2, ZoneInfo("UTC")) == 29_000_000 - 2 * WEEK_MINUTES


def test_the_middle_two_of_four_weeks_are_chosen() -> None:
    """A holiday week (rate far off either way) is never part of the baseline."""
    x = np.array([[50.0, 1.0], [2.0, 20.0], [2.2, 22.0], [0.0, 90.0]])
    y = np.full((4, 2), 100.0)
    chosen = baseline.middle_weeks(x, y, np.ones((4, 2), np.bool_))
    assert chosen.T.tolist() == [[False, True, True, False], [False, True, True, False]]


def test_weeks_left_out_and_unseen_do_not_count() -> None:
    """Of three usable weeks the middle one counts, of two both, of one that one, of none none."""
    x = np.array([[1.0] * 4, [2.0] * 4, [3.0] * 4, [9.0] * 4])
    y = np.full((4, 4), 100.0)
    usable = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.bool_)
    chosen = baseline.middle_weeks(x, y, usable)
    assert baseline.weeks_used(chosen).tolist() == [1, 2, 1, 0]
    assert chosen[:, 0].tolist() == [False, True, False, False]


def test_volumes_are_scaled_to_the_window() -> None:
    """The expected volume is the mean week's, from W + 2 minutes down to W."""
    x = np.array([[70.0], [140.0]])
    assert baseline.mean_volume(x, np.ones((2, 1), np.bool_), 5) == pytest.approx([75.0])


def test_picked_sums_are_those_of_the_chosen_weeks() -> None:
    """Weeks that are not chosen add nothing."""
    stacked = Sums.of_counts(np.array([[1.0], [2.0]]), np.array([[10.0], [20.0]]))
    picked = baseline.pick(stacked, np.array([[False], [True]]))
    assert (picked.x[0], picked.y[0]) == (2.0, 20.0)


def test_the_budget_is_spent_once() -> None:
    """α over all tests of a week sums to the budget, half of it for slices with at most one tag."""
    dimensions = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    budget = Budget(2.0)
    alphas = budget.alphas(dimensions, 10)
    tests = 10 * 3.0 * sum(WEEK_MINUTES / w for w in budget.windows)
    assert float((alphas * tests).sum()) == pytest.approx(2.0)
    assert float((alphas[:3] * tests).sum()) == pytest.approx(1.0)
