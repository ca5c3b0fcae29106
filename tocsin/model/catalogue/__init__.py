"""The metric catalogue: one file a family, found here; a metric there is known to jobs, query, rules and docs.

To add a family: write a module in this folder with a `FAMILY`. Nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

from tocsin.model.catalogue.kinds import (
    Combination,
    Definition,
    Family,
    Histogram,
    Measure,
    Metric,
    Moments,
)
from tocsin.model.errors import ConfigError

__all__ = [
    "FAMILIES", "HISTOGRAMS", "MEASURES", "METRICS", "MOMENTS", "PREFIX", "WORDS",
    "Combination", "Definition", "Family", "Histogram", "Measure", "Metric", "Moments",
]  # fmt: skip

_T = TypeVar("_T", Measure, Moments, Histogram, Metric)

PREFIX = "qoe."
"""Names with this prefix are the catalogue's own: a published series may not use it."""


def _families() -> tuple[Family, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "kinds")
    return tuple(importlib.import_module(f"{__name__}.{name}").FAMILY for name in names)


def _by_name(items: list[_T]) -> dict[str, _T]:
    found: dict[str, _T] = {}
    for item in items:
        if item.name in found:
            raise ConfigError(f"reading the catalogue: {item.name} is declared twice; rename one")
        found[item.name] = item
    return found


FAMILIES = _families()
MEASURES: dict[str, Measure] = _by_name([m for family in FAMILIES for m in family.measures])
MOMENTS: dict[str, Moments] = _by_name([m for family in FAMILIES for m in family.moments])
HISTOGRAMS: dict[str, Histogram] = _by_name([h for family in FAMILIES for h in family.histograms])
METRICS: dict[str, Metric] = _by_name([m for family in FAMILIES for m in family.metrics])
WORDS: dict[str, Metric] = {metric.word: metric for metric in METRICS.values() if metric.word}
