"""Micro-batches: heartbeats of many requests become one append, and each request is answered after the log's ack.

One append is in flight at a time; what comes meanwhile is the next batch, so batches grow with the load by themselves.
Beyond that a heartbeat lingers for company only where company pays: a batch is appended at once when it is full, after
`linger_ms_max` when the current rate would bring in a good many more by then, else after `linger_ms_min`. At high rates
the loop rests for a moment between two turns, so that one wake-up finds several requests: a tenth of a request's CPU.

What is taken in and not answered yet is bounded in bytes; beyond the bound, and while the log is away, a request is
told to come again. Refused heartbeats are logged with the accepted ones of their request (`records.REFUSED`), so that
the ledger is a function of the log; whole bodies refused without an ack are logged with the next batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec
import numpy as np

from ingest.columns import Placed, build, payloads, session_hashes, split
from ingest.formats.heartbeat import Refusal
from ingest.limits import SessionBuckets
from ingest.settings import IngestSettings
from ingest.stats import Stats
from ingest.tagging import Tagger
from tocsin.adapters.log.port import LogWriter
from tocsin.model import columnar
from tocsin.model.errors import TocsinError, UnavailableError
from tocsin.model.heartbeat import LAWS, law_violations
from tocsin.model.records import REFUSED

BATCH_MAX = 16_384
"""Heartbeats of one append beyond which further requests wait for the next."""
COMPANY_MIN = 64
"""Heartbeats that the longest linger must promise to bring before it is worth the wait."""
REST_S = 0.003
"""How long the loop rests after a turn that brought requests, where more than one will have come by then."""
REFUSED_FLUSH_S = 1.0
"""How long counts of whole bodies refused may wait for a batch to travel with."""
LAW_FIELDS: tuple[str, ...] = (
    "interval_ms", "freeze_ms", "frames_dropped", "req_err_n", "av_n", "latency_n",
)  # fmt: skip
assert len(LAW_FIELDS) == len(LAWS)  # noqa: S101

DEFECTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What code that is wrong raises; one request's must not harm another's."""
_log = logging.getLogger("tocsin.ingest")


@dataclass(slots=True, eq=False)
class Submission:
    """What one request brings: heartbeats, what was refused of it so far, or ready-made log records.

    `settled` is called once, on the event loop: with None after the log's ack, else with what went wrong.
    """

    placed: Sequence[Placed] = ()
    heartbeats: int = 0
    size: int = 0
    refused: list[Refusal] = field(default_factory=list)
    limited: bool = False
    records: Sequence[tuple[int, bytes]] = ()
    settled: Callable[[TocsinError | None], None] | None = None


