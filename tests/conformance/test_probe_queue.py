"""The laws of the probe's queue and verdict store, over every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server_probe.look import Evidence, Look, Reason, Verdict
from server_probe.memory import MemoryQueue, MemoryVerdicts
from server_probe.ports import ATTEMPTS_MAX, QueuePort, VerdictStore
from server_probe.sql import SqlQueue, SqlVerdicts
from tocsin.adapters.state.probe import ProbeRows

QueueOf = Callable[[int], QueuePort]
StoreOf = Callable[[int], VerdictStore]


@pytest.fixture(params=["memory", "sqlite"])
def adapters(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[QueueOf, StoreOf]]:
    """Makers of a queue by capacity and of a store by how many verdicts it keeps."""
    if request.param == "memory":
        yield MemoryQueue, MemoryVerdicts
        return
    rows = ProbeRows(tmp_path / "probe.db")
    yield (lambda capacity: SqlQueue(rows, capacity)), (lambda kept: SqlVerdicts(rows, kept))
    rows.close()


@pytest.fixture
def queue(adapters: tuple[QueueOf, StoreOf]) -> QueuePort:
    """A queue for ten looks."""
    return adapters[0](10)


@pytest.fixture
def store(adapters: tuple[QueueOf, StoreOf]) -> VerdictStore:
    """A store that keeps three verdicts."""
    return adapters[1](3)


def look(look_id: str, reason: Reason = "flagged", queued_ts_s: float = 0.0) -> Look:
    return Look(id=look_id, stream="s", reason=reason, queued_ts_s=queued_ts_s)


def evidence(verdict_id: str, stream: str = "s", incident_id: str = "", frames: tuple[bytes, ...] = ()) -> Evidence:
    return Evidence(
        Verdict(
            id=verdict_id,
            stream=stream,
            reason="flagged",
            incident_id=incident_id,
            verdict="not reproduced",
            summary="",
            defects=(),
            looked_at=(),
            left_out=(),
            step="none",
            cpu_s=0.0,
            bytes=0,
            sandbox="on",
            made_ts_s=0.0,
        ),
        frames,
    )


def test_people_come_before_incidents_and_those_before_samples(queue: QueuePort) -> None:
    """The smallest priority is claimed first, and the oldest of a priority."""
    for one in (look("s", "sampled"), look("f2", "flagged", 2.0), look("f1", "flagged", 1.0), look("a", "asked", 9.0)):
        assert queue.enqueue(one)
    assert [one.id for one in queue.waiting()] == ["a", "f1", "f2", "s"]
    claimed = [queue.claim("w", 10.0, 60.0) for _ in range(4)]
    assert [one.id if one else None for one in claimed] == ["a", "f1", "f2", "s"]
    assert queue.claim("w", 10.0, 60.0) is None


def test_a_look_is_one_workers_until_its_lease_runs_out(queue: QueuePort) -> None:
    """A killed worker's look is taken over; the late one can neither renew nor finish it."""
    queue.enqueue(look("a"))
    assert queue.claim("first", 0.0, 60.0) is not None
    assert queue.claim("second", 59.0, 60.0) is None
    taken = queue.claim("second", 60.0, 60.0)
    assert taken is not None
    assert taken.attempt == 2
    assert not queue.renew("a", "first", 61.0, 60.0)
    assert not queue.finish("a", "first")
    assert queue.finish("a", "second")
    assert queue.waiting() == []


def test_a_renewed_claim_is_not_taken_over(queue: QueuePort) -> None:
    """Renewing counts from now."""
    queue.enqueue(look("a"))
    queue.claim("first", 0.0, 60.0)
    assert queue.renew("a", "first", 50.0, 60.0)
    assert queue.claim("second", 100.0, 60.0) is None
    assert queue.claim("second", 110.0, 60.0) is not None


def test_a_look_that_kills_its_workers_is_given_up(queue: QueuePort) -> None:
    """After the last attempt it is never claimed again but handed out as exhausted, once."""
    queue.enqueue(look("a"))
    for attempt in range(ATTEMPTS_MAX):
        assert queue.claim("w", attempt * 100.0, 60.0) is not None
    assert queue.exhausted((ATTEMPTS_MAX - 1) * 100.0 + 59.0) == []
    assert queue.claim("w", ATTEMPTS_MAX * 100.0, 60.0) is None
    assert [one.id for one in queue.exhausted(ATTEMPTS_MAX * 100.0)] == ["a"]
    assert queue.exhausted(ATTEMPTS_MAX * 100.0) == []


def test_the_same_look_waits_once_and_a_full_queue_says_so(queue: QueuePort) -> None:
    """Enqueuing is idempotent; beyond its capacity the queue refuses what it does not know."""
    assert queue.enqueue(look("0"))
    assert queue.enqueue(look("0"))
    assert len(queue.waiting()) == 1
    assert all(queue.enqueue(look(str(number))) for number in range(1, 10))
    assert not queue.enqueue(look("10"))
    assert queue.enqueue(look("3"))


def test_verdicts_come_newest_first_and_the_oldest_go(store: VerdictStore) -> None:
    """Only so many are kept; pictures go with their verdict."""
    for number in range(5):
        store.save(evidence(str(number), frames=(b"png",)))
    assert [verdict.id for verdict in store.recent(10)] == ["4", "3", "2"]
    assert store.verdict("1") is None
    assert store.frame("1", 0) is None
    assert store.frame("4", 0) == b"png"
    assert store.frame("4", 1) is None


def test_a_verdict_saved_twice_is_one(store: VerdictStore) -> None:
    """A look that two workers finished has the later verdict and its pictures only."""
    store.save(evidence("a", frames=(b"old", b"older")))
    store.save(evidence("a", frames=(b"new",)))
    assert len(store.recent(10)) == 1
    assert store.frame("a", 0) == b"new"
    assert store.frame("a", 1) is None


def test_verdicts_are_found_by_stream_and_incident(store: VerdictStore) -> None:
    """Filters are exact, and an empty one filters nothing."""
    store.save(evidence("a", stream="x"))
    store.save(evidence("b", stream="y", incident_id="i"))
    assert [verdict.id for verdict in store.recent(10, stream="x")] == ["a"]
    assert [verdict.id for verdict in store.recent(10, incident_id="i")] == ["b"]
    assert [verdict.id for verdict in store.recent(1)] == ["b"]


def test_a_persons_word_is_kept_with_the_verdict(store: VerdictStore) -> None:
    """Judging changes nothing else, and pictures stay."""
    store.save(evidence("a", frames=(b"png",)))
    assert store.judge("a", "wrong")
    verdict = store.verdict("a")
    assert verdict is not None
    assert verdict.judged == "wrong"
    assert store.frame("a", 0) == b"png"
    assert not store.judge("unknown", "wrong")
