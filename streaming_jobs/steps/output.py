"""What one closed bucket gives: Arrow tables for the store, and its ledger counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class BucketOutput:
    """Everything of the offsets [start_offset, end_offset) of a partition.

    `append_ms` and `last_append_ms`: append times of the first and the last message. `raw`: rows of `heartbeats`;
    `deltas`: cells of all cubes and the ledger row, to be stored as one insert; `series`, `quarantine`: may be empty.
    `counts`: the ledger row by LEDGER_COLUMNS.
    """

    partition: int
    start_offset: int
    end_offset: int
    append_ms: int
    last_append_ms: int
    raw: pa.Table
    deltas: pa.Table
    series: pa.Table
    quarantine: pa.Table
    counts: Mapping[str, int]
