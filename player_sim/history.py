"""Weeks of history in seconds: roll-ups of the very players that go on living when the history ends.

* `minutes` of the windows that baselines and graphs look at (the hours around now in each of the last four weeks, and
  the last hours): the audience is played through them, as it is live, and its heartbeats are rolled up. Each window
  begins with a run-in longer than anybody stays, so it is stationary; the last one ends with the sessions that the live
  simulation continues, so nothing steps at the seam.
* `hours` of five weeks: hours inside a window are sums of its minutes. The others are a bootstrap: sessions of the
  windows, each with all that it did in one hour, weighted by Poisson numbers whose means follow the season of its
  region and device. Weights are drawn a session, not a cell, so that all cubes agree to the last millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from player_sim import history_rows, layout
from player_sim.audience import HOUR_MS, MINUTE_MS, World
from player_sim.cells import CellSpace
from player_sim.hours import Bootstrap, SessionHours
from player_sim.layout import Int64s, Records
from player_sim.player import Players
from player_sim.rollup import CellSums, parts_of, timed_out
from tocsin.adapters.store.port import Store
from tocsin.model.cubes import Cube

WEEK_MS = 7 * 24 * HOUR_MS
TIMEOUT_MS = 120_000
"""Silence after which the pipeline ends a session."""
RUN_IN_MS = 3 * MINUTE_MS
Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and what is being done."""


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """How much to draw. `before_ms`, `after_ms`: the window around now in past weeks; `last_ms`: what ends now.

    `lag_ms`: how long after its time a heartbeat was received, on average. `pool_sessions`: how many sessions the hours
    are drawn from.
    """

    weeks: int = 5
    window_weeks: int = 4
    before_ms: int = 65 * MINUTE_MS
    after_ms: int = 80 * MINUTE_MS
    last_ms: int = 120 * MINUTE_MS
    lag_ms: int = 400
    pool_sessions: int = 4_000


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of history in minutes, [start_ms, end_ms); whole hours, but for the one that ends now."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class HistoryReport:
    """What was written: where it ends (epoch ms; the live audience goes on from there) and rows by table."""

    seam_ms: int
    minutes: int
    hours: int


