/**
 * Tocsin's player SDK: measures how playback goes in a <video> element and reports it as `tocsin.heartbeat/1`.
 *
 * Three parts, read top to bottom:
 *   1. the reducer: pure functions from (state, input) to (state, heartbeats). It knows no browser, no clock and no
 *      randomness, so the golden vectors in vectors/ fix it for every SDK that shares it;
 *   2. the sender: a bounded queue and one POST at a time, with clock, timers, fetch and randomness passed in;
 *   3. the adapters: media events, a playhead watchdog, requestVideoFrameCallback, hls.js, dash.js and shaka turned
 *      into the reducer's inputs.
 *
 * Units are in the names: _ms milliseconds, _kb kilobits, _kbps kilobits a second. `t` is the monotonic clock in ms,
 * `ts` the wall clock in epoch ms, `p` the playhead in seconds.
 */

export const SCHEMA = 'tocsin.heartbeat/1';
export const SDK = { name: 'tocsin-js', version: '0.1.0' };

const TICK_MS = 250;
const STALL_MS = 1000; // a playhead that stands still this long is a stall, though no event says so
const FREEZE_MS = 500; // a picture that stands still this long while the playhead runs is a freeze
const SUSPENDED_MS = 30000; // no input for longer: the page slept, and nobody was watching
const NEW_SESSION_MS = 900000; // after so long a sleep the viewer has begun anew
const NUDGE_S = 0.5; // players hop this far over a hole while stalled; a viewer's seek is longer
const GIVE_UP_MS = 10000; // a fatal error that playback does not get over in this time has ended it
const INTERVAL_MAX_MS = 3600000; // the schema's limit

// ------------------------------------------------------------------------------------------------ 1. the reducer

const TIMES = ['startup_wait_ms', 'playing_ms', 'rebuffer_ms', 'seek_wait_ms', 'paused_ms', 'ad_ms', 'idle_ms'];
const BUCKET = {
  starting: 'startup_wait_ms', playing: 'playing_ms', rebuffering: 'rebuffer_ms', seeking: 'seek_wait_ms', paused: 'paused_ms',
};

/** State of a monitor before anything happened; `n` numbers the sessions of this monitor. */
export function initial(interval_ms = 10000, n = 0) {
  return {
    n, interval_ms,
    mode: 'idle', // the schema's `state`
    t: null, ts: 0, p: 0, closed_t: 0,
    begun: false, // the viewer asked to play: the session exists
    started: false, // the first frame was shown
    over: false, // the outcome was reported
    seeking: false, ad: false,
    by_watchdog: false, // this stall was found by the watchdog, so the watchdog ends it
    pending_ms: 0, // time that the next inputs will tell apart: it is not reported before
    fatal: false, fatal_ms: 0,
    picture_t: 0, frozen_ms: 0,
    bitrate: null, frames: null,
    sum: {}, // running totals, exact
    told: {}, // running totals as reported, rounded: the differences are the heartbeats
    av_absmax_ms: 0, startup_ms: null, error: null,
  };
}

/**
 * One step: `input` = {type, t, ts, p, rate?, frames?: [dropped, total], watch?, pictures?, picture_t?, av_ms?, …}.
 *
 * Types: tick play playing waiting pause seeking seeked ended error bitrate request latency ad state quit exit.
 * Returns [state, heartbeats]; the given state is not changed. Heartbeats carry `n` (which session) in place of
 * session_id and seq, which the sender gives.
 */
export function step(state, input) {
  const s = { ...state, sum: { ...state.sum }, told: { ...state.told } };
  const out = [];
  if (s.t === null) Object.assign(s, { t: input.t, closed_t: input.t, p: input.p, picture_t: input.t });
  const slept = input.t - s.t;
  if (slept >= NEW_SESSION_MS && s.begun && !s.over) {
    close(s, 'interval', out);
    anew(s, input, out);
  }
  const jump_s = input.p - s.p;
  advance(s, input);
  if (input.frames) countFrames(s, input.frames);
  const handle = ON[input.type];
  if (handle) handle(s, input, out, jump_s);
  if (s.begun && !s.over) {
    if (s.fatal_ms > GIVE_UP_MS) finish(s, 'error', 'failed', failure(s), out);
    else if (s.t - s.closed_t >= s.interval_ms) close(s, 'interval', out);
  }
  return [s, out];
}

