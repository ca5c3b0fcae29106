"""The player's state machine and the audience of players."""

from __future__ import annotations

import numpy as np
import pytest

from player_sim import faults, layout
from player_sim.audience import MINUTE_MS
from player_sim.faults import Cohort
from player_sim.player import SWITCH_SPREAD_MS, Players
from tests.sim_support import AT_MS, heartbeats, kept, small_world


def test_the_path_of_a_session_does_not_depend_on_the_steps_it_is_played_in() -> None:
    """Playing by the second or by the minute gives the same heartbeats, but for a rounded millisecond now and then."""
    world = small_world()
    by_second = heartbeats(world, 3, step_ms=1_000)
    by_minute = heartbeats(world, 3)
    same = by_second["sid"].shape == by_minute["sid"].shape
    assert same
    for name in ("sid", "seq", "reason", "state", "outcome", "rebuffer_count", "error_count"):
        assert np.mean(by_second[name] == by_minute[name]) > 0.995, name
    assert np.mean(by_second["ts_ms"] == by_minute["ts_ms"]) > 0.99


def test_the_audience_at_a_moment_does_not_depend_on_when_the_simulation_began() -> None:
    """Stationary by construction: whoever is on at a moment is on in a run that began earlier as well."""
    world = small_world()
    later = Players.stationary_at(world, AT_MS)
    earlier = Players.stationary_at(world, AT_MS - 30 * MINUTE_MS)
    list(earlier.advance(AT_MS))

    def on(players: Players) -> list[tuple[int, ...]]:
        state = players.sessions["state"]
        live = players.sessions[(state != layout.WAITING) & (state != layout.OVER)]
        return sorted(zip(*(live[name].tolist() for name in ("sid", "state", "seq", "playhead_ms")), strict=True))

    assert len(on(later)) > 50
    assert on(later) == on(earlier)


def test_a_killed_player_says_nothing_at_its_end() -> None:
    """Sessions that end without an outcome exist, are named as silenced, and send nothing afterwards."""
    world = small_world(viewers=400.0)
    players = Players.stationary_at(world, AT_MS)
    silenced: list[int] = []
    last_seen: dict[int, int] = {}
    for minute in range(1, 11):
        for rows in players.advance(AT_MS + minute * MINUTE_MS):
            assert not set(rows["sid"].tolist()) & set(silenced)
            last_seen.update(zip(rows["sid"].tolist(), rows["outcome"].tolist(), strict=True))
        silenced += players.silenced["sid"].tolist()
    assert len(silenced) > 5
    assert all(last_seen.get(sid, 0) == 0 for sid in silenced)


def test_a_channel_viewer_reports_four_seconds_of_frozen_picture_each_lap() -> None:
    """A range without picture in a 60 s loop shows as its length of freeze_ms a minute of playing, on its rung only."""
    world = small_world(viewers=600.0)
    fault = faults.make(
        "frozen_rendition", start_ms=AT_MS, end_ms=AT_MS + 60 * MINUTE_MS,
        cohort=Cohort.of(stream="title-002-main"), at_ms=20_000, length_ms=4_000, rung=1,
    )  # fmt: skip
    rows = heartbeats(world, 10, [fault])
    stream = rows[rows["stream"] == world.code_of("stream", "title-002-main")]
    top = stream[stream["bitrate_video_kbps"] == 900]
    low = stream[stream["bitrate_video_kbps"] == 400]
    assert top["freeze_ms"].sum() / top["playing_ms"].sum() == pytest.approx(4 / 60, rel=0.12)
    assert low["freeze_ms"].sum() / low["playing_ms"].sum() < 0.03  # intervals that only ended on the lower rung
    others = rows[rows["stream"] != world.code_of("stream", "title-002-main")]
    assert others["freeze_ms"].sum() / others["playing_ms"].sum() < 0.002


def test_draining_a_cdn_moves_its_viewers_within_seconds_and_sends_new_ones_elsewhere() -> None:
    """A change of CDN closes the interval under the old tags; afterwards the CDN has nobody of that device."""
    world = small_world(viewers=400.0)
    cdn, tv = world.code_of("cdn", "cdn-b"), world.code_of("device", "tv")
    players = Players.stationary_at(world, AT_MS)
    before, all_before = players.watching(cdn, tv), players.watching()
    moved = players.drain(cdn, tv)
    assert moved >= before > 10
    first = kept(players.advance(AT_MS + SWITCH_SPREAD_MS))
    assert np.count_nonzero((first["cdn"] == cdn) & (first["device"] == tv) & (first["reason"] == 2)) >= before * 0.9
    rows = kept(players.advance(AT_MS + 3 * MINUTE_MS))
    assert not np.any((rows["cdn"] == cdn) & (rows["device"] == tv))
    assert np.any((rows["cdn"] == cdn) & (rows["device"] != tv))
    assert players.watching(cdn, tv) == 0
    assert players.watching() == pytest.approx(all_before, rel=0.1)


def test_part_of_a_cdn_can_be_drained() -> None:
    """A share moves that share, and weight given back brings new viewers again."""
    world = small_world(viewers=600.0)
    cdn = world.code_of("cdn", "cdn-b")
    players = Players.stationary_at(world, AT_MS)
    before = players.watching(cdn)
    players.drain(cdn, share=0.5)
    list(players.advance(AT_MS + MINUTE_MS))
    assert players.watching(cdn) == pytest.approx(before / 2, rel=0.35)
    players.drain(cdn, share=1.0)
    list(players.advance(AT_MS + 2 * MINUTE_MS))
    assert players.watching(cdn) == 0
    players.drain(cdn, share=0.0)
    list(players.advance(AT_MS + 5 * MINUTE_MS))
    assert players.watching(cdn) > 0


def test_sessions_that_are_on_when_reporting_begins_do_not_look_like_lost_starts() -> None:
    """Their sequence numbers go past 64, what a pipeline takes for a beginning it missed; later ones begin at 0."""
    players = Players.stationary_at(small_world(), AT_MS)
    players.begin_reporting()
    rows = kept(players.advance(AT_MS + MINUTE_MS))
    sids, first = np.unique(rows["sid"], return_index=True)
    firsts = rows["seq"][first]
    assert np.all((firsts == 0) | (firsts >= 64))
    assert np.any(firsts == 0)
    assert np.any(firsts >= 64)
    assert len(sids) > 50
