"""Lines that come from the time alone: constants, deterministic noise, calendar fields, spans."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tocsin.model.asl.errors import AslError, nearest
from tocsin.model.asl.expr import Word, words
from tocsin.model.asl.lines import Floats, Lines, constant
from tocsin.model.asl.series_expr import EvalContext, Leaf
from tocsin.model.asl.text import java_double
from tocsin.model.asl.times import DAY, HOUR, MINUTE, SECOND, WEEK, parse_point, reference_of

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Constant(Leaf):
    """`42,:const`"""

    value: float

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return NotImplemented
        return self.value == other.value or (self.value != self.value and other.value != other.value)

    def __hash__(self) -> int:
        return hash(java_double(self.value))

    def __str__(self) -> str:
        return f"{java_double(self.value)},:const"

    def eval(self, context: EvalContext) -> Lines:
        text = java_double(self.value)
        return constant(context.points, self.value, {"name": text}, text)


_MASK = np.uint32(0xFFFFFFFF)


def _mix32(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """A hash of 32-bit integers with little bias (C. Wellons, "Prospecting for Hash Functions", 2018)."""
    h = values.copy()
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return h


def noise(times: Ints) -> Floats:
    """Reproducible noise from 0 to 0.999 by hashing the time."""
    unsigned = times.astype(np.uint64)
    high = (unsigned >> np.uint64(32)).astype(np.uint32)
    low = (unsigned & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    hashed = (_mix32(high) ^ _mix32(low)).view(np.int32).astype(np.int64)
    return np.asarray(np.abs(hashed) % 1000 / 1000.0)


@dataclass(frozen=True)
class Noise(Leaf):
    """`:random`, or with a seed `7,:srandom`"""

    seed: int | None = None

    def __str__(self) -> str:
        return ":random" if self.seed is None else f"{self.seed},:srandom"

    def eval(self, context: EvalContext) -> Lines:
        if self.seed is None:
            return self.one_line(noise(context.times()), "random")
        return self.one_line(noise(context.times() ^ np.int64(self.seed)), f"seeded-random({self.seed})")


def _calendar(get: Callable[[dt.datetime], int]) -> Callable[[Ints], Floats]:
    def values(times: Ints) -> Floats:
        return np.array([get(dt.datetime.fromtimestamp(int(t) // 1000, dt.UTC)) for t in times], dtype=np.float64)

    return values


def _since_epoch(unit_ms: int) -> Callable[[Ints], Floats]:
    return lambda times: times / float(unit_ms)


def _field(of_day_ms: int, modulus_ms: int) -> Callable[[Ints], Floats]:
    return lambda times: (times % modulus_ms // of_day_ms).astype(np.float64)


_MODES: dict[str, Callable[[Ints], Floats]] = {
    "secondOfMinute": _field(SECOND, MINUTE),
    "secondOfDay": _field(SECOND, DAY),
    "minuteOfHour": _field(MINUTE, HOUR),
    "minuteOfDay": _field(MINUTE, DAY),
    "hourOfDay": _field(HOUR, DAY),
    "dayOfWeek": _calendar(lambda d: d.isoweekday()),
    "dayOfMonth": _calendar(lambda d: d.day),
    "dayOfYear": _calendar(lambda d: d.timetuple().tm_yday),
    "monthOfYear": _calendar(lambda d: d.month),
    "yearOfCentury": _calendar(lambda d: d.year),
    "yearOfEra": _calendar(lambda d: d.year),
    "seconds": _since_epoch(SECOND),
    "minutes": _since_epoch(MINUTE),
    "hours": _since_epoch(HOUR),
    "days": _since_epoch(DAY),
    "weeks": _since_epoch(WEEK),
    "SECOND_OF_MINUTE": _field(SECOND, MINUTE),
    "SECOND_OF_DAY": _field(SECOND, DAY),
    "MILLI_OF_SECOND": _field(1, SECOND),
    "MILLI_OF_DAY": _field(1, DAY),
    "MINUTE_OF_HOUR": _field(MINUTE, HOUR),
    "MINUTE_OF_DAY": _field(MINUTE, DAY),
    "HOUR_OF_DAY": _field(HOUR, DAY),
    "HOUR_OF_AMPM": _field(HOUR, 12 * HOUR),
    "AMPM_OF_DAY": _field(12 * HOUR, DAY),
    "CLOCK_HOUR_OF_DAY": lambda t: ((t % DAY // HOUR + 23) % 24 + 1).astype(np.float64),
    "CLOCK_HOUR_OF_AMPM": lambda t: ((t % (12 * HOUR) // HOUR + 11) % 12 + 1).astype(np.float64),
    "DAY_OF_WEEK": _calendar(lambda d: d.isoweekday()),
    "DAY_OF_MONTH": _calendar(lambda d: d.day),
    "DAY_OF_YEAR": _calendar(lambda d: d.timetuple().tm_yday),
    "ALIGNED_WEEK_OF_MONTH": _calendar(lambda d: (d.day - 1) // 7 + 1),
    "ALIGNED_WEEK_OF_YEAR": _calendar(lambda d: (d.timetuple().tm_yday - 1) // 7 + 1),
    "MONTH_OF_YEAR": _calendar(lambda d: d.month),
    "YEAR": _calendar(lambda d: d.year),
    "YEAR_OF_ERA": _calendar(lambda d: d.year),
}


@dataclass(frozen=True)
class TimeField(Leaf):
    """`hourOfDay,:time`, in UTC"""

    mode: str

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise AslError(f"unknown time mode '{self.mode}'{nearest(self.mode, _MODES)}")

    def __str__(self) -> str:
        return words(self.mode, Word(":time"))

    def eval(self, context: EvalContext) -> Lines:
        return self.one_line(_MODES[self.mode](context.times()), self.mode)


@dataclass(frozen=True)
class TimeSpan(Leaf):
    """`e-30m,ge,:time-span`: 1 within the range, both ends included, 0 outside."""

    start: str
    end: str
    zone: dt.tzinfo = field(compare=False)

    def __str__(self) -> str:
        return words(self.start, self.end, Word(":time-span"))

    def _range(self, context: EvalContext) -> tuple[int, int]:
        first, last = reference_of(self.start), reference_of(self.end)
        if first == "e" and last == "s":
            raise AslError("start and end time are relative to each other")
        if first == "s":
            raise AslError("start time is relative to itself")
        if last == "e":
            raise AslError("end time is relative to itself")
        refs = {"gs": context.start_ms, "ge": context.end_ms}
        if first == "e":
            end_ms = parse_point(self.end, self.zone, refs, context.now_ms)
            return parse_point(self.start, self.zone, {**refs, "e": end_ms}, context.now_ms), end_ms
        start_ms = parse_point(self.start, self.zone, refs, context.now_ms)
        return start_ms, parse_point(self.end, self.zone, {**refs, "s": start_ms}, context.now_ms)

    def eval(self, context: EvalContext) -> Lines:
        start_ms, end_ms = self._range(context)
        if start_ms > end_ms:
            raise AslError(f"time span ends before it starts: '{self.start}' to '{self.end}'")
        times = context.times()
        inside = (times >= start_ms) & (times <= end_ms)
        return self.one_line(inside.astype(np.float64), f"{self.start} to {self.end}")