const ON = {
  play(s, i, out) {
    if (!s.begun || s.over) begin(s, i, out);
    else if (s.mode === 'paused') enter(s, !s.started ? 'starting' : s.seeking ? 'seeking' : 'playing');
  },
  playing(s, i, out) {
    if (!s.begun || s.over) begin(s, i, out);
    s.fatal = false;
    s.fatal_ms = 0;
    s.seeking = false;
    enter(s, 'playing');
    if (firstFrame(s)) close(s, 'state', out);
  },
  waiting(s) {
    if (s.mode === 'playing') stall(s, false);
  },
  pause(s) {
    if (s.begun && !s.over) enter(s, 'paused');
  },
  seeking(s, i, out, jump_s) {
    const nudged = s.mode === 'rebuffering' && Math.abs(jump_s) < NUDGE_S;
    if (!s.started || s.over || nudged) return;
    s.seeking = true;
    add(s, 'seek_count', 1);
    if (s.mode !== 'paused') enter(s, 'seeking');
  },
  seeked(s) {
    s.seeking = false;
  },
  ended(s, i, out) {
    finish(s, 'ended', 'ended', 'completed', out);
  },
  quit: leave,
  exit: leave,
  error(s, i, out) {
    if (!s.begun || s.over) return;
    add(s, 'error_count', 1);
    const error = { code: i.code, fatal: !!i.fatal, technical: i.technical !== false };
    if (i.message) error.message = i.message;
    if (!s.error || (error.fatal && !s.error.fatal)) s.error = error;
    if (i.terminal) finish(s, 'error', 'failed', failure(s), out);
    else if (i.fatal) {
      s.fatal = true;
      close(s, 'error', out);
    }
  },
  bitrate(s, i) {
    const before = s.bitrate && s.bitrate.video;
    if (before && s.started && !s.over && i.video !== before) add(s, i.video > before ? 'upshift_count' : 'downshift_count', 1);
    s.bitrate = { video: i.video, audio: i.audio || 0 };
  },
  request(s, i) {
    add(s, 'req_n', 1);
    add(s, 'req_ms_sum', i.ms);
    add(s, 'req_kb', i.kb);
    if (i.failed) add(s, 'req_err_n', 1);
  },
  latency(s, i) {
    if (s.mode !== 'playing') return;
    add(s, 'latency_n', 1);
    add(s, 'latency_sum_ms', Math.max(0, Math.round(i.ms)));
  },
  ad(s, i) {
    settle(s);
    s.ad = i.on;
  },
  state(s, i, out) {
    if (s.begun && !s.over) close(s, 'state', out);
  },
};

function add(s, field, amount) {
  s.sum[field] = (s.sum[field] || 0) + amount;
}

function spend(s, mode, ms) {
  add(s, s.ad ? 'ad_ms' : BUCKET[mode] || 'idle_ms', ms);
}

/** The undecided time belongs to the mode that is being left. */
function settle(s) {
  spend(s, s.mode, s.pending_ms);
  s.pending_ms = 0;
}

function enter(s, mode) {
  settle(s);
  s.mode = mode;
  s.by_watchdog = false;
  s.picture_t = s.t;
  s.frozen_ms = 0;
}

function stall(s, by_watchdog) {
  enter(s, 'rebuffering');
  s.by_watchdog = by_watchdog;
  if (!s.ad) add(s, 'rebuffer_count', 1);
}

/** A new session: what was measured of the last one stays with it. */
function anew(s, i, out) {
  const { mode, bitrate, frames, interval_ms, n } = s;
  Object.assign(s, initial(interval_ms, n + 1), { bitrate, frames, t: i.t, ts: i.ts, p: i.p, picture_t: i.t });
  if (mode !== 'paused') begin(s, i, out);
}

