"""Tables of incidents, silences, events, deliveries, actions, tokens, writes: one Core schema for every database.

Documents (`doc`) are JSON that their owner reads and writes; columns are what is searched by.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData()

INCIDENTS = Table(
    "incidents", METADATA,
    Column("id", String(32), primary_key=True),
    Column("rule", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger),
    Column("doc", Text, nullable=False),
    Index("incidents_by_state", "state", "opened_ms"),
)  # fmt: skip

TIMELINE = Table(
    "timeline", METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("incident_id", String(32), nullable=False, index=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("who", String(128), nullable=False),
    Column("text", Text, nullable=False),
)  # fmt: skip

SILENCES = Table(
    "silences", METADATA,
    Column("id", String(32), primary_key=True),
    Column("starts_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False, index=True),
    Column("doc", Text, nullable=False),
)  # fmt: skip

EVENTS = Table(
    "events", METADATA,
    Column("id", String(32), primary_key=True),
    Column("starts_ms", BigInteger, nullable=False, index=True),
    Column("ends_ms", BigInteger, nullable=False),
    Column("doc", Text, nullable=False),
)  # fmt: skip

DELIVERIES = Table(
    "deliveries", METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key", String(96), nullable=False, unique=True),
    Column("incident_id", String(32), nullable=False, index=True),
    Column("receiver", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Index("deliveries_due", "state", "next_ms"),
)  # fmt: skip

ACTIONS = Table(
    "actions", METADATA,
    Column("id", String(32), primary_key=True),
    Column("incident_id", String(32), nullable=False, index=True),
    Column("action", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger),
    Column("doc", Text, nullable=False),
    Index("actions_by_name", "action", "created_ms"),
)  # fmt: skip

TOKENS = Table(
    "tokens", METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("scopes", String(256), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)  # fmt: skip

AUDIT = Table(
    "audit", METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", String(128), nullable=False),
    Column("what", Text, nullable=False),
    Column("status", Integer, nullable=False),
)  # fmt: skip
