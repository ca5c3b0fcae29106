"""The baseline: which minutes of the past a window is compared with, and which weeks of them count.

A minute's twins are the same local wall-clock minute 1 to 4 weeks back, ±1 minute. Local time, because audiences live
by the clock on the wall: with a lag in UTC, 15.8 % of the hours after a clock change alarm; with a local lag, 4.2 %.
Of the four weeks the middle two by rate are summed (a week after a holiday: plain week over week is 44 % off, the
middle 9 %). Weeks inside an incident of ours or a declared event are left out; a slice without any week has no
baseline, and says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from alerting.rules.evidence import Bools, Floats, Ints, Sums, divide

WEEKS = 4
MARGIN_MINUTES = 1


def twin_minute(minute: int, weeks_back: int, zone: ZoneInfo) -> int:
    """The same local wall-clock minute `weeks_back` weeks earlier; both are minutes since the epoch.

    A wall-clock time that a clock change skipped or doubled resolves to its first occurrence.
    """
    local = datetime.fromtimestamp(minute * 60, UTC).astimezone(zone)
    twin = (local.replace(tzinfo=None) - timedelta(weeks=weeks_back)).replace(tzinfo=zone, fold=0)
    return int(twin.timestamp()) // 60


def middle_weeks(x: Floats, y: Floats, usable: Bools) -> Bools:
    """Which weeks to sum, shape (weeks, S): the middle two by rate x/y of the usable ones, all where two or fewer.

    Of three usable weeks the middle one counts. `x`, `y`, `usable` are (weeks, S); for volumes y is 1.
    """
    seen = usable & (y > 0)
    rate = np.where(seen, divide(x, y), np.inf)
    rank = np.argsort(np.argsort(rate, axis=0, kind="stable"), axis=0, kind="stable")
    count = seen.sum(axis=0)
    low = np.where(count <= 2, 0, 1)
    high = np.where(count <= 2, count, count - 1)
    return np.asarray(seen & (rank >= low) & (rank < high), dtype=np.bool_)


def weeks_used(chosen: Bools) -> Ints:
    """How many weeks stand behind each slice's baseline, shape (S,)."""
    return np.asarray(chosen.sum(axis=0), dtype=np.int64)


def pick(stacked: Sums, chosen: Bools) -> Sums:
    """Sums over the chosen weeks; `stacked` holds arrays (weeks, S)."""
    return Sums(*(np.where(chosen, getattr(stacked, name), 0.0).sum(axis=0) for name in Sums.__slots__))


def mean_volume(x: Floats, chosen: Bools, window_minutes: int) -> Floats:
    """Expected events in a window, shape (S,): the chosen weeks' mean, scaled from W + 2 minutes down to W."""
    scale = window_minutes / (window_minutes + 2 * MARGIN_MINUTES)
    return divide(np.where(chosen, x, 0.0).sum(axis=0), chosen.sum(axis=0).astype(np.float64)) * scale


def borrow_from_parent(long_run: Sums, phi: Floats, parent: Ints) -> tuple[Sums, Floats]:
    """Long-run sums and φ where slices without any history of their own take their parent's rate.

    The variance between siblings is added to φ: a new slice is only known to be one of its parent's children.
    """
    empty = long_run.y <= 0
    if not np.any(empty):
        return long_run, phi
    rate = divide(long_run.x, long_run.y)
    spread = _sibling_spread(rate, long_run.y, parent)
    lent = long_run.take(parent)
    borrowed = Sums(*(np.where(empty, getattr(lent, name), getattr(long_run, name)) for name in Sums.__slots__))
    return borrowed, np.where(empty, phi + spread[parent], phi)


def _sibling_spread(rate: Floats, weight: Floats, parent: Ints) -> Floats:
    """Squared relative spread of children's rates around their parent's, indexed by the parent, shape (S,)."""
    slices = len(rate)
    relative = divide(rate, rate[parent], 1.0) - 1.0
    weight = np.where(parent == np.arange(slices), 0.0, weight)  # the root is no child of its own
    total = np.bincount(parent, weight, slices).astype(np.float64)
    spread = np.bincount(parent, weight * relative**2, slices).astype(np.float64)
    return np.clip(divide(spread, total), 0.0, 4.0)