function begin(s, i, out) {
  if (s.over) return anew(s, i, out);
  s.begun = true;
  s.closed_t = s.t;
  enter(s, 'starting');
  close(s, 'start', out);
}

function firstFrame(s) {
  if (s.started) return false;
  s.started = true;
  s.startup_ms = Math.round(s.sum.startup_wait_ms || 0);
  return true;
}

function failure(s) {
  return s.started ? 'failed' : 'start_failed';
}

function leave(s, i, out) {
  const waited = (s.sum.startup_wait_ms || 0) + s.pending_ms >= 1000;
  const stuck = s.fatal && s.mode !== 'playing';
  finish(s, i.type, 'quit', stuck ? failure(s) : s.started || !waited ? 'quit' : 'exit_before_start', out);
}

function finish(s, reason, mode, outcome, out) {
  if (!s.begun || s.over) return;
  enter(s, mode);
  close(s, reason, out, outcome);
  s.over = true;
}

/** Give the time since the last input to what the viewer saw. */
function advance(s, i) {
  const dt = Math.max(0, i.t - s.t);
  const rate = i.rate || 1;
  const moved = Math.min(dt, Math.max(0, ((i.p - s.p) * 1000) / rate)); // wall ms in which the playhead ran
  s.t += dt;
  s.ts = i.ts;
  s.p = i.p;
  if (!s.begun || s.over) {
    s.picture_t = s.t;
    return;
  }
  if (dt > SUSPENDED_MS) {
    settle(s);
    add(s, 'idle_ms', dt);
    s.picture_t = s.t;
    return;
  }
  if (s.mode === 'playing') watchPlaying(s, dt, moved, rate);
  else if (BUCKET[s.mode] && s.mode !== 'paused') watchWaiting(s, dt, moved, rate);
  else spend(s, s.mode, dt);
  if (s.fatal && s.mode !== 'playing' && s.mode !== 'paused') s.fatal_ms += dt;
  watchPicture(s, i);
  if (i.av_ms != null && s.mode === 'playing') {
    const av_ms = Math.round(i.av_ms);
    add(s, 'av_n', 1);
    add(s, 'av_sum_ms', av_ms);
    add(s, 'av_sumsq_ms2', av_ms * av_ms);
    s.av_absmax_ms = Math.max(s.av_absmax_ms, Math.abs(av_ms));
  }
}

function ran(s, ms, rate) {
  spend(s, 'playing', ms);
  add(s, 'media_ms', ms * rate);
  if (s.bitrate) add(s, 'bits_kb', (ms * rate * (s.bitrate.video + s.bitrate.audio)) / 1000);
}

/** Playing, as far as the events say: the time in which the playhead stood still stays undecided up to STALL_MS. */
function watchPlaying(s, dt, moved, rate) {
  const still = dt - moved;
  if (moved && s.pending_ms + still < STALL_MS) {
    settle(s); // it ran on: no stall
  }
  if (moved && !s.pending_ms) {
    ran(s, moved, rate);
    if (still > dt / 5) s.pending_ms = still;
    else spend(s, 'playing', still);
  } else {
    s.pending_ms += still;
    if (s.pending_ms >= STALL_MS) {
      const stalled_ms = s.pending_ms;
      s.pending_ms = 0;
      stall(s, true);
      spend(s, 'rebuffering', stalled_ms);
    }
    if (moved) { // it stood still and runs again
      if (s.mode === 'rebuffering') enter(s, 'playing');
      ran(s, moved, rate);
    }
  }
}

/** Starting, stalled or seeking: the events end it, or a playhead that has run for STALL_MS (at once, where the watchdog began it). */
function watchWaiting(s, dt, moved, rate) {
  const runs = moved && !s.seeking;
  spend(s, s.mode, runs ? dt - moved : dt);
  if (!runs) return settle(s);
  s.pending_ms += moved;
  if (s.pending_ms < STALL_MS && !s.by_watchdog) return;
  const ran_ms = s.pending_ms;
  s.pending_ms = 0;
  firstFrame(s);
  enter(s, 'playing');
  ran(s, ran_ms, rate);
}

