"""Array types of counting, and the two moves of arrays that several steps need."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin.model.compiled import compiled

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


def grown(array: npt.NDArray[Any], shape: tuple[int, ...], fill: int) -> npt.NDArray[Any]:
    """`array` copied into a new one of at least the same shape, the rest set to `fill`."""
    larger = np.full(shape, fill, array.dtype)
    larger[tuple(slice(0, length) for length in array.shape)] = array
    return larger


@compiled
def rows_of(columns: Int64s, rows: Int64s) -> None:
    """Write columns (w, n) as rows (n, w): numpy's strided copy of one column after the other takes five times as
    long."""
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(rows.shape[1]):
            row[j] = columns[j, i]
