"""An in-memory source: what tests and examples read, and how published arrays can be queried without a store."""

from __future__ import annotations

import bisect
import collections
from collections.abc import Iterable, Sequence

import numpy as np

from tocsin.model.asl.collect import aggregate
from tocsin.model.asl.lines import Floats, Tags
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.source import Fetched, FetchRequest
from tocsin.model.asl.times import MINUTE


class MemorySource:
    """Series kept as sorted times and values; a point overwrites an earlier one at the same time."""

    def __init__(self, primary_step_ms: int = MINUTE) -> None:
        self._step = primary_step_ms
        self._series: dict[tuple[tuple[str, str], ...], tuple[list[int], list[float]]] = {}

    @property
    def primary_step_ms(self) -> int:
        """Distance of the points."""
        return self._step

    def put(self, tags: Tags, time_ms: int, value: float) -> None:
        """Store one point; its time is rounded up to the step."""
        slot = -(-time_ms // self._step)
        slots, values = self._series.setdefault(tuple(sorted(tags.items())), ([], []))
        if not slots or slot > slots[-1]:
            slots.append(slot)
            values.append(value)
            return
        i = bisect.bisect_left(slots, slot)
        if slots[i] == slot:
            values[i] = value
        else:
            slots.insert(i, slot)
            values.insert(i, value)

    def put_many(self, points: Iterable[tuple[Tags, int, float]]) -> None:
        """Store points."""
        for tags, time_ms, value in points:
            self.put(tags, time_ms, value)

    def _matching(self, query: Query) -> list[tuple[dict[str, str], tuple[list[int], list[float]]]]:
        found = ((dict(key), series) for key, series in self._series.items())
        return [(tags, series) for tags, series in found if query.matches(tags)]

    def fetch(self, request: FetchRequest) -> Fetched:
        """Answer one data expression."""
        first = (request.start_ms - request.step_ms) // self._step + 1
        columns = request.points * (request.step_ms // self._step)
        tags: list[Tags] = []
        rows: list[Floats] = []
        for line_tags, (slots, values) in self._matching(request.query):
            low, high = bisect.bisect_left(slots, first), bisect.bisect_left(slots, first + columns)
            if low < high:
                row = np.full(columns, np.nan)
                row[np.asarray(slots[low:high]) - first] = values[low:high]
                tags.append(line_tags)
                rows.append(row)
        raw = np.array(rows) if rows else np.empty((0, columns))
        return Fetched(aggregate(request, tags, raw, self._step))

    def keys(self, query: Query, after: str, limit: int) -> Sequence[str]:
        """Keys of matching series, sorted, those after `after`."""
        found = {key for tags, _ in self._matching(query) for key in tags}
        return [key for key in sorted(found) if key > after][:limit]

    def values(self, query: Query, key: str, after: str, limit: int) -> Sequence[str]:
        """Values of one key of matching series, sorted, those after `after`."""
        found = {tags[key] for tags, _ in self._matching(query) if key in tags}
        return [value for value in sorted(found) if value > after][:limit]

    def tags(self, query: Query, key: str | None, limit: int) -> Sequence[tuple[str, str, int]]:
        """Key, value and how many matching series have them."""
        counts = collections.Counter(
            pair for tags, _ in self._matching(query) for pair in tags.items() if key is None or pair[0] == key
        )
        return [(k, v, n) for (k, v), n in sorted(counts.items())][:limit]
