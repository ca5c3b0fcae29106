"""State in SQLite: WAL, a full sync at commit, writers one after another (BEGIN IMMEDIATE).

The SQL is SQLAlchemy Core over `tables`, so that another database needs another engine and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, Row, Select, Table, create_engine, event, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import Pool, StaticPool

from tocsin.adapters.state.port import (
    ActionRow,
    ActionState,
    DeliveryRow,
    DeliveryState,
    IncidentRow,
    SpanRow,
    TimelineRow,
)
from tocsin.adapters.state.tables import ACTIONS, DELIVERIES, EVENTS, INCIDENTS, METADATA, SILENCES, TIMELINE
from tocsin.model.errors import UnavailableError

BUSY_MS = 10_000


class SqliteState:
    """`State` in the file at `path`; `None` keeps it in memory, for tests."""

    def __init__(self, path: Path | None) -> None:
        self._where = str(path) if path else "memory"
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = open_engine(path)
        with self._errors("opening"), self._engine.begin() as connection:
            METADATA.create_all(connection)

    @contextmanager
    def transaction(self) -> Iterator[SqliteTx]:
        """A transaction; raises `UnavailableError` where the file cannot be read or written."""
        with self._errors("writing"), self._engine.begin() as connection:
            yield SqliteTx(connection)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise UnavailableError(f"{doing} the state database {self._where}: {error.orig}; check its disk") from error


class SqliteRows:
    """Tables in the file at `path`, which several processes may share; `what` names them in errors.

    Raises `UnavailableError` where the file cannot be read or written.
    """

    def __init__(self, path: Path, what: str, tables: Sequence[Table], poolclass: type[Pool] | None = None) -> None:
        self._where = f"{what} {path}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = open_engine(path, poolclass)
        with self._transaction() as db:
            tables[0].metadata.create_all(db, tables)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as db:
                yield db
        except DBAPIError as error:
            raise UnavailableError(f"using {self._where}: {error.orig}; check its disk") from error


def open_engine(path: Path | None, poolclass: type[Pool] | None = None) -> Engine:
    """Connections to the file at `path`, with the settings above; `None` is one database in memory."""
    if path is None:
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        engine = create_engine(f"sqlite:///{path}", poolclass=poolclass, connect_args={"timeout": BUSY_MS / 1000})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver's guess
        cursor = connection.cursor()
        for pragma in (f"busy_timeout = {BUSY_MS}", "journal_mode = WAL", "synchronous = FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class SqliteTx:
    """`StateTx` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def put_incident(self, row: IncidentRow) -> None:
        """Insert or replace by id."""
        self._put(INCIDENTS, {
            "id": row.id, "rule": row.rule, "state": row.state, "opened_ms": row.opened_ms,
            "updated_ms": row.updated_ms, "closed_ms": row.closed_ms, "doc": _json(row.doc),
        })  # fmt: skip

    def incident(self, incident_id: str) -> IncidentRow | None:
        """One incident."""
        row = self._db.execute(select(INCIDENTS).where(INCIDENTS.c.id == incident_id)).first()
        return _incident(row) if row else None

    def incidents(self, states: Sequence[str] = (), since_ms: int = 0, limit: int = 500) -> list[IncidentRow]:
        """Newest first."""
        query = select(INCIDENTS).where(INCIDENTS.c.updated_ms >= since_ms)
        if states:
            query = query.where(INCIDENTS.c.state.in_(list(states)))
        return [_incident(row) for row in self._rows(query.order_by(INCIDENTS.c.opened_ms.desc()), limit)]

    def add_line(self, row: TimelineRow) -> None:
        """Append to an incident's timeline."""
        values = {
            "incident_id": row.incident_id, "at_ms": row.at_ms, "kind": row.kind, "who": row.who, "text": row.text,
        }  # fmt: skip
        self._db.execute(insert(TIMELINE).values(**values))

    def timeline(self, incident_id: str, limit: int = 500) -> list[TimelineRow]:
        """Oldest first."""
        query = select(TIMELINE).where(TIMELINE.c.incident_id == incident_id).order_by(TIMELINE.c.number)
        return [
            TimelineRow(row.incident_id, row.at_ms, row.kind, row.who, row.text) for row in self._rows(query, limit)
        ]

    def put_silence(self, row: SpanRow) -> None:
        """Insert or replace by id."""
        self._put(SILENCES, _span_values(row))

    def silences(self, at_ms: int, limit: int = 500) -> list[SpanRow]:
        """Those that have not ended at `at_ms`."""
        query = select(SILENCES).where(SILENCES.c.ends_ms > at_ms).order_by(SILENCES.c.starts_ms)
        return [_span(row) for row in self._rows(query, limit)]

    def put_event(self, row: SpanRow) -> None:
        """Insert or replace by id."""
        self._put(EVENTS, _span_values(row))

    def events(self, from_ms: int, to_ms: int, limit: int = 500) -> list[SpanRow]:
        """Those that overlap [from_ms, to_ms]."""
        query = select(EVENTS).where(EVENTS.c.starts_ms <= to_ms, EVENTS.c.ends_ms >= from_ms)
        return [_span(row) for row in self._rows(query.order_by(EVENTS.c.starts_ms), limit)]

    def add_delivery(self, row: DeliveryRow) -> bool:
        """Add unless the key is known."""
        statement = upsert(DELIVERIES).values(**_delivery_values(row)).on_conflict_do_nothing(index_elements=["key"])
        return self._db.execute(statement).rowcount == 1

    def put_delivery(self, row: DeliveryRow) -> None:
        """Replace by key."""
        self._db.execute(update(DELIVERIES).where(DELIVERIES.c.key == row.key).values(**_delivery_values(row)))

    def due_deliveries(self, now_ms: int, limit: int = 100) -> list[DeliveryRow]:
        """Queued ones whose time has come, oldest first."""
        query = select(DELIVERIES).where(DELIVERIES.c.state == "queued", DELIVERIES.c.next_ms <= now_ms)
        ordered = query.order_by(DELIVERIES.c.number)
        return [_delivery(row) for row in self._rows(ordered, limit)]

    def deliveries(
        self, incident_id: str = "", state: DeliveryState | None = None, limit: int = 500
    ) -> list[DeliveryRow]:
        """Newest first."""
        query = select(DELIVERIES)
        if incident_id:
            query = query.where(DELIVERIES.c.incident_id == incident_id)
        if state:
            query = query.where(DELIVERIES.c.state == state)
        return [_delivery(row) for row in self._rows(query.order_by(DELIVERIES.c.number.desc()), limit)]

    def put_action(self, row: ActionRow) -> None:
        """Insert or replace by id."""
        self._put(ACTIONS, {
            "id": row.id, "incident_id": row.incident_id, "action": row.action, "state": row.state,
            "created_ms": row.created_ms, "finished_ms": row.finished_ms, "doc": _json(row.doc),
        })  # fmt: skip

    def actions(
        self, incident_id: str = "", action: str = "", state: ActionState | None = None, since_ms: int = 0,
        limit: int = 500,
    ) -> list[ActionRow]:  # fmt: skip
        """Oldest first."""
        query = select(ACTIONS).where(ACTIONS.c.created_ms >= since_ms)
        wanted = {ACTIONS.c.incident_id: incident_id, ACTIONS.c.action: action, ACTIONS.c.state: state}
        for column, value in wanted.items():
            if value:
                query = query.where(column == value)
        return [
            ActionRow(
                row.id, row.incident_id, row.action, cast("ActionState", row.state), row.created_ms, row.finished_ms,
                json.loads(row.doc),
            )
            for row in self._rows(query.order_by(ACTIONS.c.created_ms, ACTIONS.c.id), limit)
        ]  # fmt: skip

    def _put(self, table: Table, values: dict[str, Any]) -> None:
        key = next(iter(table.primary_key)).name
        rest = {name: value for name, value in values.items() if name != key}
        self._db.execute(upsert(table).values(**values).on_conflict_do_update(index_elements=[key], set_=rest))

    def _rows(self, query: Select[Any], limit: int) -> Sequence[Row[Any]]:
        return self._db.execute(query.limit(limit)).all()


