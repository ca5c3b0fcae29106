"""Arrow's numbers as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def plain(numbers: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Numbers as they lie in memory, chunks put together.

    Arrow's own way loads pandas, a second of CPU and 50 MB; it is left to what has nulls or is no number.
    """
    chunked = numbers if isinstance(numbers, pa.ChunkedArray) else pa.chunked_array([numbers])
    kind = chunked.type
    if chunked.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return np.asarray(chunked.to_numpy())
    parts = [np.from_dlpack(chunk) for chunk in chunked.chunks or [pa.array([], kind)]]
    return np.concatenate(parts) if len(parts) > 1 else np.asarray(parts[0])
