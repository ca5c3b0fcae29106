"""Simulated heartbeats as columnar batches: what the gateway would make of them, without a gateway.

For oracles, benchmarks and replays that want many heartbeats fast.
"""

from __future__ import annotations

import numpy as np

from player_sim import layout
from player_sim.audience import World
from player_sim.cells import axis
from player_sim.layout import Int64s, Records
from player_sim.wire import SDK_NAME, SDK_VERSION, session_id
from tocsin.model.columnar import HeartbeatBatch, TextColumn, from_rows
from tocsin.model.tags import TAG_KEYS


def batch_of(world: World, rows: Records, received_ms: Int64s) -> HeartbeatBatch:
    """The heartbeats as one batch, in their order; `received_ms` of shape (n,)."""
    zero = np.zeros(len(rows), np.int64)
    text: dict[str, TextColumn] = {}
    for key in TAG_KEYS:
        one = axis(world, key)
        text[key] = TextColumn(one.names, one.table[rows[one.field]])
    text["sdk"] = TextColumn([f"{SDK_NAME}/{SDK_VERSION}"], zero)
    messages = ["", *(f"simulated {name}" for name in world.errors)]
    text["error_message"] = TextColumn(messages, rows["error_code"].copy())
    numbers = {name: np.ascontiguousarray(column) for name, column in layout.columns_of(rows, received_ms).items()}
    return from_rows([session_id(sid) for sid in rows["sid"].tolist()], numbers, text)
