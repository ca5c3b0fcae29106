"""Which keys and values there are: of published series from a short-lived list, of heartbeats from the cubes."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

from query.conditions import decide, without_patterns
from query.cube_choice import smallest_cube
from query.cube_values import cube_values
from query.families import FAMILIES
from query.published_cache import PublishedCache
from tocsin.adapters.store.port import Store
from tocsin.model.asl.lines import Tags
from tocsin.model.asl.query_expr import ALL, NoneOf, Query, all_keys
from tocsin.model.asl.times import DAY, HOUR, SECOND
from tocsin.model.cubes import Cube
from tocsin.model.tags import TAG_KEYS

LIST_FOR_MS = 5 * SECOND
"""How long a listing is kept before the store is asked again."""
_WINDOW_MS = 8 * DAY
_COLUMNS = frozenset(TAG_KEYS)


class StoreTags:
    """`TagSource` over the store: series that have points, and the catalogue once heartbeats have come."""

    def __init__(self, store: Store, cubes: Sequence[Cube], now_ms: Callable[[], int]) -> None:
        self._store, self._cubes, self._now_ms = store, tuple(cubes), now_ms
        self._published_series = PublishedCache(store, now_ms)
        self._cells: tuple[int, bool] | None = None
        self._listed: dict[tuple[Query, str], tuple[int, list[str]]] = {}

    def _has_cells(self) -> bool:
        """Whether any heartbeat was counted."""
        now = self._now_ms()
        if self._cells is None or not 0 <= now - self._cells[0] < LIST_FOR_MS:
            tables = ("deltas", "minutes", "hours")
            counts = " + ".join(f"(SELECT count() FROM (SELECT 1 FROM {t} WHERE cube = 'all' LIMIT 1))" for t in tables)
            self._cells = (now, int(self._store.query(f"SELECT {counts}")[0][0]) > 0)
        return self._cells[1]

    def _published(self, query: Query) -> list[Tags]:
        return [one.tags for one in self._published_series.series() if query.matches(one.tags)]

    def _conditions(self, query: Query) -> list[tuple[dict[str, str], Query]]:
        """Fixed tags of each catalogue family that a query may take, and what is left of the query."""
        if not self._has_cells():
            return []
        decided = ((f.fixed, decide(query, f.fixed, _COLUMNS)) for f in FAMILIES)
        return [(fixed, condition) for fixed, condition in decided if not isinstance(condition, NoneOf)]

    def keys(self, query: Query, after: str, limit: int) -> Sequence[str]:
        """Keys of matching series, sorted, those after `after`."""
        found = {key for tags in self._published(query) for key in tags}
        for fixed, condition in self._conditions(query):
            found.update(fixed)
            needed = all_keys(condition)
            found.update(key for cube in self._cubes if needed <= frozenset(cube.keys) for key in cube.keys)
        return [key for key in sorted(found) if key > after][:limit]

    def values(self, query: Query, key: str, after: str, limit: int) -> Sequence[str]:
        """Values of one key of matching series, sorted, those after `after`."""
        found = {tags[key] for tags in self._published(query) if key in tags}
        conditions = self._conditions(query)
        found.update(fixed[key] for fixed, _ in conditions if key in fixed)
        if key in _COLUMNS:
            for condition in dict.fromkeys(condition for _, condition in conditions):
                found.update(self._cell_values(condition, key))
        return [value for value in sorted(found) if value > after][:limit]

    def _cell_values(self, condition: Query, key: str) -> list[str]:
        """Values of a key in the smallest cube that serves, from a listing of the last seconds where there is one."""
        now = self._now_ms()
        self._listed = {k: kept for k, kept in tuple(self._listed.items()) if 0 <= now - kept[0] < LIST_FOR_MS}
        listed = self._listed.get((condition, key))
        if listed is None:
            listed = self._listed[condition, key] = (now, self._list_cells(condition, key, now))
        return listed[1]

    def _list_cells(self, condition: Query, key: str, now_ms: int) -> list[str]:
        cube = smallest_cube(all_keys(condition) | {key}, self._cubes)
        if cube is None:
            return []
        resolved = without_patterns(condition, lambda other: self._cell_values(ALL, other))
        return cube_values(self._store, cube, key, (now_ms - _WINDOW_MS, now_ms + HOUR), resolved)

    def tags(self, query: Query, key: str | None, limit: int) -> Sequence[tuple[str, str, int]]:
        """Key, value and how many matching series have them; 1 for what heartbeats have."""
        counts = collections.Counter(pair for tags in self._published(query) for pair in tags.items())
        keys = [key] if key is not None else self.keys(query, "", limit)
        for one in keys:
            counts.update({(one, v): 1 for v in self.values(query, one, "", limit) if (one, v) not in counts})
        return [(k, v, n) for (k, v), n in sorted(counts.items()) if key is None or k == key][:limit]
