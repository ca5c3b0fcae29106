"""Tag sets: the 14 identity tags of a heartbeat as one dense id, and the text behind each code.

Ids and codes live as long as state refers to them: once there are many, those that nothing refers to any more are
dropped and the rest is renumbered, so that memory follows the audience of the last W and not of all time. Results do
not depend on ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streaming_jobs.steps.arrays import Int32s, Int64s
from streaming_jobs.steps.interning import Rows, Texts
from tocsin.model.columnar import NarrowBatch
from tocsin.model.tags import IDENTITY_KEYS

KEPT_MIN = 65_536
"""Tag sets below which nothing is dropped."""


class TagSets:
    """Identity tag sets by id, values of each key by code."""

    def __init__(self, kept_min: int = KEPT_MIN) -> None:
        self._kept_min = kept_min
        self._limit = kept_min
        self._texts = {key: Texts() for key in IDENTITY_KEYS}
        self._rows = Rows(len(IDENTITY_KEYS))
        self.generation = 0
        """Rises whenever ids were renumbered."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def codes(self) -> Int32s:
        """Codes of every tag set, by id: shape (len, 14), in the order of IDENTITY_KEYS."""
        return self._rows.rows

    def texts(self, key: str) -> Texts:
        """The values of one key."""
        return self._texts[key]

    def ids(self, batches: Sequence[NarrowBatch]) -> Int64s:
        """The tag set of each heartbeat, in order."""
        codes = np.stack(
            [self._texts[key].of_batches(batches, key) for key in IDENTITY_KEYS],
            axis=1,
            dtype=np.int32,
            casting="unsafe",
        )
        return self._rows.ids(codes)

    @property
    def crowded(self) -> bool:
        """True where `keep` is due."""
        return len(self._rows) > self._limit

    def keep(self, used: Int64s) -> Int64s:
        """Drop all tag sets but `used`; returns the new id of each old one, -1 where it is gone."""
        kept = np.unique(used)
        codes = np.empty((len(kept), len(IDENTITY_KEYS)), np.int32)
        for index, key in enumerate(IDENTITY_KEYS):
            old, position = np.unique(self.codes[kept, index], return_inverse=True)
            texts = Texts()
            codes[:, index] = texts.codes(self._texts[key].values(old.astype(np.int64)))[position]
            self._texts[key] = texts
        new_id = np.full(len(self._rows), -1, np.int64)
        self._rows = Rows(len(IDENTITY_KEYS))
        new_id[kept] = self._rows.ids(codes)
        self._limit = max(self._kept_min, 2 * len(kept))
        self.generation += 1
        return new_id
