"""Records of the log: what kind of message a payload is, told by its first four bytes."""

from __future__ import annotations

from tocsin.model.errors import CorruptError

HEARTBEATS = b"TCH1"
"""Columnar heartbeats (`tocsin.model.columnar`)."""
POINTS = b"TCP1"
"""Columnar published points (`tocsin.model.points`)."""
REFUSED = b"TCR1"
"""What the gateway refused: msgpack map reason -> count."""
TICK = b"TCT1"
"""Nothing but its append time: closes the buckets of an idle partition."""

KINDS: tuple[bytes, ...] = (HEARTBEATS, POINTS, REFUSED, TICK)


def kind_of(payload: bytes) -> bytes:
    """The kind of a payload; raises `CorruptError` where the first bytes are none of `KINDS`."""
    kind = payload[:4]
    if kind not in KINDS:
        raise CorruptError(f"reading a log record: first bytes {kind!r} are no known kind; quarantined as it is")
    return kind
