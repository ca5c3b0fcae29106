"""How much a quiet slice wobbles: φ and d, by moments from its own history.

Over blocks of one window's length, a quiet slice's bad units k against the expected m obey E(k − m)² = d·m + φ·m²:
d is what sampling adds beyond Poisson (one bad session counts in every minute that it lasts), φ the squared relative
wobble of the slice's true rate. d is one number a window length for the fleet; φ is a slice's own, pulled towards the
fleet's where the slice has little to say, and clipped to 0.5 to 4 times the fleet's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alerting.rules.evidence import Bools, Evidence, Floats, Sums, divide
from alerting.rules.week_over_week import unit_sizes

PHI_PRIOR = 0.01
"""Squared wobble assumed before history speaks: a relative standard deviation of 10 %."""
PHI_FLOOR, PHI_CEILING = 0.0025, 0.25
D_CEILING_FACTOR = 2.0
CLIP_Z = 6.0
"""Residuals beyond this are clipped: an incident in history must not teach that incidents are normal."""
SLICE_PRIOR_BLOCKS = 8.0
FLEET_PRIOR_BLOCKS = 20.0


@dataclass(frozen=True, slots=True)
class Noise:
    """Fleet-wide `d` and `phi_fleet`, and `phi` of each slice, shape (S,)."""

    d: float
    phi_fleet: float
    phi: Floats

    @staticmethod
    def prior(slices: int, window_minutes: int, shape: str) -> Noise:
        """What is assumed before there is any history."""
        return Noise(prior_d(window_minutes, shape), PHI_PRIOR, np.full(slices, PHI_PRIOR))


def prior_d(window_minutes: int, shape: str) -> float:
    """d before history speaks: session-minutes of one session are alike, starts and ends come once a session."""
    return 1.0 if shape in ("share", "volume") else 1.0 + 0.3 * (min(window_minutes, 15) - 1)


def from_blocks(k: Floats, mean: Floats, window_minutes: int, shape: str, seen: Bools) -> Noise:
    """Noise from blocks (B, S): bad units `k`, expected `mean`; `seen` tells which blocks have data."""
    slices = k.shape[1]
    d0 = prior_d(window_minutes, shape)
    mean = np.where(seen, mean, 0.0)
    variance0 = d0 * mean + PHI_PRIOR * mean * mean
    square = np.where(seen, np.minimum((k - mean) ** 2, CLIP_Z**2 * np.maximum(variance0, 1.0)), 0.0)
    weight = np.where(seen & (mean > 0), 1.0 / np.maximum(variance0, 1.0) ** 2, 0.0)

    d, phi_fleet = _fleet(square, mean, weight, d0)
    d = float(np.clip(d, 1.0, D_CEILING_FACTOR * max(window_minutes, d0)))
    phi_fleet = float(np.clip(phi_fleet, PHI_FLOOR, PHI_CEILING))

    information = (weight * mean**4).sum(axis=0)
    own = divide((weight * mean**2 * (square - d * mean)).sum(axis=0), information)
    blocks = divide(information, np.full(slices, max(float(np.max(weight * mean**4, initial=0.0)), 1e-12)))
    phi = (blocks * own + SLICE_PRIOR_BLOCKS * phi_fleet) / (blocks + SLICE_PRIOR_BLOCKS)
    return Noise(d, phi_fleet, np.clip(phi, 0.5 * phi_fleet, 4.0 * phi_fleet))


def _fleet(square: Floats, mean: Floats, weight: Floats, d0: float) -> tuple[float, float]:
    """Weighted least squares of square = d·mean + φ·mean², with a prior worth `FLEET_PRIOR_BLOCKS` blocks."""
    used = weight > 0
    prior_mean = float(np.median(mean[used])) if np.any(used) else 1.0
    prior_weight = FLEET_PRIOR_BLOCKS / max(d0 * prior_mean + PHI_PRIOR * prior_mean**2, 1.0) ** 2
    a11 = float((weight * mean**2).sum()) + prior_weight * prior_mean**2
    a12 = float((weight * mean**3).sum())
    a22 = float((weight * mean**4).sum()) + prior_weight * prior_mean**4
    b1 = float((weight * mean * square).sum()) + prior_weight * prior_mean**2 * d0
    b2 = float((weight * mean**2 * square).sum()) + prior_weight * prior_mean**4 * PHI_PRIOR
    determinant = a11 * a22 - a12 * a12
    if determinant <= 1e-9 * a11 * a22:
        return d0, PHI_PRIOR
    d, phi = (b1 * a22 - b2 * a12) / determinant, (a11 * b2 - a12 * b1) / determinant
    if phi < PHI_FLOOR:
        return b1 / a11, PHI_FLOOR
    if d < 1.0:
        return 1.0, max((b2 - a12) / a22, PHI_FLOOR)
    return d, phi


def blocks_of_rate(x: Floats, y: Floats, long_run: Sums, shape: str) -> tuple[Floats, Floats, Bools]:
    """(k, mean, seen) of blocks (B, S) of sums `x` and `y` under each slice's long-run rate."""
    size = np.ones_like(long_run.x) if shape == "share" else unit_sizes(Sums.zeros(len(long_run.x)), long_run)
    rate = divide(long_run.x, long_run.y)
    return x / size, y * rate / size, y > 0


def blocks_of_volume(x: Floats, weeks: int) -> tuple[Floats, Floats, Bools]:
    """(k, mean, seen) of volumes (weeks·B, S): each block against the mean of the same block in the other weeks."""
    blocks = x.reshape(weeks, -1, x.shape[1])
    if weeks < 2:
        return x, x, np.zeros_like(x, np.bool_)
    others = (blocks.sum(axis=0) - blocks) / (weeks - 1)
    # the mean of the others wobbles too: shrink the residual so that its square is that of one week alone
    k = others + (blocks - others) * np.sqrt((weeks - 1) / weeks)
    return k.reshape(x.shape), others.reshape(x.shape), (others > 0).reshape(x.shape)


def with_noise(evidence: Evidence, noise: Noise) -> Evidence:
    """The same evidence with this noise."""
    return Evidence(
        evidence.shape, evidence.direction, evidence.window_minutes, evidence.now, evidence.base, evidence.long_run,
        evidence.weeks, noise.phi, noise.d, evidence.parent, evidence.live_x, evidence.live_y,
    )  # fmt: skip
