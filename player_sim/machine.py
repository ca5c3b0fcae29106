"""The player: a session's state machine, advanced to any moment in exact milliseconds.

    WAITING --play--> STARTING --first frame--> PLAYING <--> REBUFFERING, SEEKING, PAUSED
                         |                         |
                         +-- start_failed, exit    +-- completed, quit, failed, killed (sends nothing) --> OVER

In PLAYING the next event comes when a unit-exponential budget (`hazard`) is used up at the current total rate: with
rates that change in time this is exact, and the path does not depend on how a stretch of time is cut into calls. Random
numbers come from each session's own counter (SplitMix64), so a session plays the same whoever else is in the audience,
and a fault changes only the sessions that it touches.

A heartbeat leaves at play, every 10 s, and at once with the first frame, an error, a change of CDN and the end.
Quantities that need no order within an interval (frames, A/V samples, requests) are drawn when it closes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tocsin.model.compiled import compiled

# Compiled functions freeze what they read here: these stay plain literals in this file (see tocsin.model.compiled).
_WAITING, _STARTING, _PLAYING, _REBUFFERING, _SEEKING, _PAUSED, _OVER = range(7)
_START, _INTERVAL, _STATE, _ERROR, _ENDED, _QUIT, _EXIT = range(7)
# The schema's states: the first five have the numbers of the machine's own.
_S_STARTING, _S_PLAYING, _S_REBUFFERING, _S_SEEKING, _S_PAUSED, _S_ENDED, _S_FAILED, _S_QUIT = range(1, 9)
_COMPLETED, _QUITTED, _FAILED, _START_FAILED, _EXITED = range(1, 6)

REPORT_MS = 10_000
REPORTS_A_MINUTE_MAX = 50
"""Beyond this, errors wait for the next regular heartbeat: the schema allows 64 a minute."""
SEGMENT_MS = 4_000
_FPS = 25
_NEVER = 2**62
_UPSHIFT_RATE = 1 / 12_000
_WANDER_RATE = 1 / 150_000
_HICCUP_RATE = 1 / 2_400_000
_SEGMENT_TIMEOUT, _MANIFEST, _DECODE, _DRM, _CDN, _LIMIT = range(1, 7)

Record = Any
"""A record of a numpy array: a session, heartbeat, modifier or frozen range of `player_sim.layout`."""


@compiled
def _uniform(s: Record) -> float:
    s.rng = s.rng + np.uint64(0x9E3779B97F4A7C15)
    z = s.rng
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * 2.0**-53


@compiled
def _exponential(s: Record) -> float:
    return float(-np.log(1.0 - _uniform(s)))


@compiled
def _normal(s: Record) -> float:
    return float(np.sqrt(2.0 * _exponential(s)) * np.cos(2.0 * np.pi * _uniform(s)))


@compiled
def _bell(s: Record) -> float:
    """Mean 0, sd 1, bell-shaped within ±3: three uniforms, where tails do not matter and time does."""
    return (_uniform(s) + _uniform(s) + _uniform(s) - 1.5) * 2.0


@compiled
def _poisson(s: Record, mean: float) -> int:
    if mean > 30.0:
        return max(0, int(np.rint(mean + np.sqrt(mean) * _bell(s))))
    u = _uniform(s)
    count = 0
    chance = np.exp(-mean)
    while u > chance and count < 200:
        u -= chance
        count += 1
        chance *= mean / count
    return count


@compiled
def _close_interval(s: Record, m: Record) -> None:
    """Draw frames, A/V samples, latency and requests of the interval from what was played in it."""
    if s.playing_ms > 0:
        frames = s.playing_ms * _FPS + s.frames_rest
        s.frames_total = frames // 1000
        s.frames_rest = frames % 1000
        s.frames_dropped = min(s.frames_total, _poisson(s, s.frames_total * s.drop_share))
        n = s.playing_ms // 1000
        if n > 0:
            mean = s.av_mean_ms + m.av_shift_ms
            total = int(np.rint(n * mean + np.sqrt(n) * s.av_sd_ms * _bell(s)))
            spread = (n - 1) * s.av_sd_ms * s.av_sd_ms * (0.5 + _uniform(s))
            s.av_n = n
            s.av_sum_ms = total
            s.av_sumsq_ms2 = int(np.ceil(total * total / n + spread))
            s.av_absmax_ms = int(np.ceil(max(np.sqrt(s.av_sumsq_ms2 / n), abs(mean) + 1.5 * s.av_sd_ms)))
            if s.live == 1:
                s.latency_n = n
                s.latency_sum_ms = int(n * s.latency_ms)
    fetched = s.media_ms + s.segment_rest_ms
    segments = fetched // SEGMENT_MS
    s.segment_rest_ms = fetched % SEGMENT_MS
    if s.startup_wait_ms > 0:
        segments += 1
    if segments > 0:
        failing = min(0.9, s.request_fail_share + m.request_failure)
        s.req_err_n = _poisson(s, segments * failing)
        s.req_n = segments + s.req_err_n
        s.req_ms_sum = int(s.req_n * s.request_ms * (0.7 + 0.6 * _uniform(s)))
        s.req_kb = s.bits_kb + s.bits_kb // 50


@compiled
def _emit(s: Record, m: Record, ladder: Any, out: Any, count: int, reason: int, state: int, outcome: int) -> int:
    """Write the heartbeat that ends now at out[count] and begin the next interval; returns count + 1."""
    _close_interval(s, m)
    row = out[count]
    row.seq = s.seq
    row.ts_ms = s.clock_ms
    row.interval_ms = s.clock_ms - s.reported_ms
    row.playhead_ms = s.playhead_ms
    row.startup_ms = s.pending_startup_ms
    row.reason = reason
    row.state = state
    row.outcome = outcome
    playing = state == _S_PLAYING
    row.bitrate_video_kbps = ladder[s.rung] if playing else 0
    row.bitrate_audio_kbps = 128 if playing else 0
    row.error_code = s.pending_error
    row.error_fatal = s.pending_fatal
    row.error_technical = 1 if s.pending_error > 0 and s.pending_error != _LIMIT else 0
    row.sid = s.sid
    row.row = s.row
    row.title, row.stream, row.cdn, row.device, row.region = s.title, s.stream, s.cdn, s.device, s.region
    row.isp, row.app, row.player, row.network = s.isp, s.app, s.player, s.network
    row.startup_wait_ms, row.playing_ms, row.rebuffer_ms = s.startup_wait_ms, s.playing_ms, s.rebuffer_ms
    row.seek_wait_ms, row.paused_ms, row.ad_ms, row.freeze_ms = s.seek_wait_ms, s.paused_ms, s.ad_ms, s.freeze_ms
    row.media_ms, row.bits_kb, row.rebuffer_count = s.media_ms, s.bits_kb, s.rebuffer_count
    row.seek_count, row.upshift_count, row.downshift_count = s.seek_count, s.upshift_count, s.downshift_count
    row.error_count, row.frames_dropped, row.frames_total = s.error_count, s.frames_dropped, s.frames_total
    row.av_n, row.av_sum_ms, row.av_sumsq_ms2, row.av_absmax_ms = s.av_n, s.av_sum_ms, s.av_sumsq_ms2, s.av_absmax_ms
    row.latency_n, row.latency_sum_ms = s.latency_n, s.latency_sum_ms
    row.req_n, row.req_err_n, row.req_ms_sum, row.req_kb = s.req_n, s.req_err_n, s.req_ms_sum, s.req_kb
    s.startup_wait_ms = s.playing_ms = s.rebuffer_ms = s.seek_wait_ms = s.paused_ms = s.ad_ms = s.freeze_ms = 0
    s.media_ms = s.bits_kb = s.rebuffer_count = s.seek_count = s.upshift_count = s.downshift_count = 0
    s.error_count = s.frames_dropped = s.frames_total = s.av_n = s.av_sum_ms = s.av_sumsq_ms2 = s.av_absmax_ms = 0
    s.latency_n = s.latency_sum_ms = s.req_n = s.req_err_n = s.req_ms_sum = s.req_kb = 0
    s.pending_startup_ms = -1
    s.pending_error = s.pending_fatal = 0
    s.seq += 1
    s.reported_ms = s.clock_ms
    s.report_ms = s.clock_ms + REPORT_MS
    minute = s.clock_ms // 60_000
    s.minute_reports = s.minute_reports + 1 if minute == s.minute else 1
    s.minute = minute
    return count + 1


@compiled
def _begin(s: Record, m: Record) -> None:
    """Play is pressed: decide when the first frame comes, whether it fails, and how long the viewer waits."""
    s.state = _STARTING
    s.reported_ms = s.clock_ms
    s.pending_startup_ms = -1
    s.minute = -1
    s.switch_ms = s.switch_ms if s.switch_ms > 0 else _NEVER
    s.hazard = _exponential(s)
    s.left_ms = max(80, int(s.startup_plan_ms * m.startup))
    s.leave_ms = s.clock_ms + int(s.patience_ms)
    s.fails_at_ms = 0
    if _uniform(s) < s.start_fail_share + m.start_failure:
        s.fails_at_ms = 1
        s.left_ms = int(s.left_ms * (0.5 + 2.0 * _uniform(s)))


@compiled
def _frozen_ms(s: Record, freeze: Record, run: int) -> int:
    """How much of the next `run` ms of media lies in the stream's range without picture."""
    if freeze.length_ms == 0 or (freeze.rung >= 0 and freeze.rung != s.rung):
        return 0
    frozen = 0
    begin = s.playhead_ms
    for lap in range(1 + run // s.length_ms + 1 if s.loops == 1 else 1):
        at = freeze.at_ms + lap * s.length_ms
        frozen += max(0, min(begin + run, at + freeze.length_ms) - max(begin, at))
    return frozen


@compiled
def _spend(s: Record, freeze: Record, ladder: Any, run: int) -> None:
    """Let `run` ms pass in the state that the session is in."""
    s.clock_ms += run
    if s.state == _PLAYING:
        s.freeze_ms += _frozen_ms(s, freeze, run)
        s.playing_ms += run
        s.media_ms += run
        bits = run * ladder[s.rung] + s.bits_rest
        s.bits_kb += bits // 1000
        s.bits_rest = bits % 1000
        s.playhead_ms += run
        if s.loops == 1:
            s.playhead_ms %= s.length_ms
    else:
        s.left_ms -= run
        if s.state == _STARTING:
            s.startup_wait_ms += run
        elif s.state == _REBUFFERING:
            s.rebuffer_ms += run
        elif s.state == _SEEKING:
            s.seek_wait_ms += run
        elif s.state == _PAUSED:
            s.paused_ms += run


@compiled
def _stall(s: Record, m: Record) -> None:
    """The buffer ran dry; some viewers will not wait until it has filled."""
    s.state = _REBUFFERING
    s.rebuffer_count += 1
    s.left_ms = max(120, int(s.stall_median_ms * m.stall_length * np.exp(0.75 * _normal(s))))
    patience = int(14_000 * np.exp(0.7 * _normal(s)))
    if s.left_ms > patience and s.clock_ms + patience < s.leave_ms:
        s.leave_ms = s.clock_ms + patience
        s.gave_up = 1
    if s.rung > 0 and _uniform(s) < 0.35:
        s.rung -= 1
        s.downshift_count += 1


@compiled
def _shift(s: Record) -> None:
    """The player tries another rendition: up towards what the line carries, else a short step down."""
    if s.rung < s.rung_target:
        s.rung += 1
        s.upshift_count += 1
    elif s.rung > 0:
        s.rung -= 1
        s.downshift_count += 1


@compiled
def _error(s: Record, codes: tuple[int, int, int], fatal: int) -> None:
    s.error_count += 1
    u = _uniform(s)
    s.pending_error = codes[0] if u < 0.6 else (codes[1] if u < 0.85 else codes[2])
    s.pending_fatal = fatal


@compiled
def _play_event(s: Record, m: Record, ladder: Any, out: Any, count: int, rates: Any) -> int:
    """Something happens while playing: which, by the rates (stall, seek, pause, error, fatal, switch, hiccup)."""
    s.hazard = _exponential(s)
    u = _uniform(s) * rates.sum()
    kind = 0
    while kind < 6 and u >= rates[kind]:
        u -= rates[kind]
        kind += 1
    if kind == 0:
        _stall(s, m)
    elif kind == 1:
        s.state = _SEEKING
        s.seek_count += 1
        s.left_ms = max(60, int(450 * np.exp(0.6 * _normal(s))))
        s.playhead_ms = int(_uniform(s) * 0.95 * s.length_ms)
    elif kind == 2:
        s.state = _PAUSED
        s.left_ms = max(1_000, min(900_000, int(40_000 * np.exp(1.0 * _normal(s)))))
    elif kind == 3:
        _error(s, (_SEGMENT_TIMEOUT, _CDN, _DECODE), 0)
        if s.minute_reports < REPORTS_A_MINUTE_MAX:
            return int(_emit(s, m, ladder, out, count, _ERROR, _S_PLAYING, 0))
    elif kind == 4:
        _error(s, (_SEGMENT_TIMEOUT, _DECODE, _CDN), 1)
        s.state = _OVER
        return int(_emit(s, m, ladder, out, count, _ERROR, _S_FAILED, _FAILED))
    elif kind == 5:
        _shift(s)
    else:
        s.freeze_ms += min(s.playing_ms - s.freeze_ms, 120 + int(400 * _uniform(s)))
    return count


@compiled
def _first_frame(s: Record, m: Record, ladder: Any, out: Any, count: int) -> int:
    if s.fails_at_ms > 0:
        if m.start_failure > 0:
            _error(s, (_CDN, _MANIFEST, _SEGMENT_TIMEOUT), 1)
        else:
            _error(s, (_MANIFEST, _DRM, _LIMIT), 1)
        s.state = _OVER
        return int(_emit(s, m, ladder, out, count, _ERROR, _S_FAILED, _START_FAILED))
    s.state = _PLAYING
    s.started = 1
    s.pending_startup_ms = s.clock_ms - s.start_ms
    s.leave_ms = s.clock_ms + int(s.intent_ms)
    return int(_emit(s, m, ladder, out, count, _STATE, _S_PLAYING, 0))


@compiled
def _leave(s: Record, m: Record, ladder: Any, out: Any, count: int) -> int:
    """The viewer goes: a killed player sends nothing, which no pipeline can tell from a lost line."""
    started = s.started == 1
    s.state = _OVER
    if s.killed == 1 and s.gave_up == 0:
        s.silent = 1
        return count
    reason = _EXIT if s.closes_page == 1 else _QUIT
    return int(_emit(s, m, ladder, out, count, reason, _S_QUIT, _QUITTED if started else _EXITED))


@compiled
def _play_rates(s: Record, m: Record, rates: Any) -> None:
    rates[0] = s.stall_rate * m.stall_rate
    rates[1] = s.seek_rate
    rates[2] = s.pause_rate
    rates[3] = s.error_rate * m.error_rate
    rates[4] = s.fatal_rate * m.fatal_rate
    rates[5] = _UPSHIFT_RATE if s.rung < s.rung_target else _WANDER_RATE
    rates[6] = _HICCUP_RATE


@compiled
def _next_run(s: Record, rates: Any, until_ms: int) -> int:
    """Milliseconds until something happens to the session, at most to `until_ms`."""
    run = min(until_ms, min(s.report_ms, s.leave_ms), s.switch_ms) - s.clock_ms
    if s.state == _PLAYING:
        run = min(run, int(np.ceil(s.hazard / rates.sum())))
        if s.loops == 0:
            run = min(run, s.length_ms - s.playhead_ms)
    else:
        run = min(run, s.left_ms)
    return int(max(run, 0))


@compiled
def _advance_session(s: Record, m: Record, freeze: Record, ladder: Any, until_ms: int, out: Any, count: int,
                     rates: Any) -> int:  # fmt: skip
    """Play one session up to `until_ms` or its end; returns the number of heartbeats written so far."""
    if s.state == _WAITING:
        _begin(s, m)
        count = _emit(s, m, ladder, out, count, _START, _S_STARTING, 0)
    while s.state != _OVER and s.clock_ms < until_ms:
        if s.state == _PLAYING:
            _play_rates(s, m, rates)
        run = _next_run(s, rates, until_ms)
        if s.state == _PLAYING:
            s.hazard -= run * rates.sum()
        _spend(s, freeze, ladder, run)
        if s.clock_ms >= s.switch_ms:
            count = _emit(s, m, ladder, out, count, _STATE, s.state, 0)
            s.cdn = s.switch_cdn
            s.switch_ms = _NEVER
            if s.state == _REBUFFERING or s.state == _STARTING:
                s.left_ms = min(s.left_ms, 400)
        elif s.clock_ms >= s.leave_ms:
            count = _leave(s, m, ladder, out, count)
        elif s.state == _PLAYING and s.loops == 0 and s.playhead_ms >= s.length_ms:
            s.state = _OVER
            count = _emit(s, m, ladder, out, count, _ENDED, _S_ENDED, _COMPLETED)
        elif s.state == _PLAYING and s.hazard <= 0.0:
            count = _play_event(s, m, ladder, out, count, rates)
        elif s.state == _STARTING and s.left_ms <= 0:
            count = _first_frame(s, m, ladder, out, count)
        elif s.state != _PLAYING and s.left_ms <= 0:
            s.state = _PLAYING
        if s.state != _OVER and s.clock_ms >= s.report_ms:
            count = _emit(s, m, ladder, out, count, _INTERVAL, s.state, 0)
    return count


@compiled
def advance(
    sessions: Any, modifiers: Any, freezes: Any, ladder: Any, until_ms: int, out: Any, first: int, count: int, room: int
) -> tuple[int, int]:
    """Advance sessions[first:] to `until_ms` (epoch ms); heartbeats go to out[count:], by session and time.

    `room` is the most heartbeats that one session can send until then. Returns (sessions done up to, heartbeats in
    `out`): where `out` has filled up, call again with these and a longer one.
    """
    rates = np.zeros(7)
    for index in range(first, len(sessions)):
        s = sessions[index]
        if s.state == _OVER or s.start_ms >= until_ms:
            continue
        if count + room > len(out):
            return index, count
        count = _advance_session(s, modifiers[index], freezes[s.stream], ladder, until_ms, out, count, rates)
    return len(sessions), count