class Batcher:
    """Collects submissions on the event loop and appends them in a thread; see the module."""

    def __init__(
        self,
        writer: LogWriter,
        settings: IngestSettings,
        stats: Stats,
        now_ms: Callable[[], int],
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._stats = stats
        self._now_ms = now_ms
        self._tagger = Tagger(stats)
        self._sessions = SessionBuckets(settings.rates)
        self._pending: deque[Submission] = deque()
        self._pending_heartbeats = 0
        self._loose_refusals: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._rate_per_s = 0.0
        self._rate_since_s = 0.0
        self._rate_count = 0
        self._requests_per_s = 0.0
        self._requests_count = 0
        self._resting = False
        self._closing = False

    @property
    def tagger(self) -> Tagger:
        """The budgets in use, for those who explain what became of a tag."""
        return self._tagger

    @property
    def partitions(self) -> int:
        """Partitions of the log."""
        return self._writer.partitions

    async def submit(self, submission: Submission) -> None:
        """`take`, and return once it is settled; raises what it was settled with, too."""
        acked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settled(error: TocsinError | None) -> None:
            if acked.done():
                return
            if error is None:
                acked.set_result(None)
            else:
                acked.set_exception(error)

        submission.settled = settled
        self.take(submission)
        await acked

    def refuse(self, reason: str, count: int = 1) -> None:
        """Count a whole body that is refused at once; logged with a later batch."""
        if count <= 0:
            return
        self._stats.refused[reason] += count
        self._loose_refusals[reason] += count
        if self._timer is None and self._task is None and not self._closing:
            self._timer = asyncio.get_running_loop().call_later(REFUSED_FLUSH_S, self._flush)

    async def probe(self) -> None:
        """Where the last append failed, ask the log again, so that a gateway without traffic finds it back."""
        if self._stats.log_up or self._task is not None or self._closing:
            return
        with contextlib.suppress(TocsinError):
            await self._acked((), asyncio.get_running_loop())

    async def close(self) -> None:
        """Append what is left and wait for it; nothing is taken afterwards."""
        self._closing = True
        while self._pending or self._task is not None:
            self._flush()
            if self._task is not None:
                await asyncio.wait([self._task])
        if self._loose_refusals:
            self._flush()
            if self._task is not None:
                await asyncio.wait([self._task])
        if self._executor is not None:
            self._executor.shutdown(wait=False)

    def take(self, submission: Submission) -> None:
        """Queue a submission. It is settled once the log has acked what is left of it after the laws; `refused` then
        is complete.

        Raises `UnavailableError` where too much is in flight, and settles with it where there was no ack; with
        `TocsinError` alone where this very submission cannot be made into records, which is a defect.
        """
        stats = self._stats
        if self._closing:
            raise UnavailableError("taking heartbeats in: the gateway is shutting down; send them again")
        if stats.in_flight_bytes + submission.size > self._settings.in_flight_bytes_max and stats.in_flight_bytes:
            raise UnavailableError(
                f"taking {submission.size} bytes in: {stats.in_flight_bytes} bytes wait for the log already, "
                f"{self._settings.in_flight_bytes_max} is the most; send them again later"
            )
        stats.in_flight_bytes += submission.size
        stats.in_flight_heartbeats += submission.heartbeats
        self._pending.append(submission)
        self._pending_heartbeats += submission.heartbeats
        self._rate_count += submission.heartbeats
        self._requests_count += 1
        if not self._resting and self._requests_per_s * REST_S >= 2:
            self._resting = True
            asyncio.get_running_loop().call_soon(self._rest)
        if self._task is not None:
            return
        if self._pending_heartbeats >= self._settings.batch_heartbeats or not submission.heartbeats:
            self._flush()
        elif self._timer is None or len(self._pending) == 1:
            self._arm(asyncio.get_running_loop())

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        longest_s = self._settings.linger_ms_max / 1000
        pays = self._rate_per_s * longest_s >= COMPANY_MIN
        self._timer = loop.call_later(longest_s if pays else self._settings.linger_ms_min / 1000, self._flush)

    def _measure(self, now_s: float) -> None:
        elapsed = now_s - self._rate_since_s
        if elapsed >= 0.1:
            self._rate_per_s = self._rate_count / elapsed
            self._requests_per_s = self._requests_count / elapsed
            self._rate_count, self._requests_count, self._rate_since_s = 0, 0, now_s

    def _rest(self) -> None:
        self._resting = False
        time.sleep(REST_S)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            return
        batch: list[Submission] = []
        heartbeats = 0
        while self._pending and (not batch or heartbeats + self._pending[0].heartbeats <= BATCH_MAX):
            submission = self._pending.popleft()
            heartbeats += submission.heartbeats
            batch.append(submission)
        self._pending_heartbeats -= heartbeats
        if not batch and not self._loose_refusals:
            return
        loop = asyncio.get_running_loop()
        self._measure(loop.time())
        self._task = loop.create_task(self._append(batch, loop))

    def _next(self) -> None:
        self._task = None
        if self._closing or self._pending_heartbeats >= self._settings.batch_heartbeats:
            if self._pending:
                self._flush()
        elif self._pending:
            self._arm(asyncio.get_running_loop())
        elif self._loose_refusals:
            self._timer = asyncio.get_running_loop().call_later(REFUSED_FLUSH_S, self._flush)

    async def _append(self, batch: list[Submission], loop: asyncio.AbstractEventLoop) -> None:
        loose, self._loose_refusals = self._loose_refusals, Counter()
        try:
            items = self._items_apart(batch, loose)
            if items:
                await self._acked(items, loop)
        except TocsinError as error:
            self._loose_refusals.update(loose)
            self._settle(batch, error)
        except BaseException as error:
            # Requests must not hang whatever happens here; they come again, and the loop reports the defect.
            self._settle(batch, UnavailableError(f"appending heartbeats: {error!r}; send them again"))
            raise
        else:
            self._settle(batch, None)
        finally:
            self._next()

    def _items_apart(self, batch: list[Submission], loose: Counter[str]) -> list[tuple[int, bytes]]:
        """The records of a batch; should one submission break the making of them, it alone is answered for it."""
        refused_before = [len(submission.refused) for submission in batch]
        try:
            return self._items(batch, loose)
        except DEFECTS:
            _log.exception("making records of %d requests; each is tried alone", len(batch))
        items: list[tuple[int, bytes]] = []
        for submission, before in zip(batch, refused_before, strict=True):
            del submission.refused[before:]
            try:
                items += self._items([submission], Counter())
            except DEFECTS as error:
                _log.exception("making records of one request: a defect, please report it")
                self._settle([submission], TocsinError(f"making log records of a request: {error!r}; please report it"))
        return items + self._items([], loose)

    def _settle(self, batch: Sequence[Submission], error: TocsinError | None) -> None:
        stats = self._stats
        for submission in batch:
            settled, submission.settled = submission.settled, None
            if settled is None:
                continue
            stats.in_flight_bytes -= submission.size
            stats.in_flight_heartbeats -= submission.heartbeats
            settled(error)

    async def _acked(self, items: Sequence[tuple[int, bytes]], loop: asyncio.AbstractEventLoop) -> None:
        executor = self._executor
        if executor is None:
            executor = self._executor = ThreadPoolExecutor(1, "log-append")
        started_s = loop.time()
        appending = loop.run_in_executor(executor, self._writer.append, items)
        done, _ = await asyncio.wait([appending], timeout=self._settings.append_timeout_s)
        stats = self._stats
        stats.append_seconds += loop.time() - started_s
        try:
            if not done:
                # The thread cannot be stopped: leave it behind, and let the next batch try in a fresh one.
                self._executor = None
                executor.shutdown(wait=False)
                appending.add_done_callback(lambda late: late.exception())
                raise UnavailableError(
                    f"appending to the log: no ack within {self._settings.append_timeout_s} s; check the log"
                )
            appending.result()
        except TocsinError:
            stats.append_failures += 1
            stats.log_up = 0
            raise
        stats.log_up = 1
        stats.flushes += 1
        stats.appended_bytes += sum(len(payload) for _, payload in items)

    def _items(self, batch: list[Submission], loose: Counter[str]) -> list[tuple[int, bytes]]:
        items = [record for submission in batch for record in submission.records]
        if any(submission.placed for submission in batch):
            items += self._heartbeat_items(batch)
        refused = loose + Counter(refusal.code for submission in batch for refusal in submission.refused)
        if refused:
            items.append((items[0][0] if items else 0, REFUSED + msgspec.msgpack.encode(refused)))
        return items

    def _heartbeat_items(self, batch: list[Submission]) -> list[tuple[int, bytes]]:
        self._tagger.tick(self._now_ms())
        columns = build([placed for submission in batch for placed in submission.placed], self._tagger)
        hashes = session_hashes(columns.session_ids)
        broken = law_violations(columns.numbers)
        flagged = broken != 0
        if any(submission.limited for submission in batch):
            limited = np.repeat(
                [submission.limited for submission in batch],
                [sum(len(placed.part.rows) for placed in submission.placed) for submission in batch],
            )
            over = self._sessions.over(hashes, limited, asyncio.get_running_loop().time())
            broken[over & ~flagged] = -1
            flagged |= over
        if flagged.any():
            _report(batch, broken)
            kept = np.flatnonzero(~flagged)
            if not len(kept):
                return []
            columns, hashes = columns.take(kept), hashes[kept]
        partition = (hashes % np.uint64(self._writer.partitions)).astype(np.int64)
        return [(number, payload) for number, part in split(columns, partition) for payload in payloads(part)]


def _report(batch: Sequence[Submission], broken: columnar.Int64s) -> None:
    """Write each refused row (a law's number, or -1 for the session's rate) on the submission that it came with."""
    row = 0
    for submission in batch:
        for placed in submission.placed:
            n = len(placed.part.rows)
            for at in np.flatnonzero(broken[row : row + n]).tolist():
                submission.refused.append(_refusal(placed.part.position(at), int(broken[row + at])))
            row += n


def _refusal(position: int, law: int) -> Refusal:
    if law < 0:
        return Refusal(position, "session_id", "this session sends more heartbeats than one player can", "session_rate")
    return Refusal(position, LAW_FIELDS[law - 1], LAWS[law - 1], "law")
