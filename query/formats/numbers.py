"""Numbers in JSON: what is no number (NaN, Infinity) is a text, as the original writes it."""

from __future__ import annotations

import math

import numpy as np

from tocsin.model.asl.lines import Floats

Json = float | int | str


def number(value: float) -> Json:
    """A number, or its name."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def rows(values: Floats) -> list[list[Json]]:
    """A matrix as nested lists."""
    finite = np.isfinite(values)
    if finite.all():
        plain: list[list[Json]] = values.tolist()
        return plain
    result: list[list[Json]] = values.tolist()
    for i, j in zip(*np.nonzero(~finite), strict=True):
        result[i][j] = number(float(values[i, j]))
    return result
