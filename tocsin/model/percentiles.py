"""Percentile buckets: 276 fixed bounds, so that distributions add over tags, partitions and time.

The bounds are those of Netflix's Spectator (PercentileBuckets): 1, 2, 3, then for each power of four from 4 on, nine
steps of a third of it. A percentile is interpolated linearly inside its bucket, as Atlas does. The bucket's tag in the
stack language is `percentile` = T0000..T0113 (timers, bounds in ns) or D0000..D0113 (distributions), in hexadecimal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def _bounds() -> npt.NDArray[np.uint64]:
    bounds = [1, 2, 3]
    exponent = 2
    while exponent < 62:
        current = 1 << exponent
        delta = current // 3
        following = (current << 2) - delta
        while current < following:
            bounds.append(current)
            current += delta
        exponent += 2
    bounds.append(2**63 - 1)
    return np.array(bounds, np.uint64)


BOUNDS: npt.NDArray[np.uint64] = _bounds()
"""Bound i: bucket i holds amounts >= BOUNDS[i-1] and < BOUNDS[i]; shape (276,)."""

NS_PER_MS = 1_000_000


def bucket_of_ms(values_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Bucket index of each duration in milliseconds (>= 0): shape (n,), as a Spectator timer counts nanoseconds."""
    return np.searchsorted(BOUNDS, values_ms.astype(np.uint64) * np.uint64(NS_PER_MS), side="right").astype(np.int64)
