"""Words that look back: each value depends on those before it on the same line, starting one point before the range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tocsin.model.asl.errors import AslError
from tocsin.model.asl.expr import DurationMs, Word, words
from tocsin.model.asl.lines import Floats, Head, Lines, truth
from tocsin.model.asl.series_expr import EvalContext, Wrapping

MAX_WINDOW = 86_400


def _check_window(n: int, what: str) -> None:
    if not 1 <= n <= MAX_WINDOW:
        raise AslError(f"window of :{what} must be from 1 to {MAX_WINDOW} datapoints, not {n}")


def _delayed(values: Floats, n: int, fill: float) -> Floats:
    out = np.full_like(values, fill)
    if n < values.shape[1]:
        out[:, n:] = values[:, : values.shape[1] - n]
    return out


def window(values: Floats, n: int, combine: Callable[[Floats, Floats], Floats], neutral: float) -> Floats:
    """Combine each value with the n - 1 before it, in O(log n) passes over all lines: windows of powers of two are
    made from halves, and the window asked for from those."""
    result: Floats | None = None
    covered, size, block = 0, 1, values
    rest = n
    while rest:
        if rest & 1:
            part = _delayed(block, covered, neutral)
            result = part if result is None else combine(result, part)
            covered += size
        rest >>= 1
        if rest:
            block = combine(block, _delayed(block, size, neutral))
            size *= 2
    assert result is not None  # noqa: S101 - n >= 1
    return result


def _counts(values: Floats, n: int) -> Floats:
    return window((~np.isnan(values)).astype(np.float64), n, np.add, 0.0)


def rolling_sum(values: Floats, n: int) -> Floats:
    """Sum of the values that are there; NaN where none is."""
    total = window(np.where(np.isnan(values), 0.0, values), n, np.add, 0.0)
    return np.where(_counts(values, n) > 0, total, np.nan)


def rolling_mean(values: Floats, n: int, least: int) -> Floats:
    """Mean of the values that are there; NaN where there are fewer than `least`."""
    total = window(np.where(np.isnan(values), 0.0, values), n, np.add, 0.0)
    count = _counts(values, n)
    with np.errstate(all="ignore"):
        return np.where(count >= least, total / count, np.nan)


def trend(values: Floats, n: int) -> Floats:
    """Mean over whole windows, missing values as 0; NaN until the window is full and where nothing is there."""
    if n <= 1:
        return values
    total = window(np.where(np.isnan(values), 0.0, values), n, np.add, 0.0)
    full = np.arange(values.shape[1]) >= n - 1
    return np.where(full & (_counts(values, n) > 0), total / n, np.nan)


def integral(values: Floats) -> Floats:
    """Running sum; NaN before the first value, unchanged where a value is missing."""
    there = ~np.isnan(values)
    total = np.cumsum(np.where(there, values, 0.0), axis=1)
    return np.where(np.logical_or.accumulate(there, axis=1), total, np.nan)


def derivative(values: Floats) -> Floats:
    """Difference to the value before."""
    return values - _delayed(values, 1, np.nan)


class Des:
    """Double exponential smoothing of many lines side by side.

    `step(values)` takes the next value of each line and gives the prediction that was made for it: NaN until
    `training` values were seen. A missing value changes nothing.
    """

    def __init__(self, lines: int, training: int, alpha: float, beta: float) -> None:
        self._training, self._alpha, self._beta = training, alpha, beta
        self._lines = lines
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._seen = np.zeros(self._lines, dtype=np.int64)
        self._level = np.full(self._lines, np.nan)
        self._slope = np.full(self._lines, np.nan)

    def step(self, values: Floats) -> Floats:
        """Take one value of each line; give the predictions made before."""
        predicted = np.where(self._seen >= self._training, self._level, np.nan)
        there = ~np.isnan(values)
        first = there & (self._seen == 0)
        later = there & ~first
        level = self._alpha * values + (1 - self._alpha) * (self._level + self._slope)
        slope = self._beta * (level - self._level) + (1 - self._beta) * self._slope
        self._level = np.where(first, values, np.where(later, level, self._level))
        self._slope = np.where(first, 0.0, np.where(later, slope, self._slope))
        self._seen = self._seen + there
        return predicted


def des(values: Floats, training: int, alpha: float, beta: float) -> Floats:
    """Predictions by double exponential smoothing from the start of the range."""
    state = Des(len(values), training, alpha, beta)
    out = np.empty_like(values)
    for i in range(values.shape[1]):
        out[:, i] = state.step(values[:, i])
    return out


def sliding_des(values: Floats, training: int, alpha: float, beta: float, skip: int) -> Floats:
    """Two smoothings that take turns, so that a prediction depends on the time and not on where the range starts.

    The first `skip` values, up to the next multiple of the training window, are taken as missing.
    """
    states = (Des(len(values), training, alpha, beta), Des(len(values), training, alpha, beta))
    out = np.empty_like(values)
    used = 0
    missing = np.full(len(values), np.nan)
    for i in range(values.shape[1]):
        value = missing if i < skip else values[:, i]
        predictions = [state.step(value) for state in states]
        out[:, i] = predictions[used]
        if (i + 1) % training == 0:
            states[used].reset()
            used = 1 - used
    return out


@dataclass(frozen=True)
class Stateful(Wrapping):
    """Base of the words that look back."""

    def look_back(self, values: Floats, context: EvalContext) -> Floats:
        """The new values of all lines."""
        raise NotImplementedError

    @property
    def word(self) -> str:
        """Name of the operation."""
        raise NotImplementedError

    def eval(self, context: EvalContext) -> Lines:
        lines = self.expr.eval(context)
        heads = tuple(Head(h.tags, f"{self.word}({h.text})", h.gauge) for h in lines.heads)
        return Lines(heads, self.look_back(lines.values, context))


@dataclass(frozen=True)
class Windowed(Stateful):
    """`expr,5,:rolling-max`, `:rolling-min`, `:rolling-sum`, `:rolling-count`, `:delay`: n datapoints."""

    n: int
    name: str

    def __post_init__(self) -> None:
        _check_window(self.n, self.name)

    @property
    def word(self) -> str:
        return self.name

    def __str__(self) -> str:
        return words(self.expr, self.n, Word(f":{self.name}"))

    def look_back(self, values: Floats, context: EvalContext) -> Floats:  # noqa: ARG002
        if self.name == "delay":
            return _delayed(values, self.n, np.nan)
        if self.name == "rolling-count":
            return window(truth(values).astype(np.float64), self.n, np.add, 0.0)
        if self.name == "rolling-sum":
            return rolling_sum(values, self.n)
        pick = np.fmax if self.name == "rolling-max" else np.fmin
        return window(values, self.n, pick, np.nan)


@dataclass(frozen=True)
class RollingMean(Stateful):
    """`expr,5,3,:rolling-mean`: over 5 datapoints of which 3 must be there"""

    n: int
    least: int

    def __post_init__(self) -> None:
        _check_window(self.n, "rolling-mean")
        if not 1 <= self.least <= self.n:
            raise AslError(f"minimum number of values must be from 1 to the window's {self.n}, not {self.least}")

    @property
    def word(self) -> str:
        return "rolling-mean"

    def __str__(self) -> str:
        return words(self.expr, self.n, self.least, Word(":rolling-mean"))

    def look_back(self, values: Floats, context: EvalContext) -> Floats:  # noqa: ARG002
        return rolling_mean(values, self.n, self.least)


@dataclass(frozen=True)
class Trend(Stateful):
    """`expr,20m,:trend`: a mean over a time, rounded down to whole steps"""

    span: DurationMs

    @property
    def word(self) -> str:
        return "trend"

    def __str__(self) -> str:
        return words(self.expr, self.span, Word(":trend"))

    def look_back(self, values: Floats, context: EvalContext) -> Floats:
        n = self.span.ms // context.step_ms
        if n > 1:
            _check_window(n, "trend")
        return trend(values, n)


_RUNNING: dict[str, Callable[[Floats], Floats]] = {
    "integral": integral,
    "cumulative-max": lambda values: np.asarray(np.fmax.accumulate(values, axis=1)),
    "derivative": derivative,
}


@dataclass(frozen=True)
class Running(Stateful):
    """`expr,:integral`, `:cumulative-max`, `:derivative`"""

    name: str

    @property
    def word(self) -> str:
        return self.name

    def __str__(self) -> str:
        return words(self.expr, Word(f":{self.name}"))

    def look_back(self, values: Floats, context: EvalContext) -> Floats:  # noqa: ARG002
        return _RUNNING[self.name](values)


@dataclass(frozen=True)
class Smoothing(Stateful):
    """`expr,10,0.1,0.5,:des` and `:sdes`: training window, data and trend smoothing factors"""

    training: int
    alpha: float
    beta: float
    name: str

    def __post_init__(self) -> None:
        _check_window(self.training, self.name)

    @property
    def word(self) -> str:
        return self.name

    def __str__(self) -> str:
        return words(self.expr, self.training, self.alpha, self.beta, Word(f":{self.name}"))

    def look_back(self, values: Floats, context: EvalContext) -> Floats:
        if self.name == "des":
            return des(values, self.training, self.alpha, self.beta)
        span = context.step_ms * self.training
        skip = -context.start_ms % span // context.step_ms
        return sliding_des(values, self.training, self.alpha, self.beta, skip)