/** Freeze: playing, visible, the playhead runs, and no new picture has come for FREEZE_MS; counted from the last picture on. */
function watchPicture(s, i) {
  if (!i.watch || s.mode !== 'playing' || s.ad) {
    s.picture_t = s.t;
    s.frozen_ms = 0;
    return;
  }
  const fresh = i.pictures > 0;
  const gap = (fresh ? i.picture_t : s.t) - s.picture_t;
  // Several pictures since the last input: the page was slow to ask, the picture did move.
  if (gap > FREEZE_MS && !s.pending_ms && !(i.pictures > 1)) {
    add(s, 'freeze_ms', Math.max(0, gap - s.frozen_ms));
    s.frozen_ms = gap;
  }
  if (fresh) {
    s.picture_t = i.picture_t;
    s.frozen_ms = 0;
  }
}

function countFrames(s, [dropped, total]) {
  const reset = !s.frames || total < s.frames[1];
  const [dropped0, total0] = reset ? [s.frames ? 0 : dropped, s.frames ? 0 : total] : s.frames;
  if (s.begun && !s.over) {
    add(s, 'frames_total', total - total0);
    add(s, 'frames_dropped', Math.min(Math.max(0, dropped - dropped0), total - total0));
  }
  s.frames = [dropped, total];
}

/** Close the interval: the difference between the running totals and what was told of them, as integers. */
function close(s, reason, out, outcome) {
  const h = {
    n: s.n,
    ts_ms: Math.round(s.ts),
    interval_ms: 0,
    reason,
    state: s.ad && !outcome ? 'playing' : s.mode,
    playhead_ms: Math.max(0, Math.round(s.p * 1000) || 0),
  };
  const delta = {};
  for (const field in s.sum) delta[field] = Math.round(s.sum[field]) - (s.told[field] || 0);
  // A freeze is found FREEZE_MS late: what does not fit this interval's playing time is told with the next.
  if (delta.freeze_ms) delta.freeze_ms = Math.min(delta.freeze_ms, delta.playing_ms || 0);
  for (const field in delta) {
    s.told[field] = (s.told[field] || 0) + delta[field];
    if (TIMES.includes(field)) h.interval_ms += delta[field];
    if (delta[field] && field !== 'idle_ms') h[field] = delta[field];
  }
  if (h.av_n) h.av_absmax_ms = s.av_absmax_ms;
  if (s.bitrate) h.bitrate_kbps = s.bitrate;
  if (s.startup_ms !== null) h.startup_ms = s.startup_ms;
  if (s.error) h.error = s.error;
  if (outcome) h.outcome = outcome;
  Object.assign(s, { closed_t: s.t, av_absmax_ms: 0, startup_ms: null, error: null });
  out.push(h);
}

// ------------------------------------------------------------------------------------------------- 2. the sender

const BODY_MAX_BYTES = 57344; // browsers refuse keepalive bodies over 64 KiB in flight
const EVENTS_MAX = 500;
const QUEUE_MAX = 128; // heartbeats held; beyond, unsent ones are merged even across minutes
const SEQ_PER_MINUTE_MAX = 64;
const POST_TIMEOUT_MS = 30000;
const REASONS = ['interval', 'state', 'start', 'error', 'quit', 'ended', 'exit'];

/** Two heartbeats of one session as one: sums add, A/V extremes take the maximum, the rest is the later one's. */
export function merge(a, b) {
  const m = { ...a, ...b };
  for (const field in a) {
    if (field === 'av_absmax_ms') m[field] = Math.max(a[field], b[field] || 0);
    else if (typeof a[field] === 'number' && !KEPT.includes(field)) m[field] = a[field] + (b[field] || 0);
  }
  if (REASONS.indexOf(a.reason) > REASONS.indexOf(b.reason)) m.reason = a.reason;
  if (a.error && (a.error.fatal || !(b.error && b.error.fatal))) m.error = a.error;
  return m;
}
const KEPT = ['n', 'ts_ms', 'playhead_ms', 'startup_ms'];

