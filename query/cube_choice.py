"""Which cube answers a query."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tocsin.model.cubes import Cube
from tocsin.model.tags import BY_KEY


def smallest_cube(keys: Iterable[str], cubes: Iterable[Cube]) -> Cube | None:
    """Of the cubes that have all keys the one that can have the fewest cells, by the budgets of its keys."""
    wanted = frozenset(keys)
    serving = [cube for cube in cubes if wanted <= frozenset(cube.keys)]
    return min(serving, key=lambda cube: math.prod(BY_KEY[key].budget for key in cube.keys), default=None)
