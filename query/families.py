"""The catalogue as families of series: what each name reads from the columns of a cube's cell.

| family | series | value at a minute |
| --- | --- | --- |
| part | `qoe.<part>` for every stored part | sum / 60 s: a rate per second; `max` parts: the maximum, a gauge |
| counter | the metric's name | scale × Σ factor × part / 60 s |
| timer | the metric's name, `statistic` = count, totalTime | plays per second, seconds per second |
| buckets | the metric's name, `statistic` = percentile, `percentile` = T0000 … T0113 | counts per second |
| maximum | the metric's name | the maximum of the part, a gauge |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tocsin.model.asl.words.catalogue import part_name
from tocsin.model.catalogue import METRICS, Metric
from tocsin.model.tables import ADDITIVE_COLUMNS, MAX_COLUMNS

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SeriesFamily:
    """Series with the same fixed tags. `value` is SQL that aggregates cells of one minute into the sum to be divided
    by the seconds of the span (for a maximum: the value itself); `histogram` is a map column whose keys become tags."""

    name: str
    tags: Mapping[str, str]
    parts: tuple[str, ...]
    value: str
    scale: float = 1.0
    is_max: bool = False
    histogram: str = ""

    @property
    def fixed(self) -> dict[str, str]:
        """All tags that its lines share."""
        return {"name": self.name, **self.tags}


def _weighted(parts: Mapping[str, float]) -> str:
    return " + ".join(f"sum({name})" if factor == 1 else f"{factor!r} * sum({name})" for name, factor in parts.items())


def _timer(metric: Metric) -> Iterator[SeriesFamily]:
    histogram = metric.histogram
    rate = {"atlas.dstype": "rate"}
    definition = next(iter(metric.definitions.values()))
    yield SeriesFamily(metric.name, {"statistic": "percentile", **rate}, (), "", histogram=histogram)
    yield SeriesFamily(
        metric.name, {"statistic": "count", **rate}, (*definition.denominator,), _weighted(definition.denominator)
    )
    yield SeriesFamily(
        metric.name,
        {"statistic": "totalTime", **rate},
        (*definition.numerator,),
        _weighted(definition.numerator),
        scale=1e-3,
    )


def _families() -> Iterator[SeriesFamily]:
    named = set()
    for metric in METRICS.values():
        if metric.kind == "counter":
            named.add(metric.name)
            yield SeriesFamily(
                metric.name, {"atlas.dstype": "rate"}, (*metric.parts,), _weighted(metric.parts), metric.scale
            )
        elif metric.kind == "timer":
            yield from _timer(metric)
        elif metric.kind == "max":
            part = next(iter(metric.parts))
            yield SeriesFamily(metric.name, {"atlas.dstype": "gauge"}, (part,), f"max({part})", is_max=True)
    for part in ADDITIVE_COLUMNS:
        if part_name(part) not in named:
            yield SeriesFamily(part_name(part), {"atlas.dstype": "rate"}, (part,), f"sum({part})")
    for part in MAX_COLUMNS:
        yield SeriesFamily(part_name(part), {"atlas.dstype": "gauge"}, (part,), f"max({part})", is_max=True)


FAMILIES: tuple[SeriesFamily, ...] = tuple(_families())
