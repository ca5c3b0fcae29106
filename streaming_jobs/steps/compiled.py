"""Compiles the few sequential loops of counting with numba, cached beside the source.

Where no cache folder can be written (a read-only image without NUMBA_CACHE_DIR) the loops are compiled at first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


def compiled(function: F) -> F:
    """`function` as machine code that runs without the interpreter's lock."""
    try:
        return cast("F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        return cast("F", numba.njit(nogil=True)(function))


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