def _json(doc: Any) -> str:
    return json.dumps(doc, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _incident(row: Row[Any]) -> IncidentRow:
    return IncidentRow(
        row.id, row.rule, row.state, row.opened_ms, row.updated_ms, row.closed_ms, json.loads(row.doc)
    )  # fmt: skip


def _span(row: Row[Any]) -> SpanRow:
    return SpanRow(row.id, row.starts_ms, row.ends_ms, json.loads(row.doc))


def _span_values(row: SpanRow) -> dict[str, Any]:
    return {"id": row.id, "starts_ms": row.starts_ms, "ends_ms": row.ends_ms, "doc": _json(row.doc)}


def _delivery(row: Row[Any]) -> DeliveryRow:
    return DeliveryRow(
        row.key, row.incident_id, row.receiver, row.created_ms, row.next_ms, json.loads(row.payload),
        cast("DeliveryState", row.state), row.attempts, row.error,
    )  # fmt: skip


def _delivery_values(row: DeliveryRow) -> dict[str, Any]:
    return {
        "key": row.key, "incident_id": row.incident_id, "receiver": row.receiver, "state": row.state,
        "created_ms": row.created_ms, "next_ms": row.next_ms, "attempts": row.attempts, "error": row.error,
        "payload": _json(row.payload),
    }  # fmt: skip
