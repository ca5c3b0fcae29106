"""The truth file: what was really wrong and what was really sent, for whoever checks the pipeline's answers.

`faults`: one row each, with its cohort, when it was on (and when a remediation ended it), and the sessions that
reported from within it. `cubes`: sums of the heartbeats that were acknowledged, by the cells of each cube, to hold
against the store. Times are epoch ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from player_sim import layout
from player_sim.audience import World
from player_sim.faults.kinds import Fault
from player_sim.layout import Int64s, Records
from player_sim.wire import session_id
from tocsin.model.cubes import DEFAULT_CUBES, Cube
from tocsin.model.errors import InputError

COUNTED: tuple[str, ...] = (
    "heartbeats", "attempts", "plays", "ended", "errors", "playing_ms", "rebuffer_ms", "rebuffer_count", "freeze_ms",
    "startup_wait_ms", "startup_ms",
)  # fmt: skip
SAMPLE_SESSIONS = 20
_FOLD_ROWS = 20_000


def count(rows: Records) -> Int64s:
    """`COUNTED` of each heartbeat, shape (n, len(COUNTED)); definitions are the catalogue's."""
    columns = {
        "heartbeats": np.ones(len(rows), np.int64),
        "attempts": rows["seq"] == 0,
        "plays": rows["startup_ms"] >= 0,
        "ended": rows["outcome"] > 0,
        "errors": rows["error_count"],
        "startup_ms": np.maximum(rows["startup_ms"], 0),
    }
    return np.stack([np.asarray(columns.get(name, rows[name if name in layout.FIELDS else "seq"]), np.int64)
                     for name in COUNTED], axis=1)  # fmt: skip


class Ledger:
    """Sums of heartbeats by the cells of each cube, folded in batches."""

    def __init__(self, world: World, cubes: Sequence[Cube] = DEFAULT_CUBES) -> None:
        known = {*layout.TAGS, "error"}
        for cube in cubes:
            if not known.issuperset(cube.keys):
                raise InputError(f"summing cube {cube.name}: the simulator knows the keys {', '.join(sorted(known))}")
        self._world = world
        self._cubes = tuple(cubes)
        self._cells: dict[str, dict[tuple[int, ...], Int64s]] = {cube.name: {} for cube in cubes}
        self._pending: list[Records] = []
        self._pending_rows = 0

    def add(self, rows: Records) -> None:
        """Count heartbeats; the array must not change afterwards."""
        self._pending.append(rows)
        self._pending_rows += len(rows)
        if self._pending_rows >= _FOLD_ROWS:
            self._fold()

    def _fold(self) -> None:
        if not self._pending:
            return
        rows = np.concatenate(self._pending)
        self._pending, self._pending_rows = [], 0
        counted = count(rows)
        for cube in self._cubes:
            keys = np.stack([np.zeros(len(rows), np.int64), *(rows[_field(key)] for key in cube.keys)], axis=1)
            cells, place = np.unique(keys, axis=0, return_inverse=True)
            sums = np.zeros((len(cells), len(COUNTED)), np.int64)
            np.add.at(sums, place.reshape(-1), counted)
            known = self._cells[cube.name]
            for cell, total in zip(cells[:, 1:].tolist(), sums, strict=True):
                known[tuple(cell)] = known.get(tuple(cell), 0) + total

    def cells(self) -> dict[str, list[dict[str, Any]]]:
        """Cube name to its cells: `keys` and the sums of `COUNTED`."""
        self._fold()
        result: dict[str, list[dict[str, Any]]] = {}
        for cube in self._cubes:
            rows = []
            for cell, sums in sorted(self._cells[cube.name].items()):
                keys = {key: self._name(key, code) for key, code in zip(cube.keys, cell, strict=True)}
                rows.append({"keys": keys, **dict(zip(COUNTED, sums.tolist(), strict=True))})
            result[cube.name] = rows
        return result

    def _name(self, key: str, code: int) -> str:
        if key == "error":
            return self._world.errors[code - 1] if code else ""
        return self._world.names_of(key)[code]


def _field(key: str) -> str:
    return "error_code" if key == "error" else key


class TruthRecorder:
    """Collects the truth of one run."""

    def __init__(self, world: World, faults: Sequence[Fault], cubes: Sequence[Cube] = DEFAULT_CUBES) -> None:
        self._world = world
        self._faults = tuple(faults)
        self._affected: list[set[int]] = [set() for _ in faults]
        self._healed_ms: list[int | None] = [None] * len(faults)
        self._remediations: list[dict[str, Any]] = []
        self.ledger = Ledger(world, cubes)
        self.issued = 0

    def played(self, rows: Records) -> None:
        """Note heartbeats as the players make them."""
        self.issued += len(rows)
        for fault, affected in zip(self._faults, self._affected, strict=True):
            inside = (rows["ts_ms"] >= fault.start_ms) & (rows["ts_ms"] < fault.end_ms)
            if inside.any():
                affected.update(rows["sid"][inside & fault.cohort.mask(self._world, rows)].tolist())

    def drained(self, at_ms: int, cdn: str, device: str | None, share: float, moved: int) -> None:
        """Note that viewers were taken off a CDN."""
        self._remediations.append({"at_ms": at_ms, "cdn": cdn, "device": device, "share": share, "moved": moved})
        for index, fault in enumerate(self._faults):
            if share >= 1 and self._healed_ms[index] is None and fault.active(at_ms) and fault.ends_with(cdn, device):
                self._healed_ms[index] = at_ms

    def truth(self, start_ms: int, end_ms: int, sent: dict[str, Any]) -> dict[str, Any]:
        """The whole truth of [start_ms, end_ms); `sent` are the sender's counts."""
        return {
            "schema": "tocsin.truth/1",
            "seed": self._world.seed,
            "start_ms": start_ms,
            "end_ms": end_ms,
            "faults": [self._fault_row(index, start_ms, end_ms) for index in range(len(self._faults))],
            "remediations": self._remediations,
            "sent": {"issued": self.issued, **sent},
            "cubes": self.ledger.cells(),
        }

    def _fault_row(self, index: int, start_ms: int, end_ms: int) -> dict[str, Any]:
        fault = self._faults[index]
        affected = self._affected[index]
        return {
            "fault": fault.kind,
            "metric": fault.metric,
            "pages": fault.pages,
            "cohort": fault.cohort.as_dict(),
            "start_ms": max(fault.start_ms, start_ms),
            "end_ms": min(fault.end_ms, end_ms),
            "healed_ms": self._healed_ms[index],
            "affected_sessions": len(affected),
            "sample_session_ids": [session_id(sid) for sid in sorted(affected)[:SAMPLE_SESSIONS]],
            **fault.details(),
        }


def write(path: Path, truth: dict[str, Any]) -> None:
    """Write the truth file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(truth), indent=1))
    part.replace(path)
