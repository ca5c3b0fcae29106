"""Envelopes of simulated heartbeats: what the gateway's decoder makes of them is what the player meant."""

from __future__ import annotations

import numpy as np
import pytest

from player_sim import layout
from player_sim.layout import Records
from player_sim.mischief import Mischief, MischiefSettings
from player_sim.wire import Envelope, EnvelopeWriter, session_id
from tests.sim_support import AT_MS, heartbeats, small_world
from tocsin.model.heartbeat import OUTCOMES, REASONS, STATES, Event, decode_envelope
from tocsin.model.tags import BY_WIRE

WORLD = small_world(viewers=300.0)


@pytest.fixture(scope="module")
def rows() -> Records:
    """Two minutes of heartbeats."""
    return heartbeats(WORLD, 2)


def by_identity(envelopes: list[Envelope]) -> dict[tuple[str, int], tuple[Event, Envelope]]:
    """Decoded events by (session, seq)."""
    found: dict[tuple[str, int], tuple[Event, Envelope]] = {}
    for envelope in envelopes:
        decoded = decode_envelope(envelope.body(AT_MS))
        assert decoded.sent_ts_ms == AT_MS
        found.update({(event.session_id, event.seq): (event, envelope) for event in decoded.events})
    return found


def test_the_strict_decoder_reads_back_every_field(rows: Records) -> None:
    """Numbers, reason, state, outcome, error and tags arrive as they were; fields that are 0 are not sent."""
    envelopes = list(EnvelopeWriter(WORLD).envelopes(rows))
    found = by_identity(envelopes)
    assert len(found) == len(rows) == sum(envelope.events for envelope in envelopes)
    for row in rows:
        event, envelope = found[session_id(int(row["sid"])), int(row["seq"])]
        for name in (*layout.SUMS, "ts_ms", "interval_ms", "playhead_ms", "startup_ms"):
            assert getattr(event, name) == row[name], name
        assert (event.reason, event.state) == (REASONS[row["reason"]], STATES[row["state"]])
        assert (event.outcome or "") == OUTCOMES[row["outcome"]]
        assert (event.error is not None) == (row["error_code"] > 0)
        assert event.tags is not None
        assert event.tags["cdn.name"] == WORLD.cdns[row["cdn"]]
        assert event.tags["stream.id"] == WORLD.streams[row["stream"]]
        assert envelope.country == WORLD.regions[row["region"]]
        assert envelope.asn == WORLD.isps[row["isp"]]


def test_a_player_sends_every_tag_that_players_may_send_and_no_other(rows: Records) -> None:
    """Geography and error codes are the server's to set."""
    envelope = next(EnvelopeWriter(WORLD).envelopes(rows))
    tags = decode_envelope(envelope.body(AT_MS)).events[0].tags
    assert set(tags or {}) == {wire for wire, tag in BY_WIRE.items() if not tag.server_only}


@pytest.mark.parametrize("most", [1, 7, 20])
def test_an_envelope_holds_one_network_and_no_more_events_than_asked_for(rows: Records, most: int) -> None:
    """One event is a player's own POST, more a relay's; numbers of envelopes differ."""
    envelopes = list(EnvelopeWriter(WORLD, most).envelopes(rows))
    assert max(envelope.events for envelope in envelopes) == most
    assert all(len(np.unique(envelope.rows["isp"])) == 1 for envelope in envelopes)
    assert len({envelope.ordinal for envelope in envelopes}) == len(envelopes)


def test_mischief_sends_some_twice_and_some_late_and_loses_none(rows: Records) -> None:
    """The shares are about those asked for, the late ones come out when due, and a seed repeats itself."""

    def run(seed: int) -> tuple[list[int], Mischief]:
        mischief = Mischief(MischiefSettings(twice_share=0.2, late_share=0.1, late_ms=60_000), seed)
        sent: list[int] = []
        for envelope in EnvelopeWriter(WORLD, 1).envelopes(rows):
            sent += [each.ordinal for each in mischief.pass_on(envelope, AT_MS)]
        assert mischief.due(AT_MS + 59_999) == []
        sent += [each.ordinal for each in mischief.due(AT_MS + 60_000)]
        return sent, mischief

    sent, mischief = run(5)
    assert set(sent) == set(range(1, len(rows) + 1))
    assert len(sent) == len(rows) + mischief.twice
    assert 0.1 < mischief.twice / len(rows) < 0.3
    assert 0.05 < mischief.late / len(rows) < 0.15
    assert run(5)[0] == sent
    assert run(6)[0] != sent