/** How long to wait after `failures` refusals in a row: full jitter; from the sixth on never less than 20 s. */
export function backoff(failures, random) {
  const low = failures < 6 ? 1000 : 20000;
  const high = Math.min(300, 2 ** failures) * 1000;
  return low + random * Math.max(0, high - low);
}

/**
 * The queue of one monitor. `io` = {url, fetch, beacon, now() → epoch ms, later(f, ms), cancel(id), random(), sample_rate, on_hints}.
 *
 * `seq` is given when a heartbeat is first sent; what was sent is never changed, since it may have arrived. What was not
 * sent yet is merged, never dropped: within one minute always, across minutes and tags only when the queue is full.
 */
export function sender(io) {
  const sent = []; // have a seq, no answer yet
  const unsent = [];
  let busy = 0;
  let failures = 0;
  let waiting = null; // back-off timer
  let stopped = false;

  const minute = (item) => Math.floor(item.beat.ts_ms / 60000);

  function fold(at) {
    const [a, b] = unsent.splice(at, 2);
    unsent.splice(at, 0, { session: a.session, tags: b.tags, beat: merge(a.beat, b.beat) });
  }

  function foldable(at, same_minute) {
    const a = unsent[at];
    const b = unsent[at + 1];
    return a && b && a.session === b.session && a.beat.interval_ms + b.beat.interval_ms <= INTERVAL_MAX_MS
      && (!same_minute || (a.tags === b.tags && minute(a) === minute(b)));
  }

  function push(session, tags, beat) {
    if (stopped) return;
    unsent.push({ session, tags, beat });
    if (foldable(unsent.length - 2, true)) fold(unsent.length - 2);
    for (let at = 0; sent.length + unsent.length > QUEUE_MAX && at < unsent.length - 1; ) {
      if (foldable(at, false)) fold(at);
      else at += 1;
    }
  }

  /** Give the oldest unsent heartbeat its seq, unless its minute is full: then it joins the next one or waits for it. */
  function number(leaving) {
    const session = unsent[0].session;
    if (minute(unsent[0]) !== session.minute) Object.assign(session, { minute: minute(unsent[0]), used: 0 });
    const reserve = leaving || unsent[0].beat.outcome ? 0 : 1; // the last one of a minute is for the end
    if (session.used >= SEQ_PER_MINUTE_MAX - reserve) {
      if (!foldable(0, false)) return null;
      fold(0);
      return number(leaving);
    }
    session.used += 1;
    const item = unsent.shift();
    const { n, ...fields } = item.beat;
    item.event = { session_id: session.id, seq: session.seq++, ...fields };
    sent.push(item);
    return item;
  }

  function body(items) {
    const tags = items[0].tags;
    const events = items.map((item) => {
      const own = {};
      for (const key in item.tags) if (item.tags[key] !== tags[key]) own[key] = item.tags[key];
      return Object.keys(own).length ? { ...item.event, tags: own } : item.event;
    });
    return JSON.stringify({ schema: SCHEMA, sent_ts_ms: Math.round(io.now()), sdk: SDK, sample_rate: io.sample_rate, tags, events });
  }

  /** What goes into the next POST. While a batch waits for its second attempt nothing new gets a seq: it can still be merged. */
  function take(leaving) {
    const items = [];
    const fits = () => items.length <= EVENTS_MAX && new TextEncoder().encode(body(items)).length <= BODY_MAX_BYTES;
    for (const item of busy ? [] : sent) {
      items.push(item);
      if (!fits()) return items.slice(0, -1);
    }
    const again = items.length > 0;
    while (unsent.length && (leaving || !again)) {
      const item = number(leaving);
      if (!item) break;
      items.push(item);
      if (!fits()) return items.slice(0, -1);
    }
    return items;
  }

  function flush(leaving) {
    if (stopped || (!leaving && (busy || waiting))) return;
    const items = take(leaving);
    if (!items.length) return;
    const text = body(items);
    if (!io.fetch) {
      if (io.beacon(io.url, text)) forget(items);
      return;
    }
    busy += 1;
    const abort = new AbortController();
    const timer = io.later(() => abort.abort(), POST_TIMEOUT_MS);
    io.fetch(io.url, {
      method: 'POST', body: text, headers: { 'Content-Type': 'text/plain' }, keepalive: true, credentials: 'omit', signal: abort.signal,
    }).then((reply) => answered(items, reply), () => failed())
      .finally(() => {
        io.cancel(timer);
        busy -= 1;
        flush();
      });
  }

  function answered(items, reply) {
    if (reply.status === 410) {
      stopped = true;
      sent.length = unsent.length = 0;
      return null;
    }
    if (reply.status >= 500 || reply.status === 429 || reply.status === 408) return failed(reply);
    forget(items); // accepted, or refused for good: the same bytes would be refused again
    if (!reply.ok) return failed(reply);
    failures = 0;
    return reply.text().then((text) => {
      const { hints } = text ? JSON.parse(text) : {};
      if (hints && hints.length && io.on_hints) io.on_hints(hints);
    }).catch((error) => io.on_error && io.on_error(error));
  }

  function failed(reply) {
    failures += 1;
    const asked = reply && reply.headers.get('Retry-After');
    const asked_ms = asked ? (isNaN(asked) ? Date.parse(asked) - io.now() : asked * 1000) || 0 : 0;
    if (waiting) io.cancel(waiting);
    waiting = io.later(() => {
      waiting = null;
      flush();
    }, Math.min(3600000, Math.max(backoff(failures, io.random()), asked_ms * (1 + io.random() / 10))));
  }

  function forget(items) {
    for (const item of items) {
      const at = sent.indexOf(item);
      if (at >= 0) sent.splice(at, 1);
    }
  }

  return { push, flush, held: () => sent.length + unsent.length, stopped: () => stopped };
}

