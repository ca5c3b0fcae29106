"""The cells of the declared cubes, numbered densely: every combination of the world's values of a cube's keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from player_sim import layout
from player_sim.audience import World
from player_sim.layout import Int64s, Records
from tocsin.model.cubes import Cube
from tocsin.model.errors import InputError
from tocsin.model.tags import TAG_KEYS

CELLS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Axis:
    """One key: `table` maps the codes of a heartbeat's `field` to `names`."""

    key: str
    field: str
    table: Int64s
    names: list[str]


_DERIVED = {
    "kind": "title", "mode": "title", "format": "player", "player_version": "player", "os": "device",
}  # fmt: skip
"""Keys that the world derives from one of its own tags."""


def axis(world: World, key: str) -> Axis:
    """The axis of a tag key; raises `InputError` where the world does not have it."""
    if key == "error":
        return Axis(key, "error_code", np.arange(len(world.errors) + 1), ["", *world.errors])
    if key in layout.TAGS:
        names = world.names_of(key)
        return Axis(key, key, np.arange(len(names)), list(names))
    if key not in _DERIVED:
        raise InputError(f"drawing a cube with key {key!r}: the simulated world does not have it")
    source = _DERIVED[key]
    values = [world.derived(key, code) for code in range(len(world.names_of(source)))]
    names = sorted(set(values))
    return Axis(key, source, np.array([names.index(value) for value in values], np.int64), names)


class CellSpace:
    """Numbers the cells of all cubes in one range [0, total): cube c has [starts[c], starts[c + 1])."""

    def __init__(self, world: World, cubes: Sequence[Cube]) -> None:
        self.cubes = tuple(cubes)
        self._devices = len(world.devices)
        self.axes = [[axis(world, key) for key in cube.keys] for cube in self.cubes]
        sizes = [int(np.prod([len(one.names) for one in axes], initial=1)) for axes in self.axes]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.total = int(self.starts[-1])
        if self.total > CELLS_MAX:
            raise InputError(
                f"drawing history of the cubes {', '.join(cube.name for cube in cubes)}: they have {self.total} cells, "
                f"more than {CELLS_MAX}; declare fewer keys a cube or make the world smaller"
            )

    def cells_of(self, records: Records, errors: Int64s) -> Int64s:
        """The cell of each session or heartbeat in each cube, given its error code: shape (n, cubes)."""
        cells = np.empty((len(records), len(self.cubes)), np.int64)
        for index, axes in enumerate(self.axes):
            cell = np.zeros(len(records), np.int64)
            for one in axes:
                codes = errors if one.field == "error_code" else records[one.field]
                cell = cell * len(one.names) + one.table[codes]
            cells[:, index] = cell + self.starts[index]
        return cells

    def strata_of(self, records: Records) -> Int64s:
        """Region and device of each session or heartbeat as one number: what the season depends on."""
        return np.asarray(records["region"] * self._devices + records["device"])

    @cached_property
    def cube_of(self) -> Int64s:
        """Index of the cube of each cell, shape (total,)."""
        return np.repeat(np.arange(len(self.cubes)), np.diff(self.starts))

    @cached_property
    def names_of(self) -> dict[str, tuple[list[str], Int64s]]:
        """By tag key (values, code of each cell); the empty value where a cell's cube lacks the key."""
        return {key: self._names(key) for key in TAG_KEYS}

    def _names(self, key: str) -> tuple[list[str], Int64s]:
        values: dict[str, int] = {"": 0}
        codes = np.zeros(self.total, np.int64)
        for index, axes in enumerate(self.axes):
            rest = np.arange(self.starts[index + 1] - self.starts[index])
            for one in reversed(axes):
                if one.key == key:
                    places = np.array([values.setdefault(name, len(values)) for name in one.names], np.int64)
                    codes[self.starts[index] : self.starts[index + 1]] = places[rest % len(one.names)]
                rest = rest // len(one.names)
        return list(values), codes
