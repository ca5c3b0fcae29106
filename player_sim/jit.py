"""One typed door to numba: functions compiled once, cached beside their source, without the interpreter's lock.

Where no cache folder can be written they are compiled at first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """The function compiled for the types that it is first called with.

    Its cache is keyed by its own file: a compiled function must not read constants of another module that may change.
    Layouts travel as record types, which are part of the signature.
    """
    try:
        return cast("_F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no folder can be written: a read-only image without NUMBA_CACHE_DIR
        return cast("_F", numba.njit(nogil=True)(function))
