"""One typed door to numba: loops that numpy has no word for, as machine code, cached beside their source.

Where no cache folder can be written (a read-only image without NUMBA_CACHE_DIR) they are compiled at first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """The function compiled for the types that it is first called with; it runs without the interpreter's lock.

    Its cache is keyed by its own file: a compiled function must not read constants of another module that may change.
    Layouts travel as record types, which are part of the signature.
    """
    return _compiled(function)


def compiled_bare(function: _F) -> _F:
    """As `compiled`, but references to arrays are not counted, so it can make none.

    For loops over bytes that call small functions: an atomic count at each such call took two thirds of their time.
    """
    return _compiled(function, _nrt=False)


def _compiled(function: _F, **options: Any) -> _F:
    try:
        return cast("_F", numba.njit(cache=True, nogil=True, **options)(function))
    except RuntimeError:
        return cast("_F", numba.njit(nogil=True, **options)(function))
