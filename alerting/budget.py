"""From false pages a week, which an operator understands, to the p of one test.

A week has 10,080/W windows of W minutes that do not overlap. The budget is shared among slices × metrics × windows,
half of it for the root and one-dimensional slices, which are few and matter most. Ticks every 10 s look at overlapping
windows: `OVERLAP` is the factor by which that raises the chance of one exceedance, measured by replaying quiet weeks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alerting.rules.evidence import Floats, Ints

WEEK_MINUTES = 10_080
WINDOWS: tuple[int, ...] = (1, 5, 15, 60)
OVERLAP = 3.0
STRICT = 1e-3
"""One tick opens an incident alone if its p is this much below what two of three need."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`false_pages_a_week` over everything that is tested."""

    false_pages_a_week: float = 1.0
    windows: tuple[int, ...] = WINDOWS

    def alphas(self, dimensions: Ints, metrics: int) -> Floats:
        """Level of one test for each slice, shape (S,); `dimensions` (S,) is how many tags a slice has."""
        tests_a_slice = max(metrics, 1) * OVERLAP * sum(WEEK_MINUTES / window for window in self.windows)
        broad = dimensions <= 1
        broad_count, fine_count = int(broad.sum()), int((~broad).sum())
        half = self.false_pages_a_week / 2
        broad_alpha = (half if fine_count else self.false_pages_a_week) / max(broad_count * tests_a_slice, 1.0)
        fine_alpha = (half if broad_count else self.false_pages_a_week) / max(fine_count * tests_a_slice, 1.0)
        return np.where(broad, broad_alpha, fine_alpha)
