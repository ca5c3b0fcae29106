"""Tail probabilities of the tests, on whole arrays.

Every test reduces to a count `k` with an expected mean m and a variance V >= m: the probability of at least (or at
most) `k` if nothing is wrong. A negative binomial is the Poisson count of a fleet whose rate wobbles; a gamma plays
its part where k is a sum of sizes (stalled milliseconds over the size of one stall), no integer: its skewness, 2·sd/m,
bounds that of a compound Poisson sum with exponential sizes (1.5·sd/m) from above, so its alarms are on the rare side.

Source: Johnson, Kemp, Kotz, "Univariate Discrete Distributions", 5.6 (negative binomial as an incomplete beta).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

SCREEN_Z = 3.0
"""Only slices past this many standard deviations get an exact tail; the others keep the normal one."""


def normal_upper(z: Floats) -> Floats:
    """P(Z >= z) of a standard normal, accurate in the far tail. Shape as `z`."""
    return np.asarray(special.ndtr(-z), dtype=np.float64)


def negative_binomial_upper(k: Floats, mean: Floats, variance: Floats) -> Floats:
    """P(K >= k) of a negative binomial (Poisson where variance <= mean); k, mean, variance of one shape, k >= 0."""
    k = np.maximum(np.ceil(k), 0.0)
    poisson = variance <= mean * (1 + 1e-9)
    spread = np.where(poisson, 2.0 * mean + 1e-12, variance)
    size = mean * mean / np.maximum(spread - mean, 1e-300)
    at = np.maximum(k, 1e-9)
    tail = np.where(
        poisson,
        special.gammainc(at, np.maximum(mean, 0.0)),
        special.betainc(at, np.maximum(size, 1e-12), np.clip(1.0 - mean / np.maximum(spread, 1e-300), 0.0, 1.0)),
    )
    return np.asarray(np.where(k <= 0, 1.0, tail), dtype=np.float64)


def negative_binomial_lower(k: Floats, mean: Floats, variance: Floats) -> Floats:
    """P(K <= k) of the same negative binomial."""
    return np.asarray(1.0 - negative_binomial_upper(np.floor(k) + 1.0, mean, variance), dtype=np.float64)


def gamma_upper(x: Floats, mean: Floats, variance: Floats) -> Floats:
    """P(X >= x) of a gamma with that mean and variance (> 0); x >= 0, one shape."""
    mean = np.maximum(mean, 1e-300)
    variance = np.maximum(variance, 1e-300)
    return np.asarray(special.gammaincc(mean * mean / variance, np.maximum(x, 0.0) * mean / variance), np.float64)


def laplace_upper(z: Floats) -> Floats:
    """P(Z >= z) of a standard Laplace: the exponential tail that residuals of volumes show week over week."""
    half = 0.5 * np.exp(-np.sqrt(2.0) * np.abs(z))
    return np.asarray(np.where(z >= 0, half, 1.0 - half), dtype=np.float64)
