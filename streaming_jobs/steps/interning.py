"""Step: text to dense codes, so that every later step works on integers.

Three interners: of strings (`Texts`), of sessions with reuse of freed ids (`Sessions`), and of rows of codes (`Rows`,
an open-addressing hash table compared column by column, so that equal hashes never merge different tag sets).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streaming_jobs.steps.arrays import Int32s, Int64s, grown
from tocsin.model.columnar import NarrowBatch
from tocsin.model.compiled import compiled

_FIRST_ROWS = 1024


class _Index(dict[str, int]):
    """String to code; a string not seen gets the next code, in order of appearance."""

    def __init__(self) -> None:
        super().__init__()
        self.values_by_code: list[str] = []

    def __missing__(self, text: str) -> int:
        code = len(self)
        self[text] = code
        self.values_by_code.append(text)
        return code


class Texts:
    """Strings by code; the empty string is code 0."""

    def __init__(self) -> None:
        self._index = _Index()
        self.codes([""])

    def __len__(self) -> int:
        return len(self._index)

    def codes(self, values: Sequence[str]) -> Int64s:
        """The code of each value."""
        return np.fromiter(map(self._index.__getitem__, values), np.int64, len(values))

    def of_batches(self, batches: Sequence[NarrowBatch], key: str) -> Int64s:
        """The codes of text column `key` of all batches, one after the other."""
        positions = np.empty(sum(len(batch) for batch in batches), np.int64)
        dictionary: list[str] = []
        end = 0
        for batch in batches:
            start, end = end, end + len(batch)
            values, codes = batch.text[key]
            np.add(codes, len(dictionary), out=positions[start:end], dtype=np.int64)
            dictionary += values
        return self.codes(dictionary)[positions]

    def values(self, codes: Int64s) -> list[str]:
        """The string of each code."""
        values = self._index.values_by_code
        return [values[code] for code in codes.tolist()]


class _SessionIndex(dict[str, int]):
    def __init__(self, free: list[int], ids: list[str]) -> None:
        super().__init__()
        self._free = free
        self._ids = ids

    def __missing__(self, session_id: str) -> int:
        if self._free:
            number = self._free.pop()
            self._ids[number] = session_id
        else:
            number = len(self._ids)
            self._ids.append(session_id)
        self[session_id] = number
        return number


class Sessions:
    """Session ids by dense number; a freed number is given to another session."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._ids: list[str] = []
        self._index = _SessionIndex(self._free, self._ids)

    def __len__(self) -> int:
        """Live sessions."""
        return len(self._index)

    @property
    def numbers_used(self) -> int:
        """One past the largest number given so far."""
        return len(self._ids)

    def numbers(self, session_ids: Sequence[str]) -> Int64s:
        """The number of each session."""
        return np.fromiter(map(self._index.__getitem__, session_ids), np.int64, len(session_ids))

    def names(self, numbers: Int64s) -> list[str]:
        """The ids of live sessions."""
        ids = self._ids
        return [ids[number] for number in numbers.tolist()]

    def free(self, numbers: Int64s) -> None:
        """Forget sessions."""
        for number in numbers.tolist():
            del self._index[self._ids[number]]
            self._ids[number] = ""
            self._free.append(number)


@compiled
def _intern(rows: Int32s, stored: Int32s, count: int, table: Int32s, ids: Int64s) -> int:
    mask = len(table) - 1
    width = rows.shape[1]
    for i in range(len(rows)):
        mixed = np.uint64(0x9E3779B97F4A7C15)
        for j in range(width):
            mixed = (mixed ^ np.uint64(rows[i, j])) * np.uint64(0xFF51AFD7ED558CCD)
            mixed ^= mixed >> np.uint64(32)
        at = np.int64(mixed & np.uint64(mask))
        while True:
            found = table[at]
            if found < 0:
                stored[count, :] = rows[i, :]
                table[at] = count
                ids[i] = count
                count += 1
                break
            same = True
            for j in range(width):
                if stored[found, j] != rows[i, j]:
                    same = False
                    break
            if same:
                ids[i] = found
                break
            at = (at + 1) & mask
    return count


class Rows:
    """Rows of `width` codes, each distinct row under a dense id in order of appearance."""

    def __init__(self, width: int) -> None:
        self._stored = np.zeros((_FIRST_ROWS, width), np.int32)
        self._table = np.full(_FIRST_ROWS * 4, -1, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Int32s:
        """All distinct rows, by id: shape (len, width)."""
        return self._stored[: self._count]

    def ids(self, rows: Int32s) -> Int64s:
        """The id of each row: shape (n,)."""
        self._make_room(self._count + len(rows))
        ids = np.empty(len(rows), np.int64)
        self._count = _intern(rows, self._stored, self._count, self._table, ids)
        return ids

    def _make_room(self, needed: int) -> None:
        capacity = len(self._stored)
        if needed <= capacity:
            return
        while capacity < needed:
            capacity *= 2
        kept = self.rows.copy()
        self._stored = grown(self._stored, (capacity, self._stored.shape[1]), 0)
        self._table = np.full(capacity * 4, -1, np.int32)
        _intern(kept, self._stored, 0, self._table, np.empty(len(kept), np.int64))
