"""Tags: allow-list, budgets with generations, length; and token buckets."""

from __future__ import annotations

import numpy as np

from ingest.limits import SESSION_SLOTS, Buckets, SessionBuckets
from ingest.settings import Rates
from ingest.stats import UNKNOWN_FIELDS_MAX, Stats
from ingest.tagging import GENERATION_MS, NO_TAGS, Tagger, ignored
from tocsin.model.tags import BY_KEY, IDENTITY_KEYS, OTHER, VALUE_LENGTH_MAX


def at(key: str) -> int:
    """Position of a key in a tag set."""
    return IDENTITY_KEYS.index(key)


def test_only_the_allow_list_passes() -> None:
    """Unknown and server-only tags of a client are ignored and counted; the server's own are set."""
    stats = Stats()
    tagger = Tagger(stats)
    tags = {"content.id": "t", "user.id": "u", "geo.country": "US", "error.code": "E"}
    resolved = tagger.resolve(tags, "JP", "AS1")
    assert dict(zip(IDENTITY_KEYS, resolved, strict=True)) == {
        **dict.fromkeys(IDENTITY_KEYS, ""), "title": "t", "region": "JP", "isp": "AS1",
    }  # fmt: skip
    assert stats.tags_ignored == 3
    assert ignored(tags) == ["user.id", "geo.country", "error.code"]
    assert tagger.resolve({}) == NO_TAGS


def test_a_value_past_the_budget_becomes_other() -> None:
    """`stream.type` has a budget: the values within it stay, later ones are `__other__` and counted by tag."""
    stats = Stats()
    tagger = Tagger(stats)
    budget = BY_KEY["mode"].budget
    seen = [tagger.resolve({"stream.type": f"m{n}"})[at("mode")] for n in range(budget + 3)]
    assert seen == [f"m{n}" for n in range(budget)] + [OTHER] * 3
    assert tagger.resolve({"stream.type": "m0"})[at("mode")] == "m0"
    assert stats.tags_other == {"mode": 3}


def test_values_in_use_outlast_a_flood() -> None:
    """In a new generation a value of the last one keeps its place though others used the budget up first."""
    tagger = Tagger(Stats())
    budget = BY_KEY["mode"].budget
    tagger.tick(0)
    assert tagger.resolve({"stream.type": "live"})[at("mode")] == "live"
    tagger.tick(GENERATION_MS)
    flood = [tagger.resolve({"stream.type": f"junk{n}"})[at("mode")] for n in range(budget)]
    assert OTHER not in flood
    assert tagger.resolve({"stream.type": "more junk"})[at("mode")] == OTHER
    assert tagger.resolve({"stream.type": "live"})[at("mode")] == "live"
    tagger.tick(2 * GENERATION_MS)
    tagger.tick(3 * GENERATION_MS)
    assert tagger.resolve({"stream.type": "late"})[at("mode")] == "late"


def test_a_long_value_is_cut() -> None:
    """A value is cut to the longest allowed, counted, and two that are cut alike are one value."""
    stats = Stats()
    tagger = Tagger(stats)
    values = {tagger.resolve({"content.id": "x" * VALUE_LENGTH_MAX + end})[0] for end in ("a", "b")}
    assert values == {"x" * VALUE_LENGTH_MAX}
    assert stats.tags_cut == 2


def test_memory_of_budgets_is_bounded() -> None:
    """100,000 values of one tag leave no more behind than its budget."""
    tagger = Tagger(Stats())
    for n in range(100_000):
        tagger.resolve({"content.id": f"t{n}"})
    budget = tagger._budgets["title"]
    assert len(budget.current) == BY_KEY["title"].budget + 1


def test_names_of_unknown_fields_are_bounded() -> None:
    """Beyond the limit they are counted together."""
    stats = Stats()
    for n in range(UNKNOWN_FIELDS_MAX + 10):
        stats.unknown(f"f{n}")
    assert len(stats.unknown_fields) == UNKNOWN_FIELDS_MAX + 1
    assert stats.unknown_fields["__other__"] == 10


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    """Burst 10 at 2/s: ten at once, then one each half second; what is larger than the bucket fits a full one."""
    buckets = Buckets(2.0, 10.0, 8)
    assert buckets.wait_s("a", 10, 100.0) == 0
    assert buckets.wait_s("a", 1, 100.0) == 0.5
    assert buckets.wait_s("a", 1, 100.5) == 0
    assert buckets.wait_s("b", 50, 100.0) == 0
    assert buckets.wait_s("b", 1, 100.0) == 0.5


def test_buckets_forget_the_oldest() -> None:
    """The table holds `entries` names at most."""
    buckets = Buckets(1.0, 10.0, 4)
    for n in range(100):
        assert buckets.wait_s(f"n{n}", 10, 0.0) == 0
    assert len(buckets) == 4
    assert buckets.wait_s("n99", 1, 0.0) > 0
    assert buckets.wait_s("n0", 10, 0.0) == 0


def test_session_buckets_count_within_a_batch_and_between() -> None:
    """Burst 3 at 1/s: a batch of five of one session loses two; others and unlimited ones lose none; it refills."""
    buckets = SessionBuckets(Rates(session_events_per_s=1.0, session_burst_events=3))
    hashes = np.array([7, 8, 7, 7, 9, 7, 7, 7 + SESSION_SLOTS * 3], np.uint64)
    limited = np.array([1, 1, 1, 1, 0, 1, 1, 0], np.bool_)
    over = buckets.over(hashes, limited, 50.0)
    assert over.tolist() == [False, False, False, False, False, True, True, False]
    assert buckets.over(hashes[:1], limited[:1], 50.5).tolist() == [True]
    assert buckets.over(hashes[:1], limited[:1], 51.1).tolist() == [False]
    assert buckets.over(hashes, np.zeros(8, np.bool_), 51.1).sum() == 0
