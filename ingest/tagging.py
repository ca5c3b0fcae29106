"""Tags of a heartbeat, from what players send to the columns' values: allow-list, budgets, length.

A tag's budget counts distinct values in a generation of six hours. A value of the last generation keeps its place in
this one, so values in steady use outlast a flood of new ones, and memory is at most two budgets a tag.
"""

from __future__ import annotations

from collections.abc import Mapping

from ingest.stats import Stats
from tocsin.model.tags import BY_KEY, IDENTITY_KEYS, OTHER, TAGS, VALUE_LENGTH_MAX

GENERATION_MS = 6 * 3_600_000
_REGION, _ISP = IDENTITY_KEYS.index("region"), IDENTITY_KEYS.index("isp")
assert all(tag.key == "error" or tag.key in IDENTITY_KEYS for tag in TAGS)  # noqa: S101

TagSet = tuple[str, ...]
"""Values of `IDENTITY_KEYS`, in that order; empty where the tag is not known."""
NO_TAGS: TagSet = ("",) * len(IDENTITY_KEYS)


class Budget:
    """Which values of one tag are kept apart; `admit` says under which name a value goes on."""

    __slots__ = ("_key", "_limit", "_previous", "_stats", "current")

    def __init__(self, key: str, limit: int, stats: Stats) -> None:
        self._key = key
        self._limit = limit
        self._stats = stats
        self._previous: set[str] = set()
        self.current: set[str] = {""}

    def admit(self, value: str) -> str:
        """The value itself (cut to the longest allowed), or `__other__` where the budget is used up."""
        if len(value) > VALUE_LENGTH_MAX:
            self._stats.tags_cut += 1
            value = value[:VALUE_LENGTH_MAX]
        if value in self.current:
            return value
        if value in self._previous or len(self.current) <= self._limit:
            self.current.add(value)
            return value
        self._stats.tags_other[self._key] += 1
        return OTHER

    def next_generation(self) -> None:
        """Begin counting anew; values of the generation that ends keep their places."""
        self._previous, self.current = self.current, {""}


class Tagger:
    """Resolves tags for one gateway process; its budgets are the only state."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._budgets = {tag.key: Budget(tag.key, tag.budget, stats) for tag in TAGS}
        self._slots = {
            tag.wire: (IDENTITY_KEYS.index(tag.key), self._budgets[tag.key]) for tag in TAGS if not tag.server_only
        }
        self._region, self._isp = self._budgets["region"], self._budgets["isp"]
        self._generation = -1

    def tick(self, now_ms: int) -> None:
        """Tell the time: budgets start a new generation where one is over."""
        generation = now_ms // GENERATION_MS
        if generation != self._generation:
            if self._generation >= 0:
                for budget in self._budgets.values():
                    budget.next_generation()
            self._generation = generation

    def resolve(self, tags: Mapping[str, str], region: str = "", isp: str = "") -> TagSet:
        """The tag set of client tags and the server's own; unknown and server-only tags are ignored and counted."""
        values = list(NO_TAGS)
        slots = self._slots
        for wire, value in tags.items():
            slot = slots.get(wire)
            if slot is None:
                self._stats.tags_ignored += 1
            else:
                at, budget = slot
                values[at] = value if value in budget.current else budget.admit(value)
        if region:
            values[_REGION] = self._region.admit(region)
        if isp:
            values[_ISP] = self._isp.admit(isp)
        return tuple(values)

    def error(self, code: str) -> str:
        """The value of key `error` of an error code."""
        return self._budgets["error"].admit(code)


def ignored(tags: Mapping[str, str]) -> list[str]:
    """The tags of a client that are not taken: unknown ones and those that only the server sets."""
    client = {tag.wire for tag in BY_KEY.values() if not tag.server_only}
    return [wire for wire in tags if wire not in client]