def windows(now_ms: int, settings: HistorySettings) -> list[Window]:
    """The windows in minutes, oldest first; they do not overlap."""
    seam_ms = now_ms - now_ms % MINUTE_MS
    result = []
    for week in range(settings.window_weeks, 0, -1):
        at_ms = seam_ms - week * WEEK_MS
        end_ms = -(-(at_ms + settings.after_ms) // HOUR_MS) * HOUR_MS
        result.append(Window(_floor(at_ms - settings.before_ms, HOUR_MS), end_ms))
    return [*result, Window(_floor(seam_ms - settings.last_ms, HOUR_MS), seam_ms)]


def write_history(
    store: Store,
    world: World,
    now_ms: int,
    cubes: Sequence[Cube],
    progress: Progress | None = None,
    settings: HistorySettings | None = None,
) -> HistoryReport:
    """Draw and store the history up to the minute of `now_ms` (the seam); the same seed writes the same rows."""
    settings = settings or HistorySettings()
    tell = progress or _silent
    space = CellSpace(world, cubes)
    spans = windows(now_ms, settings)
    seam_ms = spans[-1].end_ms
    minutes = history_rows.TableWriter(store, space, "minutes")
    hours = history_rows.TableWriter(store, space, "hours")
    total_ms = sum(span.end_ms - span.start_ms for span in spans)
    pool = SessionHours(world, _sampled_share(world, spans, settings.pool_sessions))
    done_ms = 0
    hour = CellSums(space)
    for span in spans:
        for start_ms, cells in played(world, space, span, settings.lag_ms, pool):
            minutes.add(_used(start_ms, cells))
            hour.merge(cells)
            done_ms += MINUTE_MS
            if (start_ms + MINUTE_MS) % HOUR_MS == 0:
                hours.add(_used(start_ms - start_ms % HOUR_MS, hour))
                hour.clear()
                tell(0.8 * done_ms / total_ms, "playing past hours")
        hour.clear()
    minutes.close()
    tell(0.8, "drawing five weeks of hours")
    drawn = _hours_to_draw(seam_ms, spans, settings)
    for drawn_cells in Bootstrap(world, pool).hours(drawn):
        hours.add(drawn_cells)
    hours.close()
    tell(1.0, "history written")
    return HistoryReport(seam_ms, minutes.rows, hours.rows)


def played(
    world: World, space: CellSpace, span: Window, lag_ms: int, pool: SessionHours | None = None
) -> Iterator[tuple[int, CellSums]]:
    """Each minute of a window with its cells (valid until the next one); its whole hours are noted in `pool`.

    Play begins some minutes before the window, so that sessions which fell silent there time out within it.
    """
    players = Players.stationary_at(world, span.start_ms - RUN_IN_MS)
    silenced: dict[int, list[Records]] = {}
    carried: Records = np.zeros(0, layout.HEARTBEAT)
    cells = CellSums(space)
    for start_ms in range(span.start_ms - RUN_IN_MS, span.end_ms, MINUTE_MS):
        played_rows = next(players.advance(start_ms + MINUTE_MS), np.zeros(0, layout.HEARTBEAT))
        rows, carried = _of_minute(carried, played_rows, start_ms + MINUTE_MS)
        _note_silenced(silenced, players.silenced, lag_ms)
        ended = silenced.pop(start_ms // MINUTE_MS, [])
        if start_ms < span.start_ms:
            continue
        parts = [timed_out(space, sessions) for sessions in ended]
        if len(rows):
            parts.append(parts_of(space, rows, received_ms(rows["ts_ms"], lag_ms)))
        cells.clear()
        for part in parts:
            cells.add(part)
            if pool is not None and _floor(start_ms, HOUR_MS) + HOUR_MS <= span.end_ms:
                pool.add(start_ms, part)
        yield start_ms, cells


def received_ms(ts_ms: Int64s, lag_ms: int) -> Int64s:
    """When heartbeats of these times were received: up to twice `lag_ms` later, for senders that send in rounds."""
    return ts_ms + 2 * lag_ms - ts_ms % (2 * lag_ms)


def _of_minute(carried: Records, played_rows: Records, end_ms: int) -> tuple[Records, Records]:
    """(rows before `end_ms`, sessions together; copies of the rest): some heartbeats end on a minute's last stroke."""
    late = played_rows["ts_ms"] >= end_ms
    rest = played_rows[late]
    rows = played_rows[~late] if len(rest) else played_rows
    if len(carried):
        rows = layout.joined([carried, rows], layout.HEARTBEAT)
        rows = rows[np.argsort(rows["row"], kind="stable")]
    return rows, rest


def _note_silenced(silenced: dict[int, list[Records]], sessions: Records, lag_ms: int) -> None:
    """File sessions that were killed under the minute in which the pipeline will give them up."""
    minutes = (received_ms(sessions["reported_ms"], lag_ms) + TIMEOUT_MS) // MINUTE_MS
    for minute in np.unique(minutes).tolist():
        silenced.setdefault(minute, []).append(sessions[minutes == minute])


def _used(start_ms: int, cells: CellSums) -> history_rows.Cells:
    return history_rows.used_cells(start_ms // 1000, cells.sums, cells.maxima, cells.seen)


def _hours_to_draw(seam_ms: int, spans: Sequence[Window], settings: HistorySettings) -> list[int]:
    """Starts of the hours of the last weeks that no window covers whole."""
    last_ms = _floor(seam_ms, HOUR_MS)
    starts = range(last_ms - settings.weeks * WEEK_MS, last_ms, HOUR_MS)
    return [at for at in starts if not any(span.start_ms <= at and at + HOUR_MS <= span.end_ms for span in spans)]


def _sampled_share(world: World, spans: Sequence[Window], sessions: int) -> float:
    """The share of sessions to keep so that about `sessions` session-hours are kept of all windows."""
    minutes = np.concatenate([np.arange(span.start_ms, span.end_ms, MINUTE_MS) // MINUTE_MS for span in spans])
    return float(min(1.0, sessions / (1.25 * world.intensity(minutes).sum())))


def _floor(at_ms: int, unit_ms: int) -> int:
    return at_ms - at_ms % unit_ms


def _silent(_done: float, _what: str) -> None:
    """Tell nobody."""
