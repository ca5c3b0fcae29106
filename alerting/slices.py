"""The slices that are tested: one dense number for each cell of each family, a family being a set of keys.

A family is fed by the smallest cube that has its keys; one row of a cube feeds every family that leans on that cube. A
slice's parent is the same slice without its last key, up to the root (slice 0, everyone).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from alerting.rules.evidence import Bools, Ints
from tocsin.model.cubes import Cube, smallest_for
from tocsin.model.errors import ConfigError

SLICES_MAX = 100_000

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Keys of a family, the cube that feeds it, and where its keys stand among the cube's."""

    number: int
    keys: Key
    cube: str
    positions: tuple[int, ...]


class SliceIndex:
    """Numbers slices as they are first seen; never more than `slices_max`, later ones are counted in `dropped`."""

    def __init__(self, families: Iterable[Key], cubes: Iterable[Cube], slices_max: int = SLICES_MAX) -> None:
        cubes = tuple(cubes)
        wanted = dict.fromkeys([(), *(keys[:n] for keys in families for n in range(len(keys) + 1))])
        self.families: list[Family] = []
        for keys in wanted:
            cube = smallest_for(keys, cubes)
            if cube is None:
                if keys in tuple(families):
                    raise ConfigError(f"testing slices by {','.join(keys)}: no cube has these keys; declare one")
                continue
            self.families.append(
                Family(len(self.families), keys, cube.name, tuple(cube.keys.index(key) for key in keys))
            )
        self.by_cube: Mapping[str, list[Family]] = {
            name: [family for family in self.families if family.cube == name]
            for name in dict.fromkeys(family.cube for family in self.families)
        }
        self.cube_keys: Mapping[str, Key] = {cube.name: cube.keys for cube in cubes if cube.name in self.by_cube}
        self._by_keys = {family.keys: family for family in self.families}
        self._numbers: dict[tuple[int, Key], int] = {}
        self._values: list[tuple[int, Key]] = []
        self._parents: list[int] = []
        self._max = slices_max
        self.dropped = 0
        self.intern(self._by_keys[()], ())

    def __len__(self) -> int:
        return len(self._values)

    def family(self, keys: Key) -> Family | None:
        """The family of exactly these keys."""
        return self._by_keys.get(keys)

    def intern(self, family: Family, values: Key) -> int:
        """The slice's number, or -1 past the limit."""
        found = self._numbers.get((family.number, values))
        if found is not None:
            return found
        if len(self._values) >= self._max:
            self.dropped += 1
            return -1
        parent = self._parent(family, values)
        number = len(self._values)
        self._numbers[family.number, values] = number
        self._values.append((family.number, values))
        self._parents.append(parent)
        return number

    def find(self, tags: Mapping[str, str]) -> int | None:
        """Number of the slice with exactly these tags, if it is known."""
        for family in self.families:
            if set(family.keys) == set(tags):
                return self._numbers.get((family.number, tuple(tags[key] for key in family.keys)))
        return None

    def tags(self, number: int) -> dict[str, str]:
        """The slice's tags; empty for the root."""
        family, values = self._values[number]
        return dict(zip(self.families[family].keys, values, strict=True))

    def parents(self) -> Ints:
        """Number of each slice's parent, shape (S,); the root is its own."""
        return np.array(self._parents, np.int64)

    def dimensions(self) -> Ints:
        """How many tags each slice has, shape (S,)."""
        sizes = np.array([len(family.keys) for family in self.families], np.int64)
        return sizes[self.family_numbers()]

    def family_numbers(self) -> Ints:
        """Family of each slice, shape (S,)."""
        return np.fromiter((family for family, _ in self._values), np.int64, len(self._values))

    def members(self, families: Iterable[Key]) -> Bools:
        """Which slices belong to one of the families, shape (S,)."""
        numbers = [self._by_keys[keys].number for keys in families if keys in self._by_keys]
        return np.isin(self.family_numbers(), numbers)

    def _parent(self, family: Family, values: Key) -> int:
        if not values:
            return 0
        above = self._by_keys.get(family.keys[:-1])
        if above is None:
            return 0
        return max(self.intern(above, values[:-1]), 0)


def contradicts(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    """Whether no session can be in both: some key has two values."""
    return any(key in b and b[key] != value for key, value in a.items())


def nested(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    """Whether one of two cohorts contains the other (more tags, the same values)."""
    few, many = (a, b) if len(a) <= len(b) else (b, a)
    return all(many.get(key) == value for key, value in few.items())
