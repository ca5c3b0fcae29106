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


def _with_prefixes(value: float, big: tuple[tuple[float, str], ...], first: float) -> str:
    size = abs(value)
    if not math.isfinite(size) or size < _NEARLY_ZERO:
        return _format(value, 1.0, "")
    if size >= first:
        factor, symbol = next((p for p in big if p[0] <= size), big[0])
    elif size < 1:
        factor, symbol = next((p for p in _DECIMAL_SMALL if p[0] <= size), _DECIMAL_SMALL[-1])
    else:
        factor, symbol = 1.0, ""
    return _format(value, factor, symbol)


def decimal_text(value: float) -> str:
    """`12.3k`, `450.0m`, `NaN`"""
    return _with_prefixes(value, _DECIMAL_BIG, 1e3)


def binary_text(value: float) -> str:
    """`12.3Ki`; below 1 the decimal prefixes"""
    return _with_prefixes(value, _BINARY_BIG, 1024.0)
