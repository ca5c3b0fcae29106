"""Cells of complete hours kept in memory: a graph that is asked again reads only its newest minutes from the store.

A minute that is folded never changes again, so what was read of it stays right. Kept is what the store summed for one
question (family, cube, condition, keys, step), an hour or a longer step at a time, for ranges move on from one look to
the next. Questions whose lines are single cells (`:max`, `:count`) are not kept: they are as large as the cube.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from query.cells import Folded, RawLines, group_keys, pushes_down, read_cells
from query.families import SeriesFamily
from tocsin.adapters.store.port import Store
from tocsin.model.asl.query_expr import Query
from tocsin.model.asl.source import FetchRequest
from tocsin.model.asl.times import HOUR
from tocsin.model.cubes import Cube

KEPT_POINTS_MAX = 20_000_000
"""Points (8 bytes each) that are kept; the longest unused block goes first."""
Question = tuple[Hashable, ...]
Key = tuple[Question, int]


class Blocks:
    """Lines by question and start, up to a number of points; thread-safe."""

    def __init__(self, kept_points_max: int) -> None:
        self._kept_max = kept_points_max
        self._blocks: OrderedDict[Key, RawLines] = OrderedDict()
        self._points = 0
        self._lock = threading.Lock()

    def known(self, keys: Iterable[Key]) -> dict[Key, RawLines]:
        """Those of some blocks that are kept."""
        with self._lock:
            return {key: self._blocks[key] for key in keys if key in self._blocks}

    def keep(self, blocks: Mapping[Key, RawLines]) -> None:
        """Keep blocks, used just now, and forget what was not used for longest where they become too many."""
        with self._lock:
            for key, lines in blocks.items():
                if key not in self._blocks:
                    self._points += lines.values.size
                    self._blocks[key] = lines
                self._blocks.move_to_end(key)
            while self._points > self._kept_max:
                _, lines = self._blocks.popitem(last=False)
                self._points -= lines.values.size


class CubeReader:
    """Reads the lines of families from a cube; thread-safe."""

    def __init__(self, store: Store, kept_points_max: int = KEPT_POINTS_MAX) -> None:
        self._store, self._blocks = store, Blocks(kept_points_max)

    def read(
        self, families: Sequence[SeriesFamily], cube: Cube, condition: Query, request: FetchRequest, folded: Folded
    ) -> list[RawLines]:
        """As `read_cells`, with what is known of complete hours."""
        block_ms = max(HOUR, request.step_ms)
        first = request.start_ms - request.step_ms
        if not pushes_down(request, families[0]) or block_ms % request.step_ms or first % request.step_ms:
            return read_cells(self._store, families, cube, condition, request, folded)
        complete = max(first, min(folded.minutes_end_ms, request.end_ms) // block_ms * block_ms)
        starts = range(first // block_ms * block_ms, complete, block_ms)
        questions = [_question(family, cube, condition, request) for family in families]
        known = self._blocks.known((question, at) for question in questions for at in starts)
        missing = {at for at in starts if any((question, at) not in known for question in questions)}
        lacking = [i for i, question in enumerate(questions) if any((question, at) not in known for at in starts)]
        for low, high in _runs(sorted(missing), block_ms):
            span = dataclasses.replace(request, start_ms=low + request.step_ms, end_ms=high)
            read = read_cells(self._store, [families[i] for i in lacking], cube, condition, span, folded)
            for i, lines in zip(lacking, read, strict=True):
                known |= _split(questions[i], lines, low, block_ms)
        self._blocks.keep(known)
        parts = [[(at, known[question, at]) for at in starts] for question in questions]
        if complete < request.end_ms:
            span = dataclasses.replace(request, start_ms=complete + request.step_ms)
            newest = read_cells(self._store, families, cube, condition, span, folded)
            for part, lines in zip(parts, newest, strict=True):
                part.append((complete, lines))
        return [_joined(part, first, request) for part in parts]


def _question(family: SeriesFamily, cube: Cube, condition: Query, request: FetchRequest) -> Question:
    """All that the values of a block depend on, but its time."""
    fixed = (*family.fixed.items(), family.histogram)
    keys = group_keys(request, family, cube.keys)
    return (fixed, cube.name, condition, keys, request.step_ms, request.cf)


def _runs(starts: Sequence[int], block_ms: int) -> list[tuple[int, int]]:
    """Ascending starts of blocks as ranges of time, the ends not included."""
    runs: list[tuple[int, int]] = []
    for at in starts:
        if runs and at == runs[-1][1]:
            runs[-1] = (runs[-1][0], at + block_ms)
        else:
            runs.append((at, at + block_ms))
    return runs


def _split(question: Question, lines: RawLines, low: int, block_ms: int) -> dict[Key, RawLines]:
    """Lines that begin at `low` as blocks, which share the list of tags."""
    width = block_ms // lines.step_ms
    return {
        (question, low + i * block_ms): dataclasses.replace(
            lines, values=lines.values[:, i * width : (i + 1) * width].copy()
        )
        for i in range(lines.values.shape[1] // width)
    }


def _joined(parts: Sequence[tuple[int, RawLines]], first: int, request: FetchRequest) -> RawLines:
    """Lines of several stretches, each with its start, as one over the grid of a request, which begins at `first`."""
    step, points = request.step_ms, request.points
    index: dict[tuple[tuple[str, str], ...], int] = {}
    rows_of: dict[int, list[int]] = {}
    for _, part in parts:
        if id(part.tags) not in rows_of:
            keys = [tuple(sorted(tags.items())) for tags in part.tags]
            rows_of[id(part.tags)] = [index.setdefault(key, len(index)) for key in keys]
    matrix = np.full((len(index), points), np.nan)
    for start, part in parts:
        at = (start - first) // step
        low, high = max(at, 0), min(at + part.values.shape[1], points)
        matrix[rows_of[id(part.tags)], low:high] = part.values[:, low - at : high - at]
    return RawLines([dict(key) for key in index], matrix, [False] * len(index), step)
