"""All steps of counting in order, over one closed bucket of one partition.

read → late or in time → once only → session-minutes, expected, time-outs → cubes → rows. State lives in the steps; it
is bounded by the log's last W, and a counter that saw only those knows as much as one that saw everything.
"""

from __future__ import annotations

import numpy as np

from streaming_jobs.steps import lateness
from streaming_jobs.steps.arrays import Bools, Int64s
from streaming_jobs.steps.assemble import Counted, assemble, taken
from streaming_jobs.steps.bucketing import Bucket
from streaming_jobs.steps.copies import Copies
from streaming_jobs.steps.cubes import CubeSlices
from streaming_jobs.steps.dedup import Dedup
from streaming_jobs.steps.expected import Expected
from streaming_jobs.steps.horizon import Slots
from streaming_jobs.steps.interning import Sessions
from streaming_jobs.steps.output import BucketOutput
from streaming_jobs.steps.reading import Contents, read
from streaming_jobs.steps.session_minutes import SessionMinutes, sums_of
from streaming_jobs.steps.settings import MINUTE_MS, CountingSettings
from streaming_jobs.steps.stragglers import Stragglers
from streaming_jobs.steps.tag_sets import KEPT_MIN, TagSets
from streaming_jobs.steps.timeouts import Endings, Timeouts
from tocsin.model.cubes import Cube

_FIRST_SESSIONS = 1024


class Counter:
    """State and steps of one partition; `kept_min` is for tests of forgetting."""

    def __init__(
        self, partition: int, cubes: tuple[Cube, ...], settings: CountingSettings, kept_min: int = KEPT_MIN
    ) -> None:
        self._partition = partition
        self._settings = settings
        self._tag_sets = TagSets(kept_min)
        self._sessions = Sessions()
        self._capacity = _FIRST_SESSIONS
        self._slots = Slots(settings)
        self._dedup = Dedup()
        self._stragglers = Stragglers(settings)
        self._point_messages = Copies(settings)
        self._session_minutes = SessionMinutes()
        self._expected = Expected()
        self._timeouts = Timeouts(settings)
        self._cubes = tuple(CubeSlices(cube) for cube in cubes)

    @property
    def sessions(self) -> int:
        """Sessions that state is kept for."""
        return len(self._sessions)

    @property
    def tag_sets(self) -> int:
        """Tag sets that state is kept for."""
        return len(self._tag_sets)

    def count(self, bucket: Bucket, clock_ms: int, *, emit: bool) -> BucketOutput | None:
        """Count the next bucket. `clock_ms`: the append time that minutes expire by, never going back by more than
        the slack; `emit` False while state is being re-read: then nothing is handed out."""
        contents = read(bucket)
        self._expire(clock_ms)
        self._drop_repeated_points(contents)
        counted, back = self._count_heartbeats(contents)
        endings = (back, self._timeouts.end_of_bucket(bucket.last_append_ms))
        output = None
        if emit:
            names = [self._sessions.names(ending.sessions) for ending in endings]
            output = assemble(
                self._partition, bucket, contents, counted, endings, names, self._tag_sets, self._cubes
            )  # fmt: skip
        self._sessions.free(self._timeouts.forgotten(clock_ms))
        if self._tag_sets.crowded:
            self._forget_tag_sets()
        return output

    def _expire(self, clock_ms: int) -> None:
        self._stragglers.expire(clock_ms)
        self._point_messages.expire(clock_ms)
        slots = self._slots.expired(clock_ms)
        if slots:
            self._dedup.expire(slots, self._slots.oldest(clock_ms))
            self._session_minutes.expire(slots)
            self._expected.expire(slots)

    def _fit(self) -> None:
        while self._capacity < self._sessions.numbers_used:
            self._capacity *= 2
        self._dedup.fit(self._capacity, self._slots.capacity)
        self._session_minutes.fit(self._capacity, self._slots.capacity)
        self._expected.fit(self._capacity, self._slots.capacity)
        self._timeouts.fit(self._capacity)

    def _drop_repeated_points(self, contents: Contents) -> None:
        kept = []
        for append_ms, batch in contents.points:
            if batch.message_id and not self._point_messages.is_first(batch.message_id, append_ms):
                contents.points_repeated += len(batch)
            else:
                kept.append((append_ms, batch))
        contents.points = kept

    def _count_heartbeats(self, contents: Contents) -> tuple[Counted, Endings]:
        numbers, append_ms, ids = contents.numbers, contents.append_ms, contents.session_ids
        tag_sets = self._tag_sets.ids(contents.batches)
        event_ms = numbers["ts_ms"] + numbers["shift_ms"]
        kinds = lateness.classify(event_ms, append_ms, self._settings)
        timely = np.flatnonzero(kinds == lateness.IN_TIME)
        fields = taken({name: numbers[name] for name in ("seq", "outcome", "sample_k", "ts_ms")}, timely)
        fields |= {"append_ms": append_ms[timely], "tag_set": tag_sets[timely], "minute": event_ms[timely] // MINUTE_MS}
        fields["session"] = self._sessions.numbers(
            ids if len(timely) == len(ids) else [ids[row] for row in timely.tolist()]
        )
        is_first = self._once(fields)
        unique, fields = timely[is_first], taken(fields, np.flatnonzero(is_first))
        units = self._session_minutes.add(
            fields["session"], fields["slot"], fields["minute"], fields["tag_set"],
            sums_of(taken(numbers, unique), len(unique)),
        )  # fmt: skip
        rises = self._expected.rises(
            fields["session"], fields["slot"], fields["seq"], fields["open_from"], self._slots.minute_of_slot()
        )
        back = self._timeouts.observe(
            fields["session"], fields["append_ms"], fields["seq"], fields["outcome"], fields["tag_set"],
            fields["sample_k"], fields["open_from"],
        )  # fmt: skip
        kept = self._kept(numbers, ids, append_ms, kinds, unique)
        return Counted(numbers, ids, append_ms, tag_sets, kinds, kept, unique, units, rises), back

    def _kept(
        self, numbers: dict[str, Int64s], ids: list[str], append_ms: Int64s, kinds: Int64s, unique: Int64s
    ) -> Int64s:
        """Positions of the counted and of the first copies of what is not in time."""
        astray = np.flatnonzero(kinds != lateness.IN_TIME)
        if not len(astray):
            return unique
        first = self._stragglers.unique(
            [ids[row] for row in astray.tolist()], numbers["seq"][astray], numbers["ts_ms"][astray] // MINUTE_MS,
            append_ms[astray],
        )  # fmt: skip
        return np.sort(np.concatenate([unique, astray[first]]))

    def _once(self, fields: dict[str, Int64s]) -> Bools:
        """Which in-time heartbeats are the first of their key; adds the fields slot and open_from."""
        fields["slot"] = self._slots.take(fields["minute"])
        fields["open_from"] = lateness.oldest_open_minute(fields["append_ms"], self._settings)
        self._fit()
        sent = fields["ts_ms"] // MINUTE_MS
        return self._dedup.unique(
            fields["session"], fields["slot"], fields["minute"], sent, self._slots.find(sent), fields["seq"],
            fields["open_from"],
        )  # fmt: skip

    def _forget_tag_sets(self) -> None:
        used = np.concatenate([self._session_minutes.tag_sets_used(), self._timeouts.tag_sets_used()])
        new_id = self._tag_sets.keep(used)
        self._session_minutes.renumber(new_id)
        self._timeouts.renumber(new_id)
