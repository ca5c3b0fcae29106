"""From a catalogue metric to what the tests need: which stored columns are x and y, and how raw heartbeats give them.

A metric with moments is a `ratio` over session-minutes (a `level` where no direction is worse: A/V offset); a ratio of
counters is a `share`; a counter is a `volume`; a timer becomes the share of plays (or heartbeats) past a bound, because
a mean of durations follows its tail. Counters count once a session, so their share needs no moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alerting.rules.evidence import Direction, Shape
from tocsin.model.catalogue import HISTOGRAMS, MEASURES, METRICS, MOMENTS
from tocsin.model.catalogue.plays import EBVS_WAIT_MS
from tocsin.model.errors import ConfigError
from tocsin.model.heartbeat import BATCH_COLUMNS, OUTCOMES
from tocsin.model.percentiles import BOUNDS, NS_PER_MS

Columns = Mapping[str, float]

LAG_BOUND_MS = 30_000
STARTUP_BOUND_MS = 4_000
"""Start-up bound while there is no history to take the 90th percentile from."""

PAST_PREFIX = "past_"


def _outcome(name: str) -> str:
    return f"outcome = {OUTCOMES.index(name)}"


_UNIQUE = "row_kind = 'unique'"
RAW: Mapping[str, str] = {
    "heartbeats": "row_kind = 'unique'",
    "attempts": "seq = 0 AND row_kind = 'unique'",
    "plays": "startup_ms >= 0 AND row_kind = 'unique'",
    "ended": f"({_UNIQUE} AND outcome > 0 OR row_kind = 'timeout') - (row_kind = 'resumed')",
    "completed": _outcome("completed"),
    "quits": _outcome("quit"),
    "failed": _outcome("failed"),
    "start_failed": _outcome("start_failed"),
    "exits_before_start": f"{_outcome('exit_before_start')} AND startup_wait_ms >= {EBVS_WAIT_MS} AND error_fatal = 0",
    "timeouts": f"({_UNIQUE} AND {_outcome('timeout')} OR row_kind = 'timeout') - (row_kind = 'resumed')",
    "startup_ms": "greatest(startup_ms, 0)",
    "lag_ms": "greatest(received_ms - ts_ms - shift_ms, 0)",
}
"""SQL over one raw heartbeat for the measures that are not a column of `heartbeats` as they stand."""

_PAST_RAW: Mapping[str, str] = {"startup_hist": "startup_ms", "lag_hist": RAW["lag_ms"]}
_PAST_OF: Mapping[str, str] = {"startup_hist": "plays", "lag_hist": "heartbeats"}


@dataclass(frozen=True, slots=True)
class Past:
    """A made-up column: events of `histogram` whose bucket is past `bound_ms` (rounded up to a bucket's end)."""

    histogram: str
    bound_ms: int

    @property
    def column(self) -> str:
        """Name of the column in the arrays."""
        return f"{PAST_PREFIX}{self.histogram}"

    @property
    def bucket(self) -> int:
        """First bucket that counts."""
        return int(BOUNDS.searchsorted(self.bound_ms * NS_PER_MS, side="right")) + 1

    @property
    def bound_exact_ms(self) -> float:
        """Lower edge of that bucket, ms."""
        return float(BOUNDS[self.bucket - 1]) / NS_PER_MS

    def sql(self) -> str:
        """Count of a stored row."""
        return f"toInt64(arraySum(mapValues(mapFilter((b, c) -> b >= {self.bucket}, {self.histogram}))))"

    def raw_sql(self) -> str:
        """The same of one raw heartbeat."""
        return f"toInt64({_PAST_RAW[self.histogram]} >= {self.bound_exact_ms} AND row_kind = 'unique')"


@dataclass(frozen=True, slots=True)
class Signal:
    """One metric as the tests see it.

    `x`, `y` are combinations of stored columns; for ratios and levels `moments` is the catalogue's name and x, y are
    its sums. A value x/y times `scale` is in `unit`. `past` is set where x counts events past a bound.
    """

    metric: str
    shape: Shape
    direction: Direction
    x: Columns
    y: Columns
    unit: str
    scale: float = 1.0
    moments: str = ""
    past: Past | None = None

    def columns(self) -> tuple[str, ...]:
        """Stored columns that the arrays must hold."""
        names = [*self.x, *self.y]
        if self.moments:
            names += ["n", *MOMENTS[self.moments].columns[1:]]
        return tuple(dict.fromkeys(names))

    def raw_x(self) -> str:
        """SQL of x over one raw heartbeat."""
        if self.moments:
            return f"toFloat64({raw_sql(MOMENTS[self.moments].x)})"
        return self._raw(self.x)

    def raw_y(self) -> str:
        """SQL of y over one raw heartbeat."""
        if self.moments:
            return "toFloat64(" + " + ".join(raw_sql(name) for name in MOMENTS[self.moments].y) + ")"
        return self._raw(self.y) if self.y else "0.0"

    def in_raw(self) -> bool:
        """Whether raw heartbeats have x and y, so that an incident of it can be localised."""
        names = (MOMENTS[self.moments].x, *MOMENTS[self.moments].y) if self.moments else (*self.x, *self.y)
        past = self.past.column if self.past else ""
        return all(name == past or raw_sql(name) in BATCH_COLUMNS or name in RAW for name in names)

    @property
    def raw_scale(self) -> float:
        """Factor from raw x/y to the metric's unit."""
        if not self.moments:
            return self.scale
        moments = MOMENTS[self.moments]
        return self.scale * moments.y_unit / moments.x_unit

    def _raw(self, parts: Columns) -> str:
        terms = []
        for name, factor in parts.items():
            one = self.past.raw_sql() if self.past and name == self.past.column else raw_sql(name)
            terms.append(f"{factor:g} * toFloat64({one})")
        return " + ".join(terms)


def raw_sql(measure: str) -> str:
    """SQL over one raw heartbeat that gives `measure` unweighted."""
    if measure in RAW:
        return RAW[measure]
    found = MEASURES.get(measure)
    if found is not None and not isinstance(found.of, str):
        raise ConfigError(f"localising by measure {measure}: it has no SQL over raw heartbeats; add it to RAW")
    return found.of if found is not None and isinstance(found.of, str) else measure


def signal_of(metric: str, direction: Direction | None = None, startup_bound_ms: int = STARTUP_BOUND_MS) -> Signal:
    """The signal of a catalogue metric; raises `ConfigError` for metrics that no test can judge (gauges, maxima)."""
    found = METRICS.get(metric)
    if found is None:
        raise ConfigError(f"testing metric {metric!r}: the catalogue has no such metric")
    worse: Direction = direction or ("down" if found.worse < 0 else "up")
    if found.kind == "counter":
        return Signal(metric, "volume", worse, dict(found.parts), {}, found.unit, found.scale)
    if found.kind == "timer" and found.histogram in HISTOGRAMS:
        bound = LAG_BOUND_MS if found.histogram == "lag_hist" else startup_bound_ms
        past = Past(found.histogram, bound)
        return Signal(metric, "share", worse, {past.column: 1.0}, {_PAST_OF[found.histogram]: 1.0}, "1", 1.0, "", past)
    definition = next(iter(found.definitions.values()), None)
    if definition is None or definition.form != "ratio":
        raise ConfigError(f"testing metric {metric!r}: kind {found.kind} has no test; use a ratio or a counter")
    if found.moments:
        moments = MOMENTS[found.moments]
        _, sx, sy, *_ = moments.columns
        scale = definition.scale * moments.x_unit / moments.y_unit
        shape: Shape = "level" if found.worse == 0 and direction is None else "ratio"
        return Signal(metric, shape, worse, {sx: 1.0}, {sy: 1.0}, found.unit, scale, found.moments)
    if found.unit != "1":
        raise ConfigError(f"testing metric {metric!r}: its parts are no counts and it has no moments; declare moments")
    return Signal(metric, "share", worse, definition.numerator, definition.denominator, found.unit, definition.scale)