// ----------------------------------------------------------------------------------------------- 3. the adapters

const EVENTS = ['play', 'playing', 'waiting', 'pause', 'seeking', 'seeked', 'ended', 'timeupdate'];
const INERT = { session_id: null, setTags() {}, ad() {}, error() {}, stop() {} };

/**
 * Start measuring one playback; call it before `play()`.
 *
 * options: url and key (of the write key), tags, interval_s (1–60), sample_k (report one session in k), hls | dash | shaka
 * (the player object, with Hls, dashjs or shaka left global or not), on_hints(hints).
 * Returns {session_id, setTags(tags), ad(on), error(code, {fatal, technical, message}), stop()}.
 */
export function monitor(video, options) {
  const w = globalThis;
  if (w.navigator.globalPrivacyControl) return INERT;
  const mono = () => w.performance.now();
  // One clock for ts_ms and sent_ts_ms that never goes back; a machine that slept moves it on.
  let epoch = Date.now() - mono();
  const wall = () => {
    const drift = Date.now() - mono() - epoch;
    if (drift > SUSPENDED_MS) epoch += drift;
    return epoch + mono();
  };
  const sample_rate = 1 / Math.max(1, Math.round(options.sample_k || 1));
  const queue = sender({
    url: options.key ? options.url + (options.url.includes('?') ? '&' : '?') + 'key=' + encodeURIComponent(options.key) : options.url,
    fetch: w.fetch && w.fetch.bind(w),
    beacon: (url, text) => w.navigator.sendBeacon(url, text),
    now: wall,
    later: (f, ms) => w.setTimeout(f, ms),
    cancel: (id) => w.clearTimeout(id),
    random: Math.random,
    sample_rate,
    on_hints: options.on_hints,
    on_error: options.on_error,
  });
  let tags = { ...deviceTags(w.navigator), ...clean(options.tags) };
  let state = initial(1000 * Math.min(60, Math.max(1, options.interval_s || 10)));
  let session = newSession();
  let sampled = Math.random() < sample_rate;
  let pictures = 0;
  let picture_t = 0;
  let presented = 0;
  let shown = 0; // decoded and not dropped, by the quality counters
  let av_ms = null;
  let av_t = 0;
  let done = false;

  function feed(type, extra) {
    if (done) return;
    if (queue.stopped()) return detach();
    const input = { type, t: mono(), ts: wall(), p: video.currentTime, rate: video.playbackRate || 1, ...extra };
    const quality = video.getVideoPlaybackQuality && video.getVideoPlaybackQuality();
    if (quality) {
      input.frames = [quality.droppedVideoFrames, quality.totalVideoFrames];
      const now_shown = quality.totalVideoFrames - quality.droppedVideoFrames;
      if (!pictures && now_shown !== shown) {
        pictures = Math.abs(now_shown - shown);
        picture_t = input.t;
      }
      shown = now_shown;
    }
    input.watch = !!(quality && video.videoWidth && !w.document.hidden);
    Object.assign(input, { pictures, picture_t, av_ms });
    pictures = 0;
    av_ms = null;
    const [next, beats] = step(state, input);
    state = next;
    for (const beat of beats) {
      if (beat.n !== session.n) {
        session = newSession(beat.n);
        sampled = Math.random() < sample_rate;
      }
      if (sampled) queue.push(session, tags, beat);
    }
    if (beats.length) queue.flush(type === 'exit' || type === 'quit');
  }

  function onEvent(event) {
    const type = event.type === 'timeupdate' ? 'tick' : event.type;
    if (type === 'waiting' && video.seeking) return;
    feed(type);
    if (type === 'play' && video.error) onError();
  }

  function onError() {
    const error = video.error;
    if (error) report('media.' + error.code, { fatal: true, terminal: true, message: error.message });
  }

  function report(code, more) {
    feed('error', { ...more, code: text(code, 64) || 'unknown', message: text((more && more.message) || '', 256) });
  }

  function onFrame(now, meta) {
    const count = Math.max(1, presented ? meta.presentedFrames - presented : 1);
    const late = now - picture_t > FREEZE_MS - TICK_MS / 2;
    presented = meta.presentedFrames;
    pictures += count;
    picture_t = now;
    if (now - av_t >= TICK_MS && video.playbackRate === 1) {
      av_t = now;
      // At the moment the frame is shown: its time less what the audio clock will say then.
      av_ms = 1000 * (meta.mediaTime - video.currentTime) - (meta.expectedDisplayTime - mono());
    }
    if (late) feed('tick'); // the first picture after a freeze: its time is the freeze's end
    if (!done) video.requestVideoFrameCallback(onFrame);
  }

  const onLoad = () => video.autoplay && feed('play');
  const onHidden = () => feed(w.document.hidden ? 'state' : 'tick');
  const onExit = () => feed('exit');
  const onReturn = (event) => event.persisted && !video.paused && feed('play');
  const listeners = [
    ...EVENTS.map((name) => [video, name, onEvent]),
    [video, 'error', onError], [video, 'loadstart', onLoad],
    [w.document, 'visibilitychange', onHidden], [w, 'pagehide', onExit], [w, 'pageshow', onReturn],
  ];
  for (const [target, name, f] of listeners) target.addEventListener(name, f);
  const ticking = w.setInterval(() => feed('tick'), TICK_MS);
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(onFrame);
  const attached = { hls: attachHls, dash: attachDash, shaka: attachShaka };
  for (const name in attached) if (options[name]) setTags(attached[name](options[name], feed, report));
  if (!video.paused) {
    feed('play');
    if (video.readyState > 2) feed('playing');
  }

  function setTags(more) {
    const next = { ...tags, ...clean(more) };
    if (Object.keys(next).every((key) => next[key] === tags[key])) return;
    feed('state'); // what was measured so far belongs to the old tags
    tags = next;
  }

  function detach() {
    done = true;
    w.clearInterval(ticking);
    for (const [target, name, f] of listeners) target.removeEventListener(name, f);
  }

  return {
    get session_id() { return session.id; },
    setTags,
    ad: (on) => feed('ad', { on: !!on }),
    error: report,
    stop() {
      feed('quit');
      detach();
    },
  };
}

