"""The stack language's source over the store: the metric catalogue by cubes or raw heartbeats, and published series.

A query is answered from the smallest cube that has all keys in its conditions and its `:by`; where none has, from raw
heartbeats while they are kept; else it is refused with the cube to declare.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from query.cells import Folded, RawLines, pushes_down
from query.conditions import decide, without_patterns
from query.cube_cache import CubeReader
from query.cube_choice import smallest_cube
from query.cube_values import cube_values
from query.families import FAMILIES, SeriesFamily
from query.raw import read_raw, servable
from query.tag_listing import StoreTags
from tocsin.adapters.store.port import Store
from tocsin.model.asl.collect import aggregate
from tocsin.model.asl.errors import AslError
from tocsin.model.asl.lines import Floats, Lines, empty
from tocsin.model.asl.query_expr import And, Equal, In, KeyQuery, NoneOf, Or, Query, all_keys
from tocsin.model.asl.source import Fetched, FetchRequest
from tocsin.model.asl.times import DAY, MINUTE
from tocsin.model.catalogue import PREFIX
from tocsin.model.cubes import Cube
from tocsin.model.tables import LEDGER_CUBE
from tocsin.model.tags import TAG_KEYS

_COLUMNS = frozenset(TAG_KEYS)
RAW_DAYS = 8
SETTLE_MS = 30_000
"""After this much of append time a minute has what players send in time; later heartbeats still merge into it."""
_WATERMARK_WINDOW_MS = 2 * DAY


@dataclass(frozen=True, slots=True)
class Plan:
    """Families to be read with one condition over the keys that it and the grouping name."""

    families: tuple[SeriesFamily, ...]
    condition: Query
    keys: frozenset[str]
    cube: Cube | None


class StoreSource(StoreTags):
    """`SeriesSource` and `TagSource` over a store. `cubes` are those declared; `now_ms` is the service's clock."""

    def __init__(
        self,
        store: Store,
        cubes: Sequence[Cube],
        now_ms: Callable[[], int],
        *,
        raw_days: int = RAW_DAYS,
        settle_ms: int = SETTLE_MS,
    ) -> None:
        super().__init__(store, cubes, now_ms)
        self._cells_reader = CubeReader(store)
        self.raw_days, self._raw_ms, self._settle_ms = raw_days, raw_days * DAY, settle_ms

    @property
    def primary_step_ms(self) -> int:
        """One minute."""
        return MINUTE

    def fetch(self, request: FetchRequest) -> Fetched:
        """Answer one data expression."""
        notices: list[str] = []
        wanted = self.plans(request)
        folded = Folded.read(self._store) if wanted else Folded(0, 0)
        parts = [part for plan in _batched(wanted, request) for part in self._read(plan, request, folded, notices)]
        if not _only_catalogue(request.query):
            parts.append(self._published_series.read(request.query, request))
        lines = _together(request, [p for p in parts if p.tags])
        incomplete = self._incomplete_from(request) if wanted and request.end_ms > folded.minutes_end_ms else None
        if incomplete is not None:
            notices.append(f"points from {_clock(incomplete)} on are not complete yet")
        return Fetched(lines, tuple(dict.fromkeys(notices)), incomplete)

    def plans(self, request: FetchRequest) -> list[Plan]:
        """Which families a request takes, with the cube that serves and what is left of the query."""
        wanted = []
        for family in FAMILIES:
            columns = _COLUMNS | {"percentile"} if family.histogram else _COLUMNS
            condition = decide(request.query, family.fixed, columns)
            groupable = all(key in columns or key in family.fixed for key in request.by or ())
            if isinstance(condition, NoneOf) or not groupable:
                continue
            if "percentile" in all_keys(condition):
                raise AslError("percentile buckets of heartbeats can be grouped by, but not be a condition of a query")
            keys = (all_keys(condition) | frozenset(request.by or ())) & _COLUMNS
            wanted.append(Plan((family,), condition, keys, smallest_cube(keys, self._cubes)))
        return wanted

    def _read(self, plan: Plan, request: FetchRequest, folded: Folded, notices: list[str]) -> list[RawLines]:
        cube = plan.cube
        if cube is not None:
            span_ms = (request.start_ms - request.step_ms, request.end_ms)
            resolved = without_patterns(plan.condition, lambda key: cube_values(self._store, cube, key, span_ms))
            return self._cells_reader.read(plan.families, cube, resolved, request, folded)
        name = ",".join(sorted(plan.keys, key=TAG_KEYS.index))
        too_old = request.start_ms - request.step_ms < self._now_ms() - self._raw_ms
        if too_old or not all(map(servable, plan.families)):
            raise AslError(
                f"no cube has the keys {name} of '{request.query}', and raw heartbeats, kept for "
                f"{self._raw_ms // DAY} days, do not serve it: declare the cube '{name}' in `cubes`, or use fewer keys"
                f": one has {_most_of(plan.keys, self._cubes)}"
            )
        notices.append(f"answered from raw heartbeats: no cube has {name}; declaring the cube '{name}' makes it quick")
        resolved = self.raw_condition(plan.condition, request)
        return [read_raw(self._store, family, resolved, request) for family in plan.families]

    def raw_condition(self, condition: Query, request: FetchRequest) -> Query:
        """A condition on tags for raw heartbeats of a request's range: patterns are the values that they match."""
        return without_patterns(condition, lambda key: self._raw_values(key, request))

    def _raw_values(self, key: str, request: FetchRequest) -> list[str]:
        rows = self._store.query(
            f"SELECT DISTINCT {key} FROM heartbeats WHERE minute >= toDateTime({{low:Int64}}, 'UTC')"
            " AND minute < toDateTime({high:Int64}, 'UTC')",
            {"low": (request.start_ms - request.step_ms) // 1000, "high": request.end_ms // 1000},
        )
        return [str(row[0]) for row in rows]

    def watermark_ms(self) -> int | None:
        """Append time up to which every partition is counted; None before anything was."""
        rows = self._store.query(
            "SELECT log_partition, max(append_ms) FROM deltas WHERE cube = {ledger:String}"
            " AND append_day >= toDate({since:Int64}) GROUP BY log_partition",
            {"ledger": LEDGER_CUBE, "since": (self._now_ms() - _WATERMARK_WINDOW_MS) // 1000},
        )
        return min((int(row[1]) for row in rows), default=None)

    def _incomplete_from(self, request: FetchRequest) -> int | None:
        """The first point of a request whose minutes are not all counted, if there is one."""
        watermark = self.watermark_ms()
        if watermark is None:
            return None
        complete = (watermark - self._settle_ms) // MINUTE * MINUTE
        return None if request.end_ms <= complete else complete + MINUTE


def _most_of(keys: frozenset[str], cubes: Sequence[Cube]) -> str:
    """The keys of which one cube has the most."""
    most = max((keys & frozenset(cube.keys) for cube in cubes), key=len, default=frozenset())
    return ",".join(sorted(most, key=TAG_KEYS.index)) or "none of them"


def _clock(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%MZ")


def _batched(wanted: Sequence[Plan], request: FetchRequest) -> list[Plan]:
    """Families that one read can serve together: same cube and condition, and the store sums all or none of them."""
    batches: dict[tuple[object, ...], Plan] = {}
    for plan in wanted:
        family = plan.families[0]
        alone = family.name if family.histogram else ""
        key = (plan.cube, plan.condition, pushes_down(request, family), alone)
        before = batches.get(key)
        families = plan.families if before is None else (*before.families, *plan.families)
        batches[key] = dataclasses.replace(plan, families=families)
    return list(batches.values())


def _together(request: FetchRequest, parts: Sequence[RawLines]) -> Lines:
    if not parts:
        return empty(request.points)
    tags = [t for part in parts for t in part.tags]
    gauges = [g for part in parts for g in part.gauges]
    steps = {part.step_ms for part in parts}
    step = steps.pop() if len(steps) == 1 else request.step_ms
    values = np.vstack([part.values if part.step_ms == step else _to_step(part, request) for part in parts])
    return aggregate(request, tags, values, step, gauges)


def _only_catalogue(query: Query) -> bool:
    """Whether a query can take no series but those under the catalogue's own prefix."""
    if isinstance(query, And):
        return _only_catalogue(query.left) or _only_catalogue(query.right)
    if isinstance(query, Or):
        return _only_catalogue(query.left) and _only_catalogue(query.right)
    if not isinstance(query, KeyQuery) or query.key != "name":
        return False
    if isinstance(query, In):
        return all(v.startswith(PREFIX) for v in query.values)
    return isinstance(query, Equal) and query.value.startswith(PREFIX)


def _to_step(part: RawLines, request: FetchRequest) -> Floats:
    """Lines at the primary step as sums or averages over the step of a request."""
    windows = part.values.reshape(len(part.tags), -1, request.step_ms // part.step_ms)
    there = ~np.isnan(windows)
    count = there.sum(axis=2)
    total = np.where(there, windows, 0.0).sum(axis=2)
    with np.errstate(all="ignore"):
        mean = total / np.where(np.array(part.gauges)[:, None], count, windows.shape[2])
    return np.where(count > 0, total if request.cf == "sum" else mean, np.nan)
