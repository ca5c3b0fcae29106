"""The rotating background sample: every stream in turn, within its share of a core."""

from __future__ import annotations

import itertools

import pytest

from server_probe.registry import Stream, StreamRegistry
from server_probe.sampling import BURST_S, Sampler
from tocsin.model.errors import ConfigError


def sampler(streams: int, share: float, seed: int = 1) -> tuple[Sampler, StreamRegistry]:
    registry = StreamRegistry(Stream(f"s{number}", {"a": "http://a.example/m"}) for number in range(streams))
    ids = (f"look-{number}" for number in itertools.count())
    return Sampler(registry, cpu_share=share, seed=seed, new_id=ids.__next__), registry


def test_every_stream_has_its_turn_before_any_has_two() -> None:
    """Each round is a permutation of all streams, and the turn counts rounds."""
    sample, _ = sampler(7, 0.5)
    looks = [sample.due(0.0) for _ in range(21)]
    for turn in range(3):
        part = [look for look in looks[7 * turn : 7 * turn + 7] if look is not None]
        assert {look.stream for look in part} == {f"s{number}" for number in range(7)}
        assert {look.turn for look in part} == {turn}
        assert {look.reason for look in part} == {"sampled"}


def test_the_cpu_spent_stays_within_the_share() -> None:
    """Ten thousand seconds at 5 % of a core spend 500 CPU seconds, whatever one look costs."""
    sample, _ = sampler(10, 0.05)
    spent_s = 0.0
    for second in range(10_000):
        if sample.due(float(second)) is not None:
            sample.charge(1.7)
            spent_s += 1.7
    assert spent_s == pytest.approx(500.0, abs=BURST_S + 2 * 1.7)


def test_an_idle_night_is_not_made_up_for() -> None:
    """The bucket holds little: after a long pause there is no burst."""
    sample, _ = sampler(10, 0.5)
    sample.due(0.0)
    sample.charge(BURST_S + 1.0)
    looks = 0
    while sample.due(100_000.0) is not None:
        sample.charge(1.0)
        looks += 1
    assert looks == int(BURST_S)


def test_a_clock_that_steps_back_gives_no_credit() -> None:
    """Time going backwards neither adds nor takes."""
    sample, _ = sampler(2, 1.0)
    sample.due(100.0)
    sample.charge(BURST_S + 0.5)
    assert sample.due(50.0) is None
    assert sample.due(50.0) is None


def test_share_zero_is_off_and_no_streams_is_no_look() -> None:
    """Nothing is looked at, without an error."""
    assert sampler(3, 0.0)[0].due(0.0) is None
    assert sampler(0, 0.5)[0].due(0.0) is None


def test_new_streams_join_the_next_round() -> None:
    """A stream registered later is looked at without a restart."""
    sample, registry = sampler(1, 1.0)
    assert sample.due(0.0) is not None
    registry.add(Stream("new", {"a": "http://a.example/m"}))
    seen = {look.stream for look in (sample.due(0.0) for _ in range(2)) if look is not None}
    assert seen == {"s0", "new"}


def test_a_share_beyond_a_core_is_refused() -> None:
    """The message names the value and the range."""
    with pytest.raises(ConfigError, match=r"cpu_share=1.5.*0 \(off\) to 1"):
        sampler(1, 1.5)