function newSession(n = 0) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return { n, id: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(''), seq: 0, minute: 0, used: 0 };
}

/** At most `length` characters, without halves of surrogate pairs, which JSON readers refuse. */
function text(value, length) {
  return Array.from(String(value)).slice(0, length).join('').replace(/[\ud800-\udfff]/gu, '\ufffd');
}

function clean(tags) {
  const result = {};
  for (const key in tags) if (tags[key] != null && tags[key] !== '') result[key] = text(tags[key], 120);
  return result;
}

function deviceTags(navigator) {
  const hints = navigator.userAgentData;
  const network = navigator.connection;
  return clean({
    'device.category': hints && (hints.mobile ? 'mobile' : 'desktop'),
    'os.name': hints && hints.platform,
    'network.type': network && network.effectiveType,
  });
}

function attachHls(hls, feed, report) {
  const Hls = hls.constructor;
  let live = false;
  hls.on('hlsLevelSwitched', (_, { level }) => feed('bitrate', { video: Math.round(hls.levels[level].bitrate / 1000) }));
  hls.on('hlsLevelUpdated', (_, { details }) => { live = details.live; });
  hls.on('hlsFragLoaded', (_, { frag }) => {
    const { loading, total } = frag.stats;
    feed('request', { ms: loading.end - loading.start, kb: (total * 8) / 1000 });
  });
  hls.on('hlsFragChanged', () => { if (live) feed('latency', { ms: hls.latency * 1000 }); });
  hls.on('hlsError', (_, { details, fatal, reason, error, frag }) => {
    if (frag && /LoadE|LoadT/.test(details)) feed('request', { ms: 0, kb: 0, failed: true });
    // hls.js names each stall an error too; stalls are measured, not counted twice.
    if (fatal || !/^buffer(Stalled|Nudge|SeekOver)/.test(details)) report('hls.' + details, { fatal, message: reason || (error && error.message) });
  });
  return { 'player.name': 'hls.js', 'player.version': Hls.version, 'stream.format': 'hls' };
}

