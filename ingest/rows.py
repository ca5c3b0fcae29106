"""Heartbeats of one envelope as rows of numbers, whichever way they were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import astuple

from tocsin.model.columnar import Int64s
from tocsin.model.heartbeat import BATCH_COLUMNS, NUMERIC, OUTCOMES, REASONS, STATES, Event, PlaybackError

ROW_COLUMNS = (*NUMERIC, "reason", "state", "outcome", "bitrate_video_kbps", "bitrate_audio_kbps")
assert BATCH_COLUMNS[: len(ROW_COLUMNS)] == ROW_COLUMNS  # noqa: S101

_NUMERIC_AT = [Event.__struct_fields__.index(name) for name in NUMERIC]
_REASON_CODE = {name: code for code, name in enumerate(REASONS)}
_STATE_CODE = {name: code for code, name in enumerate(STATES)}
_OUTCOME_CODE: dict[str | None, int] = {name or None: code for code, name in enumerate(OUTCOMES)}


@dataclass(slots=True)
class Rows:
    """n heartbeats: `numbers` has shape (n, `ROW_COLUMNS`); errors and tags of their own, by row, are rare."""

    numbers: Int64s
    session_ids: list[str]
    errors: dict[int, PlaybackError] = field(default_factory=dict)
    tags: dict[int, dict[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.session_ids)

    def column(self, name: str) -> Int64s:
        """One of `ROW_COLUMNS`, shape (n,)."""
        return self.numbers[:, ROW_COLUMNS.index(name)]


def rows_of(events: Sequence[Event]) -> Rows:
    """The rows of decoded heartbeats, at least one."""
    numbers: list[list[int]] = []
    for event in events:
        values = astuple(event)
        rate = event.bitrate_kbps
        numbers.append(
            [
                *[values[at] for at in _NUMERIC_AT],
                _REASON_CODE[event.reason], _STATE_CODE[event.state], _OUTCOME_CODE[event.outcome],
                0 if rate is None else rate.video, 0 if rate is None else rate.audio,
            ]
        )  # fmt: skip
    return Rows(
        np.array(numbers, np.int64),
        [event.session_id for event in events],
        {row: event.error for row, event in enumerate(events) if event.error is not None},
        {row: event.tags for row, event in enumerate(events) if event.tags},
    )
