"""The committer beside a store that takes inserts and shows no rows: retention is told apart from a broken store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from streaming_jobs.committer import TOKENS_MAX, Committer
from streaming_jobs.steps.output import BucketOutput
from tocsin.model.errors import UnavailableError

APPEND_MS = 1_790_000_000_000
DAY_S = 86_400


class ForgetfulStore:
    """Takes every insert and keeps none, as a table does with rows past its retention; its clock is given."""

    def __init__(self, now_s: int) -> None:
        self._now_s = now_s
        self.tokens: list[str] = []

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Note the token."""
        self.tokens.append(token)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """No bucket, no row; the age of an append time by its clock."""
        if "now()" in sql:
            return [(self._now_s - int((parameters or {})["append"]) // 1000,)]
        return [(0,)] if "count()" in sql else []

    def query_columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Sequence[Any]]:
        """Not asked for."""
        raise AssertionError(sql)

    def query_arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Not asked for."""
        raise AssertionError(sql)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Not asked for."""
        raise AssertionError(sql)

    def close(self) -> None:
        """Nothing to release."""


def _bucket() -> BucketOutput:
    rows = pa.table({"log_partition": pa.array([0], pa.uint16())})
    empty = rows.slice(0, 0)
    return BucketOutput(
        partition=0, start_offset=5, end_offset=9, append_ms=APPEND_MS, last_append_ms=APPEND_MS, counts={},
        raw=rows, deltas=rows, series=empty, quarantine=empty,
    )  # fmt: skip


def test_a_bucket_past_retention_is_let_go() -> None:
    """A machine that was off for weeks counts on: what the store would delete at once is no reason to stop."""
    store = ForgetfulStore(APPEND_MS // 1000 + 60 * DAY_S)
    committer = Committer(store)
    committer.commit(_bucket())
    assert committer.stats.committed == 1


def test_a_store_that_loses_fresh_rows_is_not_believed() -> None:
    """Rows that should be there and are not, under any token, are an outage and never taken for stored."""
    store = ForgetfulStore(APPEND_MS // 1000 + 60)
    with pytest.raises(UnavailableError, match="shows no row"):
        Committer(store).commit(_bucket())
    assert len(set(store.tokens)) == TOKENS_MAX
