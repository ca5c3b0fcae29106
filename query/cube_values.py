"""Which values a key has in a cube: from hours where there are, else from minutes and deltas."""

from __future__ import annotations

from query.cells import Folded
from query.conditions import Bound
from tocsin.adapters.store.port import Store
from tocsin.model.asl.query_expr import ALL, Query
from tocsin.model.asl.times import HOUR
from tocsin.model.cubes import Cube


def cube_values(store: Store, cube: Cube, key: str, span_ms: tuple[int, int], condition: Query = ALL) -> list[str]:
    """Values of `key` in the cells of a range (epoch ms) for which a condition without patterns holds."""
    bound = Bound({k: k for k in cube.keys})
    where = f"cube = {bound.bind(cube.name)} AND {key} != '' AND {bound.sql(condition)}"
    low_s, high_s = span_ms[0] // HOUR * HOUR // 1000, span_ms[1] // 1000
    folded_s = min(max(low_s, Folded.read(store).hours_end_ms // 1000), high_s)
    spans = {"hours": (low_s, high_s), "minutes": (folded_s, high_s), "deltas": (folded_s, high_s)}
    tables = " UNION DISTINCT ".join(
        f"SELECT DISTINCT {key} AS v FROM {table} WHERE {where}"
        f" AND minute >= toDateTime({low}, 'UTC') AND minute < toDateTime({high}, 'UTC')"
        for table, (low, high) in spans.items()
    )
    return [str(row[0]) for row in store.query(tables, bound.parameters)]
