"""The probe's queue of looks and its verdicts, as rows of one SQLite database that several processes may share.

Bodies are bytes that the probe reads and writes; the columns are what they are found by. Every change is one immediate
transaction with a full sync, so that a claim is one worker's alone and what was stored survives a kill -9.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.pool import NullPool

from tocsin.adapters.state.sqlite import SqliteRows

METADATA = MetaData()
LOOKS = Table(
    "probe_looks",
    METADATA,
    Column("id", String, primary_key=True),
    Column("priority", Integer, nullable=False),
    Column("queued_ts_s", Float, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("worker", String, nullable=False, default=""),
    Column("leased_until_ts_s", Float, nullable=False, default=0.0),
    Column("body", LargeBinary, nullable=False),
    Index("probe_looks_order", "priority", "queued_ts_s"),
)
VERDICTS = Table(
    "probe_verdicts",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("stream", String, nullable=False, index=True),
    Column("incident_id", String, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
)
FRAMES = Table(
    "probe_frames",
    METADATA,
    Column("verdict_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("png", LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class LookRow:
    """One look in the queue; `attempt` counts how often it was claimed."""

    id: str
    body: bytes
    attempt: int


class ProbeRows(SqliteRows):
    """The rows in the file at `path`; raises `UnavailableError` where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "the probe's database", [LOOKS, VERDICTS, FRAMES], NullPool)

    def add_look(self, look_id: str, priority: int, queued_ts_s: float, body: bytes, capacity: int) -> bool:
        """Add a look unless it is known; False if `capacity` looks are there already."""
        with self._transaction() as db:
            if db.execute(select(LOOKS.c.id).where(LOOKS.c.id == look_id)).first() is not None:
                return True
            if db.execute(select(func.count()).select_from(LOOKS)).scalar_one() >= capacity:
                return False
            row = {"id": look_id, "priority": priority, "queued_ts_s": queued_ts_s, "body": body}
            db.execute(insert(LOOKS).values(**row))
            return True

    def claim_look(self, worker: str, now_ts_s: float, lease_s: float, attempts_max: int) -> LookRow | None:
        """Give the first free look to `worker` until `now_ts_s + lease_s`."""
        free = or_(LOOKS.c.worker == "", LOOKS.c.leased_until_ts_s <= now_ts_s)
        first = _in_order(select(LOOKS).where(free, LOOKS.c.attempt < attempts_max)).limit(1)
        with self._transaction() as db:
            row = db.execute(first).mappings().first()
            if row is None:
                return None
            attempt = row["attempt"] + 1
            held = {"worker": worker, "leased_until_ts_s": now_ts_s + lease_s, "attempt": attempt}
            db.execute(update(LOOKS).where(LOOKS.c.id == row["id"]).values(**held))
            return LookRow(row["id"], row["body"], attempt)

    def renew_look(self, look_id: str, worker: str, until_ts_s: float) -> bool:
        """Hold a claim until `until_ts_s`; False if it is not the worker's."""
        mine = (LOOKS.c.id == look_id) & (LOOKS.c.worker == worker)
        with self._transaction() as db:
            return bool(db.execute(update(LOOKS).where(mine).values(leased_until_ts_s=until_ts_s)).rowcount)

    def drop_look(self, look_id: str, worker: str) -> bool:
        """Take a finished look out; False if it is not the worker's."""
        mine = (LOOKS.c.id == look_id) & (LOOKS.c.worker == worker)
        with self._transaction() as db:
            return bool(db.execute(delete(LOOKS).where(mine)).rowcount)

    def drop_exhausted(self, now_ts_s: float, attempts_max: int) -> list[LookRow]:
        """Take out the looks whose last claim has run out."""
        over = (LOOKS.c.attempt >= attempts_max) & (LOOKS.c.leased_until_ts_s <= now_ts_s)
        with self._transaction() as db:
            rows = _looks(db, _in_order(select(LOOKS).where(over)))
            db.execute(delete(LOOKS).where(LOOKS.c.id.in_([row.id for row in rows])))
            return rows

    def looks(self) -> list[LookRow]:
        """All looks in the order of claiming."""
        with self._transaction() as db:
            return _looks(db, _in_order(select(LOOKS)))

    def put_verdict(
        self, verdict_id: str, stream: str, incident_id: str, body: bytes, frames: tuple[bytes, ...], kept: int
    ) -> None:
        """Store or replace a verdict with its pictures; the oldest beyond `kept` are dropped."""
        with self._transaction() as db:
            _drop_verdicts(db, [verdict_id])
            row = {"id": verdict_id, "stream": stream, "incident_id": incident_id, "body": body}
            db.execute(insert(VERDICTS).values(**row))
            pictures = [{"verdict_id": verdict_id, "number": number, "png": png} for number, png in enumerate(frames)]
            if pictures:
                db.execute(insert(FRAMES), pictures)
            newest = select(VERDICTS.c.id).order_by(VERDICTS.c.number.desc()).offset(kept).limit(1_000)
            _drop_verdicts(db, list(db.execute(newest).scalars()))

    def change_verdict(self, verdict_id: str, body: bytes) -> None:
        """Replace a verdict's body; its place and pictures stay."""
        with self._transaction() as db:
            db.execute(update(VERDICTS).where(VERDICTS.c.id == verdict_id).values(body=body))

    def verdict(self, verdict_id: str) -> bytes | None:
        """One verdict."""
        with self._transaction() as db:
            body: bytes | None = db.execute(
                select(VERDICTS.c.body).where(VERDICTS.c.id == verdict_id)
            ).scalar_one_or_none()
            return body

    def verdicts(self, limit: int, stream: str, incident_id: str) -> list[bytes]:
        """The newest verdicts, newest first; of one stream or incident where that is not empty."""
        query = select(VERDICTS.c.body).order_by(VERDICTS.c.number.desc()).limit(limit)
        if stream:
            query = query.where(VERDICTS.c.stream == stream)
        if incident_id:
            query = query.where(VERDICTS.c.incident_id == incident_id)
        with self._transaction() as db:
            return list(db.execute(query).scalars())

    def frame(self, verdict_id: str, number: int) -> bytes | None:
        """One picture of a verdict, PNG."""
        wanted = (FRAMES.c.verdict_id == verdict_id) & (FRAMES.c.number == number)
        with self._transaction() as db:
            png: bytes | None = db.execute(select(FRAMES.c.png).where(wanted)).scalar_one_or_none()
            return png


def _in_order(query: Select[Any]) -> Select[Any]:
    return query.order_by(LOOKS.c.priority, LOOKS.c.queued_ts_s, LOOKS.c.id)


def _looks(db: Connection, query: Select[Any]) -> list[LookRow]:
    return [LookRow(row["id"], row["body"], row["attempt"]) for row in db.execute(query).mappings()]


def _drop_verdicts(db: Connection, ids: list[str]) -> None:
    if ids:
        db.execute(delete(FRAMES).where(FRAMES.c.verdict_id.in_(ids)))
        db.execute(delete(VERDICTS).where(VERDICTS.c.id.in_(ids)))
