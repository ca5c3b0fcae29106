"""What a metric family declares: measures (stored parts), moments, histograms, and metrics (formulas over parts).

Parts are stored, ratios are taken at query time: vendors differ in denominators, so each definition stays selectable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Columns = Mapping[str, Int64s]
Derive = Callable[[Columns], Int64s]


@dataclass(frozen=True, slots=True)
class Measure:
    """An additive part: sum over heartbeats of `of` (a batch column or a function of the columns), times sample_k.

    `by="max"` merges by maximum instead and is not weighted.
    """

    name: str
    unit: str
    doc: str
    of: str | Derive
    by: Literal["sum", "max"] = "sum"

    def values(self, columns: Columns) -> Int64s:
        """This measure of each heartbeat, unweighted: shape (n,)."""
        return columns[self.of] if isinstance(self.of, str) else self.of(columns)


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of a ratio X/Y over session-minutes, for the tests of alerting.

    X and Y are sums over the heartbeats of one session-minute, then floor-divided by `x_unit` and `y_unit` so that
    squares stay exact in int64. Stored, unweighted: `<name>_k` (session-minutes with X > 0), `_sx _sy _sxx _syy _sxy`.
    """

    name: str
    doc: str
    x: str
    y: tuple[str, ...]
    x_unit: int = 1
    y_unit: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The six stored columns, in the order k, sx, sy, sxx, syy, sxy."""
        return tuple(f"{self.name}_{part}" for part in ("k", "sx", "sy", "sxx", "syy", "sxy"))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by Atlas's 276 percentile buckets of the milliseconds in `of`, where `of` >= 0, weighted by sample_k."""

    name: str
    doc: str
    of: str | Derive

    def values(self, columns: Columns) -> Int64s:
        """Milliseconds of each heartbeat, negative where it has none: shape (n,)."""
        return columns[self.of] if isinstance(self.of, str) else self.of(columns)


Combination = Mapping[str, float]
"""Linear combination of stored parts: part name -> factor."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of a ratio: `scale` × Σ numerator / Σ denominator, or the square root forms named by `form`."""

    numerator: Combination
    denominator: Combination
    scale: float = 1.0
    doc: str = ""
    form: Literal["ratio", "sd"] = "ratio"
    """`sd`: √(Σnumerator/Σdenominator − mean²), the mean taken from `mean`."""
    mean: Combination = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """A catalogue metric.

    kind `counter`: a rate per second, `scale` × Σ parts / s; `ratio`: by `definitions`, the first is the default, also
    the word `:<word>` of the stack language; `timer`: percentiles and mean of `histogram`; `max`: maximum of a part.
    `worse`: the direction that hurts viewers, +1 higher, -1 lower, 0 neither.
    """

    name: str
    kind: Literal["counter", "ratio", "timer", "max", "gauge"]
    unit: str
    doc: str
    parts: Combination = field(default_factory=dict)
    scale: float = 1.0
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    histogram: str = ""
    moments: str = ""
    """Name of the `Moments` that test this metric, where it has them."""
    word: str = ""
    worse: Literal[-1, 0, 1] = 0


@dataclass(frozen=True, slots=True)
class Family:
    """Everything one catalogue file declares."""

    name: str
    measures: tuple[Measure, ...] = ()
    moments: tuple[Moments, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    metrics: tuple[Metric, ...] = ()
