"""Who presses play: the seasons, the mix, the seed."""

from __future__ import annotations

import numpy as np
import pytest

from player_sim.audience import MEAN_STAY_MS, MINUTE_MS, Boost, World, WorldConfig
from player_sim.player import Players
from tests.sim_support import AT_MS, small_world
from tocsin.model.errors import InputError

MINUTE = AT_MS // MINUTE_MS
WEEK = 7 * 24 * 60


def test_the_same_seed_gives_the_same_arrivals_and_another_seed_others() -> None:
    """Arrivals are a function of seed and minute alone."""
    first, again, other = (small_world(seed).arrivals(MINUTE) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first["sid"], other["sid"][: len(first)])


def test_intensity_repeats_weekly_and_has_the_mean_that_was_asked_for() -> None:
    """Without a clock change in between, a week later is the same; its mean is viewers over mean stay."""
    world = small_world(viewers=500.0)
    week = np.arange(MINUTE, MINUTE + WEEK, 5)
    assert np.allclose(world.intensity(week), world.intensity(week + WEEK))
    expected = 500.0 * MINUTE_MS / MEAN_STAY_MS
    assert world.intensity(week).sum(axis=(1, 2)).mean() == pytest.approx(expected, rel=0.02)


def test_evenings_are_busier_than_nights_by_each_regions_own_clock() -> None:
    """20:30 local beats 04:00 local everywhere, and the hours differ between regions."""
    world = small_world()
    day = world.intensity(np.arange(MINUTE, MINUTE + 1440)).sum(axis=2)
    assert np.all(day.max(axis=0) > 1.5 * day.min(axis=0))
    assert len(set(day.argmax(axis=0).tolist())) > 2


def test_titles_follow_zipf() -> None:
    """The first title draws several times as many plays as the tenth, and shares add to one."""
    world = World(WorldConfig(titles=30))
    assert world.title_shares.sum() == pytest.approx(1)
    assert world.title_shares[0] > 5 * world.title_shares[9]


def test_a_boost_adds_plays_of_one_title_and_leaves_the_others_alone() -> None:
    """A premiere's plays come on top: everybody else is the same person as without it."""
    world = small_world(viewers=2_000.0)
    usual = world.arrivals(MINUTE)
    boosted = world.arrivals(MINUTE, [Boost(6.0, 2)])
    assert set(usual["sid"].tolist()) <= set(boosted["sid"].tolist())
    added = boosted[~np.isin(boosted["sid"], usual["sid"])]
    assert len(added) > 5
    assert set(added["title"].tolist()) == {2}


def test_a_collapse_takes_plays_away() -> None:
    """A boost below one thins the usual plays."""
    world = small_world(viewers=2_000.0)
    usual, fewer = world.arrivals(MINUTE), world.arrivals(MINUTE, [Boost(0.2)])
    assert 0 < len(fewer) < 0.4 * len(usual)
    assert set(fewer["sid"].tolist()) < set(usual["sid"].tolist())


def test_viewers_at_once_are_what_the_configuration_says() -> None:
    """The mean over a day of the sessions that are on is `viewers`, within a tenth (calibrates MEAN_STAY_MS)."""
    world = World(WorldConfig(seed=7, viewers=400.0))
    expected, watched_ms = 0.0, 0
    for hours in range(0, 24, 3):
        at_ms = AT_MS + hours * 3_600_000
        players = Players.stationary_at(world, at_ms)
        for rows in players.advance(at_ms + 10 * MINUTE_MS):
            names = ("playing_ms", "rebuffer_ms", "seek_wait_ms", "startup_wait_ms")
            watched_ms += sum(int(rows[name].sum()) for name in names)
        minutes = np.arange(at_ms // MINUTE_MS - 15, at_ms // MINUTE_MS + 10)
        expected += world.intensity(minutes).sum() / len(minutes) * MEAN_STAY_MS / MINUTE_MS
    assert watched_ms / (10 * MINUTE_MS) == pytest.approx(expected, rel=0.1)


def test_a_world_that_cannot_be_is_refused() -> None:
    """Shares that do not fit the CDNs, and unknown names, are refused with what is known."""
    with pytest.raises(InputError, match="one share a CDN"):
        World(WorldConfig(cdns=("a",)))
    with pytest.raises(InputError, match="known are cdn-a"):
        small_world().code_of("cdn", "cdn-z")
