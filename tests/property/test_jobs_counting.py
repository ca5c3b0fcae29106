"""Counting is a pure function of the log: any split, copy or restart of it comes to what the oracle says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.jobs_world import RULES, START_MS, cells_of, count_all, ledger_of, log_of, sent_heartbeats
from tests.oracle import Sent
from tocsin.adapters.log.port import Record

TICKS_MS = 15_000
_ROUNDS = settings(max_examples=8, deadline=None, database=None)


def _ticks(sent: list[Sent]) -> list[int]:
    return list(range(START_MS + 3, sent[-1].append_ms + 400_000, TICKS_MS))


def _log(sent: list[Sent], seed: int) -> list[Record]:
    """The log, closed by one more tick that is no part of any bucket counted."""
    ticks = _ticks(sent)
    return log_of(sent, random.Random(seed), [*ticks, ticks[-1] + TICKS_MS])


@pytest.mark.parametrize("seed", range(4))
def test_every_cell_equals_the_oracle(seed: int) -> None:
    """All cubes, sums, moments, maxima, distributions, time-outs and ledger counts, from an untidy audience."""
    sent = sent_heartbeats(seed)
    want = oracle.answer(sent, _ticks(sent), RULES)
    outputs = count_all(_log(sent, seed))
    assert cells_of(outputs) == want.cells
    ledger = ledger_of(outputs)
    assert {name: ledger[name] for name in want.ledger} == want.ledger
    kinds = [row["row_kind"] for output in outputs for row in output.raw.select(["row_kind"]).to_pylist()]
    assert kinds.count("timeout") == sum(sign > 0 for _, _, sign in want.endings) > 0
    assert kinds.count("resumed") == sum(sign < 0 for _, _, sign in want.endings) > 0


@_ROUNDS
@given(seed=st.integers(0, 10**6), split=st.integers(0, 10**6))
def test_how_the_log_is_cut_into_messages_does_not_matter(seed: int, split: int) -> None:
    """The same heartbeats with the same stamps, packed otherwise, are the same sums."""
    sent = sent_heartbeats(seed, sessions=6, minutes=10)
    one, other = (count_all(_log(sent, packing)) for packing in (seed, split))
    assert cells_of(one) == cells_of(other)


@_ROUNDS
@given(seed=st.integers(0, 10**6), data=st.data())
def test_where_counting_restarts_does_not_matter(seed: int, data: st.DataObject) -> None:
    """A new engine that re-reads the horizon hands out the very buckets that the old one would have."""
    records = _log(sent_heartbeats(seed, sessions=6, minutes=10), seed)
    whole = count_all(records)
    restarts = data.draw(st.sets(st.integers(1, len(whole) - 1), min_size=1, max_size=6))
    again = count_all(records, restarts)
    assert [(one.start_offset, one.end_offset, one.counts) for one in whole] == [
        (one.start_offset, one.end_offset, one.counts) for one in again
    ]
    for one, other in zip(whole, again, strict=True):
        assert cells_of([one]) == cells_of([other])


@_ROUNDS
@given(seed=st.integers(0, 10**6), data=st.data())
def test_copies_change_nothing_but_the_count_of_copies(seed: int, data: st.DataObject) -> None:
    """Any message may be appended again, soon after: the sums stay, received and duplicates rise by its heartbeats."""
    sent = sent_heartbeats(seed, sessions=6, minutes=10)
    timely = [
        one for one in sent
        if -RULES.future_ms <= one.append_ms - _event_ms(one) <= RULES.lateness_ms - 5_000
    ]  # fmt: skip
    copied = data.draw(st.lists(st.sampled_from(timely), min_size=1, max_size=20)) if timely else []
    copies = [Sent(one.append_ms, one.heartbeat) for one in copied]
    with_copies = sorted([*sent, *copies], key=lambda one: one.append_ms)
    plain, more = (count_all(_log(log, seed)) for log in (sent, with_copies))
    assert cells_of(plain) == cells_of(more)
    before, after = ledger_of(plain), ledger_of(more)
    rises = {name: after[name] - before[name] for name in ("received", "duplicates", "unique")}
    assert rises == {"received": len(copies), "duplicates": len(copies), "unique": 0}


def _event_ms(one: Sent) -> int:
    return int(one.heartbeat["ts_ms"] + one.heartbeat["shift_ms"])
