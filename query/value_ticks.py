"""Ticks of a value axis with their labels, as they bound the cells of heat maps: the original's rules.

Linear: the smallest of 1, 2, 3, 4, 5 times a power of ten by which at most `count` major ticks lie in the range, each
with minor ticks between. Log-linear: 1 to 9 times each power of ten, thinned where they are many. Logarithmic: powers
of ten once the range spans more than two of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tocsin.model.asl.units import decimal_text, prefix

Tick = tuple[float, str]
_SIZES = ((10, 2), (20, 5), (30, 10), (40, 10), (50, 10))
_EXPONENTS = range(-25, 26)
_LOG_DECADES_MIN = 2
_LOG_LINEAR_EXPONENT_MIN = -9
_A_DECADE = 9
_NARROWEST = 1e-12
_LABEL_RATIO = 10.0


def value_ticks(low: float, high: float, count: int, scale: str) -> list[Tick]:
    """All ticks (value, label) from `low` to `high`, minor ones included, with about `count` major ones."""
    if scale == "log-linear":
        return [(value, decimal_text(value)) for value in _log_linear(low, high, count)]
    if scale == "log" and _decades(low, high) > _LOG_DECADES_MIN:
        return [(value, decimal_text(value)) for value in _powers(low, high)]
    return _linear(low, high, count)


def _linear(low: float, high: float, count: int) -> list[Tick]:
    span = high - low if high - low >= _NARROWEST else 1.0
    sizes = ((major * 10.0**e, minor * 10.0**e) for e in _EXPONENTS for major, minor in _SIZES)
    major, minor = next(((a, b) for a, b in sizes if span / a <= count), (0.0, 0.0))
    if not major:
        return [(low, decimal_text(low)), (high, decimal_text(high))]
    base = major * math.floor(low / major)
    values = [base + i * minor for i in range(int((high - base) / minor) + 2)]
    factor, symbol = _label_unit(abs(high), major)
    places = next((n for n, part in ((3, 10), (2, 100)) if int(major / factor * 1000) % part), 1)
    return [(value, f"{value / factor:.{places}f}{symbol}") for value in values if low <= value <= high]


def _label_unit(largest: float, major: float) -> tuple[float, str]:
    """The unit of the distance of two ticks, or of the largest value where that would take many digits."""
    factor, symbol = _unit_with_digits(major)
    return (factor, symbol) if largest <= _LABEL_RATIO * factor else _unit_with_digits(largest)


def _unit_with_digits(value: float) -> tuple[float, str]:
    """No unit for what can be written in three digits on either side of the point."""
    if 1e-3 <= value < 1e3:
        return 1.0, ""
    return prefix(value if value >= 1e3 else value * 1e3)


def _decades(low: float, high: float) -> int:
    """Powers of ten that a range spans, on both sides of 0."""
    if low >= 0:
        return _log(high) - _log(low)
    return _log(-low) - _log(-high) if high <= 0 else max(_log(high), _log(-low))


def _log(value: float) -> int:
    return math.ceil(math.log10(value)) if value > 1 else 0


def _powers(low: float, high: float) -> Iterator[float]:
    sizes = [0.0, *(10.0**e for e in range(max(_log(abs(low)), _log(abs(high))) + 1))]
    found = {sign * size for size in sizes for sign in (1.0, -1.0) if not (size == 1.0 and low <= 0.0 <= high)}
    yield from sorted(value + 0.0 for value in found if low <= value <= high)


def _log_linear(low: float, high: float, count: int) -> Iterator[float]:
    first, last = _bucket_of(low), _bucket_of(high)
    buckets, most = last - first, count * _A_DECADE
    both_signs = first < 0 < last
    for bucket in range(first, last + 1):
        value, place = _bucket(bucket), -bucket - 1 if bucket < 0 else bucket
        if not low <= value <= high or (both_signs and bucket == -1):
            continue
        if both_signs and bucket == 0:
            yield 0.0
        elif buckets < most or (buckets // 3 < most and place % 3 == 0) or place % _A_DECADE == 0:
            yield value


def _bucket(number: int) -> float:
    """The upper bound of a bucket: 1 to 9 times a power of ten; negative numbers mirror those from 0 on."""
    if number < 0:
        return -_bucket(-number - 1)
    exponent, step = divmod(number, _A_DECADE)
    return float(f"{step + 1}e{exponent + _LOG_LINEAR_EXPONENT_MIN}")


def _bucket_of(value: float) -> int:
    """The bucket that a value lies in: the first whose bound is not below it."""
    if value < 0:
        return -_bucket_of(-value) - 1
    if value == 0:
        return 0
    exponent = max(_LOG_LINEAR_EXPONENT_MIN, math.floor(math.log10(value)))
    before = (exponent - _LOG_LINEAR_EXPONENT_MIN) * _A_DECADE
    return before + max(0, math.ceil(round(value / 10.0**exponent, 6)) - 1)
