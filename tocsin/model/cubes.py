"""Cubes: the sets of keys by which deltas are kept. Declared in the configuration, not coded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tocsin.model.errors import ConfigError
from tocsin.model.tags import TAG_KEYS


@dataclass(frozen=True, slots=True)
class Cube:
    """Cells are the combinations of the values of `keys`. `histograms`: also keep distributions by cell.

    Sums count a heartbeat under its own error code; n and moments belong to the session-minute, and so are kept under
    the empty error code.
    """

    keys: tuple[str, ...]
    histograms: bool = True

    @property
    def name(self) -> str:
        """Stable name, `all` for the cube without keys."""
        return ",".join(self.keys) or "all"


DEFAULT_CUBES: tuple[Cube, ...] = (
    Cube(()),
    Cube(("title", "cdn")),
    Cube(("region", "isp")),
    Cube(("device", "app")),
    Cube(("cdn", "device")),
    Cube(("cdn", "region")),
    Cube(("stream",)),
    Cube(("error", "player")),
)


def declare(specs: Iterable[str]) -> tuple[Cube, ...]:
    """Cubes from names such as `all` and `title,cdn`; an unknown key is refused with the known ones."""
    cubes: dict[str, Cube] = {}
    for spec in specs:
        keys = () if spec == "all" else tuple(key.strip() for key in spec.split(","))
        for key in keys:
            if key not in TAG_KEYS:
                raise ConfigError(f"declaring cube {spec!r}: {key!r} is no tag key; known: {', '.join(TAG_KEYS)}")
        cube = Cube(keys)
        cubes[cube.name] = cube
    return tuple(cubes.values())


def smallest_for(keys: Iterable[str], cubes: Iterable[Cube]) -> Cube | None:
    """The cube with fewest keys that has all of `keys` (first declared wins), or None: raw heartbeats must serve."""
    wanted = set(keys)
    serving = [cube for cube in cubes if wanted <= set(cube.keys)]
    return min(serving, key=lambda cube: len(cube.keys), default=None)
