"""Numbers for legends: one decimal and a prefix of the powers of 1,000 or 1,024."""

from __future__ import annotations

import math

from tocsin.model.asl.text import java_fixed

_DECIMAL_BIG = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DECIMAL_SMALL = (
    (1e-3, "m"), (1e-6, "μ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"), (1e-18, "a"), (1e-21, "z"), (1e-24, "y"),
)  # fmt: skip
_BINARY_BIG = tuple((1024.0 ** (8 - i), f"{p}i") for i, p in enumerate("YZEPTGMK"))
_NEARLY_ZERO = 1e-12
_EXTREME = 1e27


def _format(value: float, factor: float, symbol: str) -> str:
    size = abs(value)
    if math.isfinite(value) and (size >= _EXTREME or 0 < size <= 1 / _EXTREME):
        return f"{' ' if value >= 0 else ''}{value:.0e}"
    return java_fixed(value / factor, 1) + symbol


def prefix(value: float, *, binary: bool = False) -> tuple[float, str]:
    """The factor and the symbol that fit a value; below 1 the decimal ones in either case."""
    size = abs(value)
    big, first = (_BINARY_BIG, 1024.0) if binary else (_DECIMAL_BIG, 1e3)
    if not math.isfinite(size) or size < _NEARLY_ZERO:
        return 1.0, ""
    if size >= first:
        return next((p for p in big if p[0] <= size), big[0])
    if size < 1:
        return next((p for p in _DECIMAL_SMALL if p[0] <= size), _DECIMAL_SMALL[-1])
    return 1.0, ""


def decimal_text(value: float) -> str:
    """`12.3k`, `450.0m`, `NaN`"""
    return _format(value, *prefix(value))


def binary_text(value: float) -> str:
    """`12.3Ki`; below 1 the decimal prefixes"""
    return _format(value, *prefix(value, binary=True))
