"""The laws of the state port, over each adapter, and what a kill -9 leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tocsin.adapters.state.port import ActionRow, DeliveryRow, IncidentRow, SpanRow, State, TimelineRow
from tocsin.adapters.state.sqlite import SqliteState
from tocsin.model.errors import UnavailableError


@pytest.fixture(params=["file", "memory"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    """One adapter at a time, empty."""
    found = SqliteState(tmp_path / "state.sqlite" if request.param == "file" else None)
    yield found
    found.close()


def row(number: int, state: str = "firing") -> IncidentRow:
    """An incident opened at `number` s."""
    closed = number * 1_000 + 5 if state == "closed" else None
    return IncidentRow(f"i{number}", "r", state, number * 1_000, number * 1_000, closed, {"cohort": {"cdn": "ü"}})


def delivery(number: int, next_ms: int = 0) -> DeliveryRow:
    """A page to one receiver."""
    return DeliveryRow(f"i1:{number}:hook", "i1", "hook", number, next_ms, {"text": "Ünïcode"})


def test_incidents_are_replaced_by_id_and_found_by_state(state: State) -> None:
    """Put twice is one; newest first; a document comes back as it went in."""
    with state.transaction() as tx:
        for incident in (row(1), row(2), row(3, "closed")):
            tx.put_incident(incident)
        tx.put_incident(replace(row(1), updated_ms=99))
    with state.transaction() as tx:
        assert [found.id for found in tx.incidents()] == ["i3", "i2", "i1"]
        assert [found.id for found in tx.incidents(("firing",))] == ["i2", "i1"]
        assert [found.id for found in tx.incidents((), since_ms=2_500)] == ["i3"]
        assert tx.incident("i1") == replace(row(1), updated_ms=99)
        assert tx.incident("none") is None


def test_a_transaction_is_all_or_nothing(state: State) -> None:
    """An error inside leaves nothing of it."""

    def fails() -> None:
        with state.transaction() as tx:
            tx.put_incident(row(1))
            tx.add_delivery(delivery(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with state.transaction() as tx:
        assert tx.incidents() == []
        assert tx.deliveries() == []


def test_a_delivery_is_added_once(state: State) -> None:
    """The key is the idempotency key: a second add changes nothing; only queued ones whose time has come are due."""
    with state.transaction() as tx:
        assert tx.add_delivery(delivery(1))
        assert not tx.add_delivery(replace(delivery(1), payload={"other": 1}))
        tx.add_delivery(delivery(2, next_ms=500))
        tx.put_delivery(replace(delivery(1), attempts=3, error="x"))
        assert [found.key for found in tx.due_deliveries(499)] == ["i1:1:hook"]
        assert [found.key for found in tx.due_deliveries(500)] == ["i1:1:hook", "i1:2:hook"]
        tx.put_delivery(replace(delivery(1), state="sent"))
        assert [found.key for found in tx.due_deliveries(500)] == ["i1:2:hook"]
        assert tx.deliveries("i1", "sent")[0].payload == {"text": "Ünïcode"}


def test_spans_timelines_and_actions(state: State) -> None:
    """Silences until they end, events that overlap, lines in order, runs by name and state."""
    with state.transaction() as tx:
        tx.put_silence(SpanRow("s", 10, 20, {"match": {}}))
        tx.put_event(SpanRow("e", 100, 200, {"kind": "premiere"}))
        for text in ("first", "second"):
            tx.add_line(TimelineRow("i1", 5, "note", "me", text))
        tx.put_action(ActionRow("a1", "i1", "drain", "queued", 7))
        assert [s.id for s in tx.silences(19)] == ["s"]
        assert tx.silences(20) == []
        assert [e.id for e in tx.events(150, 300)] == ["e"]
        assert tx.events(201, 300) == []
        assert [line.text for line in tx.timeline("i1")] == ["first", "second"]
        assert [a.id for a in tx.actions(action="drain", state="queued")] == ["a1"]
        assert tx.actions(state="done") == []


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    """A writer killed with SIGKILL between transactions: all it said it had committed is there, nothing is half."""
    path = tmp_path / "state.sqlite"
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from tocsin.adapters.state.port import DeliveryRow, IncidentRow
        from tocsin.adapters.state.sqlite import SqliteState
        state = SqliteState(Path(sys.argv[1]))
        for i in range(1_000_000):
            with state.transaction() as tx:
                tx.put_incident(IncidentRow(f"i{i}", "r", "firing", i, i, None, {}))
                tx.add_delivery(DeliveryRow(f"i{i}:1:hook", f"i{i}", "hook", i, i, {}))
            print(i, flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = -1
    for line in child.stdout:
        said = int(line)
        if said >= 20:
            os.kill(child.pid, signal.SIGKILL)
            break
    rest = child.stdout.read().split()
    said = int(rest[-1]) if rest else said
    child.wait()
    state = SqliteState(path)
    with state.transaction() as tx:
        incidents = {found.id for found in tx.incidents(limit=10**6)}
        deliveries = {found.incident_id for found in tx.deliveries(limit=10**6)}
    state.close()
    assert {f"i{i}" for i in range(said + 1)} <= incidents
    assert incidents == deliveries


def test_an_unreadable_file_is_unavailable(tmp_path: Path) -> None:
    """A path that is no database says what could not be opened."""
    (tmp_path / "broken").write_text("this is no database, and long enough to be looked at as one " * 20)
    with pytest.raises(UnavailableError, match="opening the state database"):
        SqliteState(tmp_path / "broken")