function attachDash(player, feed, report) {
  const kbps = { video: 0, audio: 0 };
  player.on('qualityChangeRendered', ({ mediaType, newRepresentation }) => {
    if (!newRepresentation || !(mediaType in kbps)) return;
    kbps[mediaType] = Math.round(newRepresentation.bitrateInKbit);
    feed('bitrate', { ...kbps });
  });
  player.on('fragmentLoadingCompleted', ({ request, error }) => {
    if (!request) return;
    feed('request', { ms: Math.max(0, request.endDate - request.startDate) || 0, kb: ((request.bytesLoaded || 0) * 8) / 1000, failed: !!error });
  });
  player.on('error', ({ error }) => report('dash.' + (error.code || error), { fatal: true, message: error.message }));
  return { 'player.name': 'dash.js', 'player.version': player.getVersion(), 'stream.format': 'dash' };
}

function attachShaka(player, feed, report) {
  const rendition = () => {
    const track = player.getVariantTracks().find((one) => one.active);
    if (!track) return;
    const audio = Math.round((track.audioBandwidth || 0) / 1000);
    feed('bitrate', { video: Math.round(track.bandwidth / 1000) - audio, audio });
  };
  player.addEventListener('adaptation', rendition);
  player.addEventListener('variantchanged', rendition);
  player.addEventListener('error', ({ detail }) => report('shaka.' + detail.code, { fatal: detail.severity === 2, message: detail.message }));
  return { 'player.name': 'shaka', 'player.version': player.constructor.version };
}
