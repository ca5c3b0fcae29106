"""The allow-list of tags: the OpenTelemetry-style name that players send, and the short key that queries use.

A tag outside the list is ignored and counted; a value past its budget becomes `__other__`. A session or user id is
never a tag. `geo.*` tags are set by the server only; `error.code` comes from a heartbeat's error.
"""

from __future__ import annotations

from dataclasses import dataclass

OTHER = "__other__"
"""What a value becomes once its tag has used up its budget."""

VALUE_LENGTH_MAX = 120
"""Characters of one tag value; longer ones are cut by the gateway (counted)."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One allowed tag: `wire` in a heartbeat, `key` everywhere else, `budget` distinct values before `__other__`."""

    wire: str
    key: str
    budget: int
    server_only: bool = False


TAGS: tuple[Tag, ...] = (
    Tag("content.id", "title", 50_000),
    Tag("content.type", "kind", 64),
    Tag("stream.id", "stream", 50_000),
    Tag("stream.type", "mode", 8),
    Tag("stream.format", "format", 16),
    Tag("cdn.name", "cdn", 64),
    Tag("player.name", "player", 64),
    Tag("player.version", "player_version", 512),
    Tag("app.version", "app", 512),
    Tag("device.category", "device", 64),
    Tag("os.name", "os", 64),
    Tag("network.type", "network", 32),
    Tag("geo.country", "region", 300, server_only=True),
    Tag("geo.asn", "isp", 5_000, server_only=True),
    Tag("error.code", "error", 1_000, server_only=True),
)

TAG_KEYS: tuple[str, ...] = tuple(tag.key for tag in TAGS)
"""Keys in the order of the tables' columns."""

IDENTITY_KEYS: tuple[str, ...] = tuple(key for key in TAG_KEYS if key != "error")
"""Keys that make a session-minute's tag set: an error is an event of the session, not a property of it."""

BY_WIRE: dict[str, Tag] = {tag.wire: tag for tag in TAGS}
BY_KEY: dict[str, Tag] = {tag.key: tag for tag in TAGS}
